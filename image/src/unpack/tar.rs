// SPDX-License-Identifier: Apache-2.0
//! Tar archives as owned entries. The only place that knows the parser crate, and stricter than it: what two readers could see
//! differently (sizes on entries without content, malformed PAX records, sparse maps that don't add up) is refused (CVE-2025-62518 class).

use std::io::Read;

use tar_core::EntryType;
use tar_core::parse::{Limits, ParseEvent, ParsedEntry, Parser};

use super::metered::error_of;
use super::path::refused;
use crate::error::Error;
use crate::limits;

mod pax;

const BLOCK: u64 = 512;
const WHAT: &str = "the layer's tar archive";

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// One entry, with all extensions applied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// The name as written.
    pub(crate) raw_path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    /// Bytes of content in the archive.
    pub(crate) size: u64,
    /// All `SCHILY.xattr.` records, unfiltered.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    File,
    /// A file with holes; the content is its regions one after the other.
    Sparse {
        regions: Vec<Region>,
        length: u64,
    },
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Char {
        major: u32,
        minor: u32,
    },
    Block {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// Where a part of a sparse file's content belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// What a parser event means, free of its borrow.
enum Step {
    Need(usize),
    Skip(usize),
    Entry(usize, Entry),
    End(usize),
}

/// A reader of entries and their content.
pub(crate) struct Archive<R> {
    reader: R,
    parser: Parser,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset of `buffer[start]` in the stream.
    position: u64,
    /// Content of the current entry that wasn't taken yet, and the padding behind it.
    content: u64,
    padding: u64,
    finished: bool,
}

impl<R: Read> Archive<R> {
    pub(crate) fn new(reader: R) -> Archive<R> {
        let mut parser = Parser::new(Limits {
            max_metadata_size: limits::METADATA_BYTES,
            max_path_len: Some(limits::PATH_BYTES as u32),
            max_pending_entries: limits::PENDING_HEADERS,
            max_sparse_entries: limits::SPARSE_REGIONS,
        });
        // Records are checked in `pax`, which lets only harmless ones (a time before 1970) pass that the parser refuses.
        parser.set_ignore_pax_errors(true);
        let buffer = vec![0; limits::READ_BYTES];
        Archive { reader, parser, buffer, start: 0, end: 0, position: 0, content: 0, padding: 0, finished: false }
    }

    /// Where the current entry's remaining content begins in the stream.
    pub(crate) fn content_position(&self) -> u64 {
        self.position
    }

    /// The next entry, after skipping what is left of the current one; nothing at the end of the archive.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        while self.chunk()?.is_some() {}
        loop {
            if self.finished {
                return Ok(None);
            }
            let event = self.parser.parse(&self.buffer[self.start..self.end]);
            let step = match event.map_err(|e| malformed(&e.to_string()))? {
                ParseEvent::NeedData { min_bytes } => Step::Need(min_bytes),
                ParseEvent::Entry { consumed, entry } => Step::Entry(consumed, convert(&entry, None)?),
                ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size } => {
                    let regions = sparse_map.iter().map(|r| Region { offset: r.offset, length: r.length }).collect();
                    Step::Entry(consumed, convert(&entry, Some((regions, real_size)))?)
                }
                // Defaults for all further entries. No image tool writes any that matter, and other readers ignore them too.
                ParseEvent::GlobalExtensions { consumed, .. } => Step::Skip(consumed),
                ParseEvent::End { consumed } => Step::End(consumed),
            };
            match step {
                // Lines of a sparse map 1.0 are short: 512 bytes without a newline make the parser ask for what it has, for ever.
                Step::Need(bytes) if bytes <= self.end - self.start => {
                    return Err(malformed("its sparse map has a line without an end"));
                }
                Step::Need(bytes) => self.need(bytes)?,
                Step::Skip(consumed) => self.consume(consumed),
                Step::End(consumed) => {
                    self.consume(consumed);
                    self.finished = true;
                }
                Step::Entry(consumed, entry) => {
                    self.consume(consumed);
                    self.content = entry.size;
                    self.padding = entry.size.next_multiple_of(BLOCK) - entry.size;
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// The next piece of the current entry's content; nothing at its end.
    pub(crate) fn chunk(&mut self) -> Result<Option<&[u8]>, Error> {
        if self.content > 0 {
            if self.start == self.end {
                self.need(1)?;
                if self.finished {
                    return Err(malformed("it ends in the middle of a file"));
                }
            }
            let available = (self.end - self.start) as u64;
            let taken = available.min(self.content) as usize;
            let from = self.start;
            self.content -= taken as u64;
            self.consume(taken);
            return Ok(Some(&self.buffer[from..from + taken]));
        }
        while self.padding > 0 {
            if self.start == self.end {
                self.need(1)?;
                if self.finished {
                    // Some writers leave out the last padding; the content is complete.
                    self.padding = 0;
                    break;
                }
            }
            let taken = ((self.end - self.start) as u64).min(self.padding) as usize;
            self.padding -= taken as u64;
            self.consume(taken);
        }
        Ok(None)
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.position += bytes as u64;
    }

    /// Makes at least `min_bytes` available, or finds the end of the stream. An archive may end without its two zero blocks.
    fn need(&mut self, min_bytes: usize) -> Result<(), Error> {
        // The parser never asks for more than the metadata limit and a few headers; the sparse map of PAX 1.0 grows with its regions.
        const MOST: usize = 4 * limits::METADATA_BYTES as usize;
        if min_bytes > MOST {
            return Err(malformed("its headers are too large"));
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < min_bytes {
            self.buffer.resize(min_bytes.next_power_of_two(), 0);
        }
        while self.end < min_bytes {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    if self.buffer[..self.end].iter().any(|b| *b != 0) {
                        return Err(malformed("it ends in the middle of a header"));
                    }
                    self.finished = true;
                    return Ok(());
                }
                Ok(read) => self.end += read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(error_of(e, WHAT)),
            }
        }
        Ok(())
    }
}

impl<R: Read + std::io::Seek> Archive<R> {
    /// Jumps over the current entry's content where the source can seek.
    pub(crate) fn skip_by_seek(&mut self) -> Result<(), Error> {
        let rest = self.content + self.padding;
        let buffered = (self.end - self.start) as u64;
        if rest > buffered {
            let jump =
                i64::try_from(rest - buffered).map_err(|_| malformed("an entry is larger than a file can be"))?;
            self.reader.seek_relative(jump).map_err(|e| error_of(e, WHAT))?;
            self.position += rest;
            (self.start, self.end) = (0, 0);
        } else {
            self.consume(rest as usize);
        }
        (self.content, self.padding) = (0, 0);
        Ok(())
    }
}

fn malformed(reason: &str) -> Error {
    Error::corrupt(WHAT, crate::secret::printable(reason, 200))
}

fn convert(parsed: &ParsedEntry<'_>, sparse: Option<(Vec<Region>, u64)>) -> Result<Entry, Error> {
    let refuse = |reason: &str| refused(&parsed.path, reason);
    let records = pax::check(parsed.pax.unwrap_or_default()).map_err(refuse)?;
    let kind = kind(parsed, sparse)?;
    if parsed.size > 0 && !matches!(kind, Kind::File | Kind::Sparse { .. }) {
        return Err(refuse("it can have no content, but its size is not zero"));
    }
    // (uid_t) -1 means "unchanged" to chown(2), so it is no owner.
    let id = |value: u64| u32::try_from(value).ok().filter(|id| *id != u32::MAX);
    let (Some(uid), Some(gid)) = (id(parsed.uid), id(parsed.gid)) else {
        return Err(refuse("its owner is beyond 2^32 - 2"));
    };
    if parsed.size.checked_next_multiple_of(BLOCK).is_none() {
        return Err(refuse("its size is beyond 2^64"));
    }
    if parsed.xattrs.len() > limits::XATTRS {
        return Err(refuse("it has more than 64 extended attributes"));
    }
    let header_time = Time { seconds: i64::try_from(parsed.mtime).unwrap_or(i64::MAX), nanoseconds: 0 };
    Ok(Entry {
        raw_path: parsed.path.to_vec(),
        kind,
        mode: parsed.mode & 0o7777,
        uid,
        gid,
        mtime: records.mtime.unwrap_or(header_time),
        size: parsed.size,
        xattrs: parsed.xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
    })
}

fn kind(parsed: &ParsedEntry<'_>, sparse: Option<(Vec<Region>, u64)>) -> Result<Kind, Error> {
    let refuse = |reason: &str| refused(&parsed.path, reason);
    if let Some((regions, length)) = sparse {
        check_regions(&regions, length, parsed.size).map_err(refuse)?;
        return match parsed.entry_type {
            EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse => Ok(Kind::Sparse { regions, length }),
            _ => Err(refuse("only a regular file can have a sparse map")),
        };
    }
    let target = || match &parsed.link_target {
        Some(target) if !target.contains(&0) => Ok(target.to_vec()),
        _ => Err(refuse("its link has no valid target")),
    };
    let device = || match (parsed.dev_major, parsed.dev_minor) {
        (Some(major), Some(minor)) => Ok((major, minor)),
        _ => Err(refuse("its device has no number")),
    };
    // Archives from before POSIX mark directories by a final slash and a NUL type.
    let old_type = parsed.header.as_bytes()[156] == 0;
    Ok(match parsed.entry_type {
        EntryType::Regular if old_type && parsed.path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink(target()?),
        EntryType::Link => Kind::HardLink(target()?),
        EntryType::Char => device().map(|(major, minor)| Kind::Char { major, minor })?,
        EntryType::Block => device().map(|(major, minor)| Kind::Block { major, minor })?,
        EntryType::Fifo => Kind::Fifo,
        _ => return Err(refuse("its type is not known")),
    })
}

/// Regions must be in order, apart, inside the file, and as long together as the content.
fn check_regions(regions: &[Region], length: u64, content: u64) -> Result<(), &'static str> {
    let mut at = 0;
    let mut sum = 0u64;
    for region in regions {
        let end = region.offset.checked_add(region.length).filter(|end| *end <= length);
        match end {
            Some(end) if region.offset >= at => at = end,
            _ => return Err("its sparse map is out of order or reaches beyond its end"),
        }
        sum = sum.saturating_add(region.length);
    }
    if sum == content { Ok(()) } else { Err("its sparse map and its size contradict each other") }
}
