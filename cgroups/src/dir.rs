// SPDX-License-Identifier: Apache-2.0
//! A cgroup directory held by descriptor, and the interface files below it.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::error::{Action, Error, shortened};
use crate::limits;

/// The name of an interface file: one of this crate's constants, or a checked [`crate::UnifiedKey`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileName<'a>(&'a str);

impl FileName<'static> {
    /// A name written in this crate.
    pub(crate) const fn fixed(name: &'static str) -> Self {
        Self(name)
    }
}

impl<'a> FileName<'a> {
    /// A name that [`crate::UnifiedKey`] has checked.
    pub(crate) fn of_key(key: &'a str) -> Self {
        Self(key)
    }
}

impl fmt::Display for FileName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

pub(crate) const PROCS: FileName<'static> = FileName::fixed("cgroup.procs");

/// Below a directory: no `..`, no symlink, no other mount.
const BELOW: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// From the root of the file system: mount points come from the kernel's table and hold no symlink.
const ABSOLUTE: ResolveFlags = ResolveFlags::NO_SYMLINKS.union(ResolveFlags::NO_MAGICLINKS);

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// An open directory of one hierarchy.
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens a cgroup; `None` when it does not exist.
    ///
    /// The root of a mount is refused: limits, kills and removals there would hit the whole machine.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, Error> {
        let Some(dir) = Self::open_any(path)? else {
            return Ok(None);
        };
        let stat = rustix::fs::statx(&dir.fd, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())
            .map_err(|cause| dir.failed(Action::Inspect, cause))?;
        if stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Err(Error::MountRoot { path: path.to_owned() });
        }
        Ok(Some(dir))
    }

    /// Opens a directory that may be the root of a mount: to walk down from there, and to read.
    pub(crate) fn open_any(path: &Path) -> Result<Option<Self>, Error> {
        let fd =
            absent_is_none(open_at(CWD, path, DIRECTORY, ABSOLUTE)).map_err(|cause| io(Action::Open, path, cause))?;
        Ok(fd.map(|fd| Self { fd, path: path.to_owned() }))
    }

    /// Opens a cgroup below this one; `None` when it does not exist.
    pub(crate) fn below(&self, relative: &Path) -> Result<Option<Self>, Error> {
        let path = self.path.join(relative);
        let fd = absent_is_none(open_at(&self.fd, relative, DIRECTORY, BELOW))
            .map_err(|cause| io(Action::Open, &path, cause))?;
        Ok(fd.map(|fd| Self { fd, path }))
    }

    /// The absolute path, for messages and for the wire.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens an interface file for reading; `None` when it does not exist.
    pub(crate) fn open_file(&self, file: FileName<'_>) -> Result<Option<OwnedFd>, Error> {
        absent_is_none(open_at(&self.fd, Path::new(file.0), OFlags::RDONLY | OFlags::CLOEXEC, BELOW))
            .map_err(|cause| self.file_failed(Action::Open, file, cause))
    }

    /// True when the interface file exists.
    pub(crate) fn has(&self, file: FileName<'_>) -> Result<bool, Error> {
        match rustix::fs::accessat(&self.fd, file.0, rustix::fs::Access::EXISTS, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::NODEV) => Ok(false),
            Err(cause) => Err(self.file_failed(Action::Inspect, file, cause)),
        }
    }

    /// Reads an interface file; `None` when it does not exist or the cgroup was removed meanwhile.
    pub(crate) fn read(&self, file: FileName<'_>) -> Result<Option<String>, Error> {
        self.read_most(file, limits::MAX_FILE_BYTES)
    }

    /// Reads at most `most` bytes of an interface file.
    pub(crate) fn read_most(&self, file: FileName<'_>, most: usize) -> Result<Option<String>, Error> {
        let Some(fd) = self.open_file(file)? else {
            return Ok(None);
        };
        match read_most(&fd, most) {
            Ok(text) => Ok(Some(text)),
            Err(Errno::NODEV) => Ok(None),
            Err(cause) => Err(self.file_failed(Action::Read, file, cause)),
        }
    }

    /// Writes an interface file with one `write`, as kernfs wants it. Never creates one.
    pub(crate) fn write(&self, file: FileName<'_>, value: &str) -> Result<(), Error> {
        self.try_write(file, value).map_err(|cause| Error::Write {
            path: self.path.join(file.0),
            value: shortened(value),
            cause,
        })
    }

    /// Like [`Dir::write`], for callers that decide on the errno.
    pub(crate) fn try_write(&self, file: FileName<'_>, value: &str) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC;
        let fd = open_at(&self.fd, Path::new(file.0), flags, BELOW)?;
        write_once(&fd, value)
    }

    /// An error about this directory.
    pub(crate) fn failed(&self, action: Action, cause: Errno) -> Error {
        io(action, &self.path, cause)
    }

    /// An error about an interface file.
    pub(crate) fn file_failed(&self, action: Action, file: FileName<'_>, cause: Errno) -> Error {
        io(action, &self.path.join(file.0), cause)
    }

    /// An error about the content of an interface file.
    pub(crate) fn odd_content(&self, file: FileName<'_>, text: &str) -> Error {
        Error::Content { path: self.path.join(file.0), text: shortened(text) }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An error about a path.
pub(crate) fn io(action: Action, path: &Path, cause: Errno) -> Error {
    Error::Io { action, path: path.to_owned(), cause }
}

/// Opens a cgroup for `CLONE_INTO_CGROUP`; `None` when it does not exist.
pub(crate) fn open_for_clone(path: &Path) -> Result<Option<OwnedFd>, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    absent_is_none(open_at(CWD, path, flags, ABSOLUTE)).map_err(|cause| io(Action::Open, path, cause))
}

/// Writes `value` to the interface file at an absolute path, in two system calls and a close.
pub(crate) fn write_path(path: &Path, value: &str) -> Result<(), Errno> {
    let fd = open_at(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, ABSOLUTE)?;
    write_once(&fd, value)
}

/// Reads at most `most` bytes from where the descriptor stands.
pub(crate) fn read_most(fd: impl AsFd, most: usize) -> Result<String, Errno> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while bytes.len() < most {
        let want = chunk.len().min(most - bytes.len());
        match rustix::io::read(&fd, &mut chunk[..want]) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(Errno::INTR) => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(String::from_utf8(bytes).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned()))
}

fn write_once(fd: &OwnedFd, value: &str) -> Result<(), Errno> {
    loop {
        match rustix::io::write(fd, value.as_bytes()) {
            Ok(count) if count == value.len() => return Ok(()),
            // kernfs takes a value whole or not at all; a short count means a file of another kind.
            Ok(_) => return Err(Errno::IO),
            Err(Errno::INTR) => {}
            Err(cause) => return Err(cause),
        }
    }
}

fn open_at(at: impl AsFd, path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let mut attempts = 0;
    loop {
        match rustix::fs::openat2(&at, path, flags, Mode::empty(), resolve) {
            Err(Errno::INTR | Errno::AGAIN) if attempts < limits::MAX_OPEN_ATTEMPTS => attempts += 1,
            other => return other,
        }
    }
}

/// A missing cgroup (ENOENT) and one that is being removed (ENODEV) are the same to a caller.
fn absent_is_none(opened: Result<OwnedFd, Errno>) -> Result<Option<OwnedFd>, Errno> {
    match opened {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NODEV) => Ok(None),
        Err(cause) => Err(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: FileName<'static> = FileName::fixed("memory.max");

    #[test]
    fn a_symlink_is_never_followed() {
        let tree = tempfile::tempdir().unwrap();
        let (inside, outside) = (tree.path().join("in"), tree.path().join("out"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("memory.max"), "canary").unwrap();
        std::os::unix::fs::symlink(outside.join("memory.max"), inside.join("memory.max")).unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("sub")).unwrap();
        let dir = Dir::open(&inside).unwrap().unwrap();
        assert!(matches!(dir.write(MAX, "1"), Err(Error::Write { cause: Errno::LOOP, .. })));
        assert!(dir.read(MAX).is_err());
        assert!(dir.below(Path::new("sub")).is_err());
        assert!(dir.below(Path::new("../out")).is_err());
        assert!(Dir::open(&inside.join("sub")).is_err());
        assert_eq!(std::fs::read_to_string(outside.join("memory.max")).unwrap(), "canary");
    }

    #[test]
    fn a_file_is_never_created() {
        let tree = tempfile::tempdir().unwrap();
        let dir = Dir::open(tree.path()).unwrap().unwrap();
        assert!(matches!(dir.write(MAX, "1"), Err(Error::Write { cause: Errno::NOENT, .. })));
        assert_eq!(dir.read(MAX).unwrap(), None);
        assert!(!dir.has(MAX).unwrap());
        assert!(Dir::open(&tree.path().join("absent")).unwrap().is_none());
        assert_eq!(std::fs::read_dir(tree.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_root_of_a_mount_is_refused() {
        assert!(matches!(Dir::open(Path::new("/proc")), Err(Error::MountRoot { .. })));
        assert!(Dir::open_any(Path::new("/proc")).unwrap().is_some());
    }

    #[test]
    fn a_read_is_bounded() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("memory.max"), "x".repeat(10_000)).unwrap();
        let dir = Dir::open(tree.path()).unwrap().unwrap();
        assert_eq!(dir.read_most(MAX, 5000).unwrap().unwrap().len(), 5000);
        assert_eq!(dir.read(MAX).unwrap().unwrap().len(), 10_000);
    }
}
