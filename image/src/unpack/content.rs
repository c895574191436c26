// SPDX-License-Identifier: Apache-2.0
//! File content from the archive to an fd, with an eye on the free space.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::Limits;
use super::applier::system;
use super::path::refused;
use super::tar::{Archive, Entry, Kind};
use crate::error::Error;
use crate::limits;

/// Writes the files of one layer.
pub(super) struct Writer {
    root: OwnedFd,
    reserve_bytes: u64,
    most_bytes: u64,
    /// Logical bytes of sparse files, which the stream's own limit doesn't see.
    sparse_bytes: u64,
    since_check: u64,
}

impl Writer {
    pub(super) fn new(root: BorrowedFd<'_>, limits: &Limits) -> Result<Writer, Error> {
        let root =
            root.try_clone_to_owned().map_err(|e| Error::io("duplicate", "the layer's directory".as_ref(), e))?;
        let writer = Writer {
            root,
            reserve_bytes: limits.reserve_bytes,
            most_bytes: limits.bytes,
            sparse_bytes: 0,
            since_check: 0,
        };
        writer.check_space()?;
        Ok(writer)
    }

    /// Copies the current entry's content into `file`.
    pub(super) fn write<R: Read>(
        &mut self,
        file: BorrowedFd<'_>,
        entry: &Entry,
        archive: &mut Archive<R>,
    ) -> Result<(), Error> {
        match &entry.kind {
            Kind::Sparse { regions, length } => {
                self.sparse_bytes = self.sparse_bytes.saturating_add(*length);
                if self.sparse_bytes > self.most_bytes || i64::try_from(*length).is_err() {
                    let what = "the size of a layer's sparse files".to_owned();
                    return Err(Error::Limit { what, limit: format!("{} bytes", self.most_bytes) });
                }
                rustix::fs::ftruncate(file, *length).map_err(|e| system(entry, e))?;
                let mut regions = regions.iter().filter(|region| region.length > 0);
                let mut current = regions.next().copied();
                while let Some(mut bytes) = archive.chunk()? {
                    while !bytes.is_empty() {
                        let Some(region) = &mut current else {
                            return Err(refused(&entry.raw_path, "it has more content than its sparse map"));
                        };
                        let part = bytes.len().min(usize::try_from(region.length).unwrap_or(usize::MAX));
                        write_at(file, &bytes[..part], region.offset).map_err(|e| system(entry, e))?;
                        self.since_check += part as u64;
                        region.offset += part as u64;
                        region.length -= part as u64;
                        if region.length == 0 {
                            current = regions.next().copied();
                        }
                        bytes = &bytes[part..];
                    }
                    self.check_sometimes()?;
                }
            }
            _ => {
                let mut offset = 0;
                while let Some(bytes) = archive.chunk()? {
                    write_at(file, bytes, offset).map_err(|e| system(entry, e))?;
                    offset += bytes.len() as u64;
                    self.since_check += bytes.len() as u64;
                    self.check_sometimes()?;
                }
            }
        }
        Ok(())
    }

    fn check_sometimes(&mut self) -> Result<(), Error> {
        if self.since_check < limits::SPACE_CHECK_BYTES {
            return Ok(());
        }
        self.since_check = 0;
        self.check_space()
    }

    fn check_space(&self) -> Result<(), Error> {
        let place = std::path::Path::new("the image store");
        let stat =
            rustix::fs::fstatvfs(self.root.as_fd()).map_err(|e| Error::io("stat the file system of", place, e))?;
        let total = stat.f_blocks.saturating_mul(stat.f_frsize);
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free < self.reserve_bytes.min(total / 100) {
            return Err(Error::NoSpace { what: "a layer".to_owned(), path: place.to_owned() });
        }
        Ok(())
    }
}

fn write_at(file: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
