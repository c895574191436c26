// SPDX-License-Identifier: Apache-2.0
//! The file on which a namespace is mounted.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::error::Error;
use crate::limits;
use crate::pin_dir;

/// The file system of namespace files (NSFS_MAGIC in linux/magic.h).
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// A new, empty file that is removed again unless it is kept.
pub(crate) struct Reservation {
    path: PathBuf,
    kept: bool,
}

impl Reservation {
    /// Creates the file, and its directory where that is missing. Whatever is there already wins.
    pub(crate) fn make(pin: &Path) -> Result<Self, Error> {
        let invalid = || Error::InvalidPin { pin: pin.into() };
        let dir = pin.parent().ok_or_else(invalid)?;
        if !pin.is_absolute() || pin.file_name().is_none() {
            return Err(invalid());
        }
        pin_dir::prepare(dir)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC;
        match rustix::fs::open(pin, flags, Mode::RUSR) {
            Ok(_) => Ok(Self { path: pin.into(), kept: false }),
            Err(Errno::EXIST) => Err(Error::AlreadyExists { pin: pin.into() }),
            Err(e) => Err(Error::path("open(O_CREAT|O_EXCL)", pin, e)),
        }
    }

    pub(crate) fn keep(mut self) -> PathBuf {
        self.kept = true;
        std::mem::take(&mut self.path)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // The error that the caller returns says more than this one could.
        if let Err(e) = fs::remove_file(&self.path) {
            tracing::warn!(pin = %self.path.display(), error = %e, "leave an empty pin behind");
        }
    }
}

/// Unmounts and unlinks; nothing there, or a plain file, is fine.
pub(crate) fn remove(pin: &Path) -> Result<(), Error> {
    for _ in 0..=limits::STACKED_PINS {
        let top = match open_path(pin) {
            Ok(top) => top,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::path("open(O_PATH|O_NOFOLLOW)", pin, e)),
        };
        if !is_nsfs(&top)? {
            return unlink(pin, &top);
        }
        drop(top);
        // Lazily: a process that waits inside the namespace must not keep the pin.
        match unmount(pin, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Somebody else took it off between the look and the call; the next look says what is left.
            Ok(()) | Err(Errno::NOENT | Errno::INVAL) => {}
            Err(e) => return Err(Error::path("umount2(MNT_DETACH|UMOUNT_NOFOLLOW)", pin, e)),
        }
    }
    Err(Error::path("umount2(MNT_DETACH|UMOUNT_NOFOLLOW)", pin, Errno::LOOP))
}

/// A directory, a link or a file with content is not ours and stays.
fn unlink(pin: &Path, top: &OwnedFd) -> Result<(), Error> {
    let stat = rustix::fs::fstat(top).map_err(|e| Error::path("fstat", pin, e))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_size != 0 {
        return Err(Error::NotANamespace { pin: pin.into() });
    }
    match fs::remove_file(pin) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::path("unlink", pin, e)),
        _ => Ok(()),
    }
}

fn open_path(pin: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(pin, flags, Mode::empty())?)
}

/// Whether the file is one of a namespace, of whatever type.
pub(crate) fn is_nsfs(file: impl AsFd) -> Result<bool, Error> {
    let stat = rustix::fs::fstatfs(file).map_err(|e| Error::call("fstatfs", e))?;
    Ok(u64::try_from(stat.f_type) == Ok(NSFS_MAGIC))
}
