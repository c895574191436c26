// SPDX-License-Identifier: Apache-2.0
//! The exit records of a pod: `exits/<id>`, one file per container and one for pause.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, renameat, unlinkat};
use rustix::io::{Errno, write};
use wire::{Exit, Id};

/// The directory of exit records. The daemon reads it when it starts; a record is there as a whole or not at all.
#[derive(Debug)]
pub(crate) struct ExitRecords {
    directory: OwnedFd,
}

impl ExitRecords {
    /// Opens `exits/` in the pod's state directory and makes it when it is missing.
    pub(crate) fn open(state_directory: &str) -> Result<Self, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let pod = openat(CWD, state_directory, flags, Mode::empty())?;
        match mkdirat(&pod, "exits", Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        Ok(Self::from_directory(openat(&pod, "exits", flags, Mode::empty())?))
    }

    /// The records in an open directory.
    pub(crate) fn from_directory(directory: OwnedFd) -> Self {
        Self { directory }
    }

    /// The open directory, for the handover.
    pub(crate) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Writes a record: to a temporary file, which then takes the record's name. Against the death of the daemon and of
    /// the monitor the page cache is enough, so nothing is synced.
    pub(crate) fn write(&self, id: Id, exit: &Exit) -> Result<(), Errno> {
        let temporary = format!(".{id}.tmp");
        let written = self.write_temporary(&temporary, &exit.to_bytes());
        let done =
            written.and_then(|()| renameat(&self.directory, temporary.as_str(), &self.directory, id.to_string()));
        if done.is_err() {
            // What is left of a failed attempt would only take the room that the next one needs; it may not be there.
            unlinkat(&self.directory, temporary.as_str(), AtFlags::empty()).ok();
        }
        done
    }

    fn write_temporary(&self, name: &str, mut bytes: &[u8]) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.directory, name, flags, Mode::from_raw_mode(0o600))?;
        while !bytes.is_empty() {
            match write(file.as_fd(), bytes)? {
                0 => return Err(Errno::NOSPC),
                written => bytes = &bytes[written..],
            }
        }
        Ok(())
    }

    /// Removes a record; one that is not there is removed already.
    pub(crate) fn remove(&self, id: Id) -> Result<(), Errno> {
        match unlinkat(&self.directory, id.to_string(), AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use wire::ExitStatus;

    use super::*;

    fn exit(code: u8) -> Exit {
        Exit { status: ExitStatus::Code(code), started_at_ns: 1, finished_at_ns: 2, oom_kills: 0, oom_killed: false }
    }

    #[test]
    fn write_replace_remove() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let id = Id::from_bytes([7; 32]);
        let file = dir.path().join("exits").join(id.to_string());
        ExitRecords::open(path).unwrap().write(id, &exit(3)).unwrap();
        let again = ExitRecords::open(path).unwrap();
        again.write(id, &exit(4)).unwrap();
        assert_eq!(Exit::from_bytes(&fs::read(&file).unwrap()), Ok(exit(4)));
        assert_eq!(fs::read_dir(dir.path().join("exits")).unwrap().count(), 1, "a temporary file is left");
        again.remove(id).unwrap();
        again.remove(id).unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn a_failed_write_leaves_the_old_record_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let records = ExitRecords::open(dir.path().to_str().unwrap()).unwrap();
        let id = Id::from_bytes([9; 32]);
        let place = dir.path().join("exits").join(id.to_string());
        // A directory in the record's place cannot be replaced by a file.
        fs::create_dir(&place).unwrap();
        assert_eq!(records.write(id, &exit(1)), Err(Errno::ISDIR));
        assert_eq!(fs::read_dir(dir.path().join("exits")).unwrap().count(), 1);
    }
}
