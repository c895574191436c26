// SPDX-License-Identifier: Apache-2.0
//! Log lines collected for one write.

use super::container_log::Stream;
use super::line::Piece;
use super::timestamp::Timestamp;
use crate::limits::{BATCH_BYTES, CHUNK_BYTES};

/// Whether a log line ends a line of the container's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// `F`: it does.
    Full,
    /// `P`: the next log line of the stream goes on with it, or nothing does.
    Partial,
}

/// What stands before the content: timestamp, space, stream (both names have six letters), space, tag, space.
pub(super) const HEADER_BYTES: usize = Timestamp::BYTES + 10;
/// Where the tag stands in a log line.
const TAG_AT: usize = HEADER_BYTES - 2;
/// Bytes of a log line that are not content.
const FRAME_BYTES: usize = HEADER_BYTES + 1;

const _: () = assert!(BATCH_BYTES >= FRAME_BYTES + CHUNK_BYTES);

/// Log lines of one stream, collected for one write. One batch serves every container of the process.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    header: [u8; HEADER_BYTES],
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self { bytes: Vec::with_capacity(BATCH_BYTES), header: [b' '; HEADER_BYTES] }
    }

    /// Sets what the following lines have in common: one read has one timestamp.
    pub(super) fn begin(&mut self, stream: Stream, wall_ns: u64) {
        self.bytes.clear();
        self.header[..Timestamp::BYTES].copy_from_slice(Timestamp::from_wall_ns(wall_ns).as_bytes());
        self.header[Timestamp::BYTES + 1..TAG_AT - 1].copy_from_slice(stream.name().as_bytes());
    }

    /// Whether a line with this much content still fits.
    pub(super) fn fits(&self, content_bytes: usize) -> bool {
        self.bytes.len() + FRAME_BYTES + content_bytes <= BATCH_BYTES
    }

    /// Adds a line.
    pub(super) fn push(&mut self, piece: &Piece<'_>) {
        self.header[TAG_AT] = match piece.tag {
            Tag::Full => b'F',
            Tag::Partial => b'P',
        };
        self.bytes.extend_from_slice(&self.header);
        self.bytes.extend_from_slice(piece.carried);
        self.bytes.extend_from_slice(piece.fresh);
        self.bytes.push(b'\n');
    }

    /// The lines.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the lines.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }
}

/// The content bytes of whole log lines. Content has no newline, so each newline ends a line.
pub(super) fn content_bytes(lines: &[u8]) -> u64 {
    let count = lines.iter().filter(|&&byte| byte == b'\n').count();
    (lines.len() - count * FRAME_BYTES) as u64
}

/// The tag of the last of these whole log lines; `None` when there is none.
pub(super) fn last_tag(lines: &[u8]) -> Option<Tag> {
    let line = lines.strip_suffix(b"\n")?;
    let start = line.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    match line.get(start + TAG_AT) {
        Some(b'P') => Some(Tag::Partial),
        _ => Some(Tag::Full),
    }
}
