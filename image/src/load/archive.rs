// SPDX-License-Identifier: Apache-2.0
//! A tar file as a map from names to places.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::error::Error;
use crate::limits;
use crate::unpack::tar::{Archive as Entries, Kind};
use crate::unpack::{EntryPath, decoder, error_of, is_compressed};

/// Links from one layer to the same in another directory, as old `docker save` wrote them.
const LINKS: usize = 8;

/// A part of a file.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    file: Arc<File>,
    offset: u64,
    length: u64,
}

impl Section {
    pub(crate) fn length(&self) -> u64 {
        self.length
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.length).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buffer[..most], self.offset)?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += read as u64;
        self.length -= read as u64;
        Ok(read)
    }
}

/// An indexed archive.
pub(crate) struct Archive {
    path: PathBuf,
    file: Arc<File>,
    members: HashMap<Vec<u8>, Member>,
}

enum Member {
    File { offset: u64, length: u64 },
    Link(Vec<u8>),
}

impl Archive {
    /// Opens and indexes a tar file. A compressed one is first decompressed into a nameless file below `scratch`.
    pub(crate) fn open(path: &Path, scratch: &Path, most_bytes: u64) -> Result<Archive, Error> {
        // O_NONBLOCK: a fifo must not hold us; it has no effect on files.
        let open = std::fs::OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path);
        let file = open.map_err(|e| Error::io("open", path, e))?;
        let stat = file.metadata().map_err(|e| Error::io("stat", path, e))?;
        let mut archive = Archive { path: path.to_owned(), file: Arc::new(file), members: HashMap::new() };
        if !stat.is_file() {
            return Err(archive.unusable("it is no regular file"));
        }
        let mut head = [0; 4];
        let read = archive.file.read_at(&mut head, 0).map_err(|e| Error::io("read", path, e))?;
        if is_compressed(&head[..read]) {
            archive.file = Arc::new(archive.decompressed(scratch, most_bytes)?);
        }
        archive.index()?;
        Ok(archive)
    }

    fn decompressed(&self, scratch: &Path, most_bytes: u64) -> Result<File, Error> {
        let flags = OFlags::TMPFILE.bits() as i32;
        let open = std::fs::OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(flags).open(scratch);
        let mut plain = open.map_err(|e| Error::io("create a file in", scratch, e))?;
        let length = self.file.metadata().map_err(|e| Error::io("stat", &self.path, e))?.len();
        let section = Section { file: Arc::clone(&self.file), offset: 0, length };
        let mut source = decoder(section).map_err(|e| self.undecodable(e))?.take(most_bytes.saturating_add(1));
        let mut buffer = vec![0; limits::READ_BYTES];
        let mut written = 0;
        loop {
            let read = source.read(&mut buffer).map_err(|e| self.undecodable(e))?;
            if read == 0 {
                return Ok(plain);
            }
            written += read as u64;
            if written > most_bytes {
                return Err(Error::Limit {
                    what: self.path.display().to_string(),
                    limit: format!("{most_bytes} bytes"),
                });
            }
            io::Write::write_all(&mut plain, &buffer[..read]).map_err(|e| Error::io("write below", scratch, e))?;
        }
    }

    fn undecodable(&self, error: io::Error) -> Error {
        self.unusable(&error_of(error, "its compression").to_string())
    }

    fn index(&mut self) -> Result<(), Error> {
        let length = self.file.metadata().map_err(|e| Error::io("stat", &self.path, e))?.len();
        let section = Section { file: Arc::clone(&self.file), offset: 0, length };
        let mut entries = Entries::new(Seeking { section, end: length });
        while let Some(entry) = entries.next_entry().map_err(|e| self.unusable(&e.to_string()))? {
            if self.members.len() >= limits::ARCHIVE_ENTRIES {
                return Err(Error::Limit {
                    what: "the number of files in the archive".to_owned(),
                    limit: limits::ARCHIVE_ENTRIES.to_string(),
                });
            }
            let name = EntryPath::parse(&entry.raw_path)?.as_bytes().to_vec();
            let member = match entry.kind {
                Kind::File => {
                    let offset = entries.content_position();
                    if offset.saturating_add(entry.size) > length {
                        return Err(self.unusable("it is cut short"));
                    }
                    Some(Member::File { offset, length: entry.size })
                }
                Kind::Symlink(target) | Kind::HardLink(target) => Some(Member::Link(target)),
                _ => None,
            };
            if let Some(member) = member {
                self.members.insert(name, member);
            }
            entries.skip_by_seek()?;
        }
        Ok(())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name.as_bytes())
    }

    /// The content of a member, over links between members.
    pub(crate) fn section(&self, name: &str) -> Result<Section, Error> {
        let missing = || self.unusable(&format!("it lacks {}", crate::secret::printable(name, 120)));
        let mut name = EntryPath::parse(name.as_bytes()).map_err(|_| missing())?.as_bytes().to_vec();
        for _ in 0..LINKS {
            match self.members.get(&name) {
                None => return Err(missing()),
                Some(Member::File { offset, length }) => {
                    return Ok(Section { file: Arc::clone(&self.file), offset: *offset, length: *length });
                }
                Some(Member::Link(target)) => name = joined(&name, target).ok_or_else(missing)?,
            }
        }
        Err(missing())
    }

    /// A small member as a whole.
    pub(crate) fn bytes(&self, name: &str, most_bytes: u64) -> Result<Vec<u8>, Error> {
        let mut section = self.section(name)?;
        if section.length() > most_bytes {
            return Err(Error::Limit {
                what: format!("{} of the archive", crate::secret::printable(name, 120)),
                limit: format!("{most_bytes} bytes"),
            });
        }
        let mut bytes = Vec::new();
        section.read_to_end(&mut bytes).map_err(|e| Error::io("read", &self.path, e))?;
        Ok(bytes)
    }

    /// The file's name, for messages.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// An error about this file.
    pub(crate) fn unusable(&self, reason: &str) -> Error {
        Error::Archive { path: self.path.clone(), reason: reason.to_owned() }
    }
}

/// A link's target relative to its own directory, within the archive.
fn joined(name: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = name.split(|b| *b == b'/').collect();
    parts.pop();
    for part in target.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            other => parts.push(other),
        }
    }
    Some(parts.join(&b'/'))
}

/// A section that can be jumped over, for the index.
struct Seeking {
    section: Section,
    end: u64,
}

impl Read for Seeking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.section.length == 0 {
            return Ok(0);
        }
        self.section.read(buffer)
    }
}

impl io::Seek for Seeking {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let target = match to {
            io::SeekFrom::Start(at) => Some(at),
            io::SeekFrom::Current(by) => self.section.offset.checked_add_signed(by),
            io::SeekFrom::End(by) => self.end.checked_add_signed(by),
        };
        let target = target.ok_or(io::ErrorKind::InvalidInput)?;
        self.section.offset = target;
        self.section.length = self.end.saturating_sub(target);
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_in_the_archive() {
        assert_eq!(joined(b"a/layer.tar", b"../b/layer.tar").unwrap(), b"b/layer.tar");
        assert_eq!(joined(b"a/layer.tar", b"./x").unwrap(), b"a/x");
        assert!(joined(b"a", b"../../etc/passwd").is_none());
    }
}
