// SPDX-License-Identifier: Apache-2.0
//! Beginnings of layers: written beside the stream, read again when the download goes on, gone once the layer is there.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use bytes::Buf;
use tokio::sync::mpsc;

use super::Inner;
use crate::digest::Digest;
use crate::error::{Error, Kind};
use crate::limits;
use crate::registry::Piece;

/// The file of one blob, used by one thread at a time.
pub(super) struct Partial {
    inner: Arc<Inner>,
    blob: Digest,
    path: PathBuf,
    length: u64,
}

impl Partial {
    /// Takes the file of a blob into use; nothing for blobs that are too small to keep, and nothing while another layer is made of the same
    /// blob (an image may claim two diff ids for one).
    pub(super) fn claim(inner: &Arc<Inner>, blob: &Digest, size: u64) -> Option<Partial> {
        if size < limits::PARTIAL_MIN_BYTES {
            return None;
        }
        let mut in_use = inner.partials_in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if !in_use.insert(blob.clone()) {
            return None;
        }
        drop(in_use);
        let path = inner.layout.partial(blob);
        let mut partial = Partial { inner: Arc::clone(inner), blob: blob.clone(), path, length: 0 };
        match std::fs::metadata(&partial.path).map(|stat| stat.len()) {
            Ok(length) if length <= size => partial.length = length,
            Ok(_) => partial.discard(),
            Err(_) => {}
        }
        Some(partial)
    }

    /// Bytes that need not be fetched.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Forgets the bytes: they are wrong, or needed no longer.
    pub(super) fn discard(&mut self) {
        self.length = 0;
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "leave a partial download to the next collection");
        }
    }

    /// What becomes of the file when the layer's fate is known: it stays for another try only if its bytes may be right.
    pub(super) fn settle(&mut self, result: &Result<(), Error>) {
        let may_go_on = match result {
            Ok(()) => false,
            Err(error) => !matches!(error.kind(), Kind::Corrupt | Kind::Unsupported | Kind::Exhausted),
        };
        let is_empty = std::fs::metadata(&self.path).is_ok_and(|stat| stat.len() == 0);
        if !may_go_on || is_empty {
            self.discard();
        } else {
            self.inner.measure_rest_again();
        }
    }

    fn open(&self) -> io::Result<(File, File)> {
        let append = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        Ok((File::open(&self.path)?, append))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.inner.partials_in_use.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.blob);
    }
}

/// The bytes of a blob as one stream: those on disk, then those from the network, which are kept as they pass.
pub(super) struct Stream {
    kept: Option<io::Take<File>>,
    copy: Option<File>,
    pieces: mpsc::Receiver<Piece>,
    current: bytes::Bytes,
    ended: bool,
}

impl Stream {
    pub(super) fn new(partial: Option<&Partial>, pieces: mpsc::Receiver<Piece>) -> Result<Stream, Error> {
        let mut stream = Stream { kept: None, copy: None, pieces, current: bytes::Bytes::new(), ended: false };
        if let Some(partial) = partial {
            match partial.open() {
                Ok((read, append)) => {
                    stream.kept = (partial.length > 0).then(|| read.take(partial.length));
                    stream.copy = Some(append);
                }
                // Without bytes on disk the copy is a convenience.
                Err(error) if partial.length == 0 => tracing::debug!(%error, "go on without a partial download"),
                Err(error) => return Err(Error::io("open", &partial.path, error)),
            }
        }
        Ok(stream)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(kept) = &mut self.kept {
            let read = kept.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.kept = None;
        }
        while self.current.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.pieces.blocking_recv() {
                Some(Piece::Bytes(bytes)) => {
                    if let Some(copy) = &mut self.copy
                        && let Err(error) = copy.write_all(&bytes)
                    {
                        // What was written is still a beginning, unless the last write was torn; the digest finds that.
                        tracing::debug!(%error, "stop keeping a partial download");
                        self.copy = None;
                    }
                    self.current = bytes;
                }
                Some(Piece::End) => self.ended = true,
                Some(Piece::Failed(error)) => return Err(io::Error::other(error)),
                None => return Err(io::Error::other(Error::Interrupted { what: "a layer" })),
            }
        }
        let read = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}
