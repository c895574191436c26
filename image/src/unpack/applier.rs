// SPDX-License-Identifier: Apache-2.0
//! Applies entries below a directory fd.
//!
//! Each entry's parent directory is opened from the root fd by `openat2` with `RESOLVE_BENEATH | NO_SYMLINKS | NO_MAGICLINKS | NO_XDEV`,
//! the entry itself is created with `O_EXCL` or its `*at` equivalent, and its metadata is set through the fd of what was created. So a link
//! that an earlier entry left is never followed, whatever the order of entries (CVE-2021-32760, CVE-2025-47290). Later entries replace
//! earlier ones; directories merge.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::content::Writer;
use super::metadata;
use super::path::{EntryPath, refused};
use super::remove::remove;
use super::tar::{Archive, Entry, Kind, Time};
use super::{Applied, Limits, whiteout};
use crate::error::Error;
use crate::limits;

const INSIDE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Opens a path below `directory` that must not pass a link or a mount.
pub(super) fn open_inside(directory: impl AsFd, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    // EAGAIN tells of a rename somewhere on the machine while the path was walked (openat2(2)); there is no ".." here, so it is rare.
    for _ in 0..64 {
        match rustix::fs::openat2(&directory, path, flags | OFlags::CLOEXEC, mode, INSIDE) {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// What stands where an entry goes.
pub(super) enum Existing {
    Nothing,
    Directory,
    Whiteout,
    Other,
}

/// Looks at `name` in `parent` without following it.
pub(super) fn existing(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Existing, Errno> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Existing::Directory,
            FileType::CharacterDevice if stat.st_rdev == 0 => Existing::Whiteout,
            _ => Existing::Other,
        }),
        Err(Errno::NOENT) => Ok(Existing::Nothing),
        Err(errno) => Err(errno),
    }
}

/// The state of one layer's unpack.
pub(super) struct Applier<'a> {
    root: BorrowedFd<'a>,
    limits: &'a Limits,
    writer: Writer,
    /// The last parent directory: archives list a directory's files together.
    last_parent: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// Times of directories, set at the end because filling a directory changes them.
    times: HashMap<Vec<u8>, Time>,
    times_bytes: usize,
    implicit: BTreeSet<Vec<u8>>,
    entries: u64,
    hides_lower: bool,
}

impl<'a> Applier<'a> {
    pub(super) fn new(root: BorrowedFd<'a>, limits: &'a Limits) -> Result<Applier<'a>, Error> {
        Ok(Applier {
            root,
            limits,
            writer: Writer::new(root, limits)?,
            last_parent: None,
            times: HashMap::new(),
            times_bytes: 0,
            implicit: BTreeSet::from([Vec::new()]),
            entries: 0,
            hides_lower: false,
        })
    }

    /// Applies one entry; its content, if any, is taken from `archive`.
    pub(super) fn entry<R: Read>(&mut self, entry: &Entry, archive: &mut Archive<R>) -> Result<(), Error> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Error::Limit {
                what: "the number of entries of a layer".to_owned(),
                limit: self.limits.entries.to_string(),
            });
        }
        let path = EntryPath::parse(&entry.raw_path)?;
        let failed = |errno: Errno| system(entry, errno);
        if path.is_root() {
            return match entry.kind {
                Kind::Directory => self.root_directory(entry).map_err(failed)?,
                _ => Err(refused(&entry.raw_path, "the root of a layer must be a directory")),
            };
        }
        match whiteout::parse(&path, entry)? {
            whiteout::Role::Plain => {}
            whiteout::Role::Ignored => return Ok(()),
            whiteout::Role::Hides(name) => {
                let parent = self.parent(&path, entry)?;
                return whiteout::hide(parent.as_fd(), name).map_err(failed);
            }
            whiteout::Role::Opaque if path.parent().is_empty() => {
                self.hides_lower = true;
                return Ok(());
            }
            whiteout::Role::Opaque => {
                let parent = self.parent(&path, entry)?;
                return whiteout::make_opaque(parent.as_fd()).map_err(failed);
            }
        }
        let parent = self.parent(&path, entry)?;
        let at = Place { parent: parent.as_fd(), name: path.name() };
        match &entry.kind {
            Kind::Directory => {
                self.remember(path.as_bytes(), entry.mtime)?;
                self.implicit.remove(path.as_bytes());
                self.directory(&at, entry).map_err(failed)
            }
            Kind::File | Kind::Sparse { .. } => self.file(&at, entry, archive),
            Kind::Symlink(target) => self.symlink(&at, target, entry).map_err(failed),
            Kind::HardLink(target) => self.hard_link(&at, target, entry),
            Kind::Char { major, minor } => {
                if (*major, *minor) == (0, 0) {
                    return Err(refused(
                        &entry.raw_path,
                        "a character device 0:0 is a whiteout of overlayfs, not of an image",
                    ));
                }
                self.node(&at, (FileType::CharacterDevice, rustix::fs::makedev(*major, *minor)), entry).map_err(failed)
            }
            Kind::Block { major, minor } => {
                self.node(&at, (FileType::BlockDevice, rustix::fs::makedev(*major, *minor)), entry).map_err(failed)
            }
            Kind::Fifo => self.node(&at, (FileType::Fifo, 0), entry).map_err(failed),
        }
    }

    /// Sets what could not be set before, and tells what the archive was.
    pub(super) fn finish(self) -> Result<Applied, Error> {
        for (path, time) in &self.times {
            let name: &[u8] = if path.is_empty() { b"." } else { path };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            match open_inside(self.root, name, flags, Mode::empty()) {
                Ok(directory) => metadata::set_times(directory.as_fd(), *time).map_err(|e| named(path, e))?,
                // A later entry replaced it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(named(path, errno)),
            }
        }
        Ok(Applied {
            entries: self.entries,
            implicit: self.implicit.into_iter().collect(),
            hides_lower: self.hides_lower,
        })
    }

    fn remember(&mut self, path: &[u8], time: Time) -> Result<(), Error> {
        if self.times.insert(path.to_vec(), time).is_none() {
            self.times_bytes += path.len() + 64;
            if self.times_bytes > limits::DIRECTORY_NAMES_BYTES {
                return Err(Error::Limit {
                    what: "the names of a layer's directories".to_owned(),
                    limit: "48 MiB".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// The directory that an entry goes into, made where the archive doesn't list it.
    fn parent(&mut self, path: &EntryPath, entry: &Entry) -> Result<Rc<OwnedFd>, Error> {
        let parent = path.parent();
        if let Some((known, fd)) = &self.last_parent
            && known == parent
        {
            return Ok(Rc::clone(fd));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let name: &[u8] = if parent.is_empty() { b"." } else { parent };
        let fd = match open_inside(self.root, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_parents(parent, entry)?,
            Err(Errno::LOOP) => {
                return Err(refused(&entry.raw_path, "its path passes a symbolic link of the same layer"));
            }
            Err(errno) => return Err(system(entry, errno)),
        };
        let fd = Rc::new(fd);
        self.last_parent = Some((parent.to_vec(), Rc::clone(&fd)));
        Ok(fd)
    }

    fn make_parents(&mut self, parent: &[u8], entry: &Entry) -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let failed = |errno| system(entry, errno);
        let mut directory = open_inside(self.root, b".", flags, Mode::empty()).map_err(failed)?;
        let mut length = 0;
        for component in parent.split(|b| *b == b'/') {
            length += component.len() + usize::from(length > 0);
            match existing(directory.as_fd(), component).map_err(failed)? {
                Existing::Directory => {}
                Existing::Nothing => {
                    self.note_implicit(&parent[..length])?;
                    rustix::fs::mkdirat(&directory, component, Mode::from(0o755)).map_err(failed)?;
                }
                // The lower directory is gone, so nothing of it may show through the new one.
                Existing::Whiteout => {
                    rustix::fs::unlinkat(&directory, component, AtFlags::empty()).map_err(failed)?;
                    rustix::fs::mkdirat(&directory, component, Mode::from(0o755)).map_err(failed)?;
                    let made = open_inside(&directory, component, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
                        .map_err(failed)?;
                    whiteout::make_opaque(made.as_fd()).map_err(failed)?;
                }
                Existing::Other => {
                    return Err(refused(
                        &entry.raw_path,
                        "its path passes a link or file of the same layer that is no directory",
                    ));
                }
            }
            directory = open_inside(&directory, component, flags, Mode::empty()).map_err(failed)?;
        }
        Ok(directory)
    }

    fn note_implicit(&mut self, path: &[u8]) -> Result<(), Error> {
        self.implicit.insert(path.to_vec());
        if self.implicit.len() > limits::IMPLICIT_DIRECTORIES {
            let what = "the number of directories that a layer uses and does not list".to_owned();
            return Err(Error::Limit { what, limit: limits::IMPLICIT_DIRECTORIES.to_string() });
        }
        Ok(())
    }

    fn root_directory(&mut self, entry: &Entry) -> Result<Result<(), Error>, Errno> {
        let root =
            rustix::fs::openat(self.root, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        metadata::set_by_fd(root.as_fd(), entry)?;
        self.implicit.remove(&[][..]);
        Ok(self.remember(b"", entry.mtime))
    }

    fn directory(&mut self, at: &Place<'_>, entry: &Entry) -> Result<(), Errno> {
        let mut opaque = false;
        if let Err(errno) = rustix::fs::mkdirat(at.parent, at.name, Mode::from(0o700)) {
            if errno != Errno::EXIST {
                return Err(errno);
            }
            match existing(at.parent, at.name)? {
                Existing::Directory => {}
                // What was there hid the lower directory; the new one must go on hiding it.
                Existing::Whiteout | Existing::Other | Existing::Nothing => {
                    self.clear(at)?;
                    rustix::fs::mkdirat(at.parent, at.name, Mode::from(0o700))?;
                    opaque = true;
                }
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let made = open_inside(at.parent, at.name, flags, Mode::empty())?;
        if opaque {
            whiteout::make_opaque(made.as_fd())?;
        }
        metadata::set_by_fd(made.as_fd(), entry)
    }

    fn file<R: Read>(&mut self, at: &Place<'_>, entry: &Entry, archive: &mut Archive<R>) -> Result<(), Error> {
        let failed = |errno| system(entry, errno);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mut made = open_inside(at.parent, at.name, flags, Mode::from(0o600));
        if made.as_ref().is_err_and(|errno| *errno == Errno::EXIST) {
            self.clear(at).map_err(failed)?;
            made = open_inside(at.parent, at.name, flags, Mode::from(0o600));
        }
        let file = made.map_err(failed)?;
        self.writer.write(file.as_fd(), entry, archive)?;
        metadata::set_by_fd(file.as_fd(), entry).map_err(failed)?;
        metadata::set_times(file.as_fd(), entry.mtime).map_err(failed)
    }

    fn symlink(&mut self, at: &Place<'_>, target: &[u8], entry: &Entry) -> Result<(), Errno> {
        if let Err(errno) = rustix::fs::symlinkat(target, at.parent, at.name) {
            if errno != Errno::EXIST {
                return Err(errno);
            }
            self.clear(at)?;
            rustix::fs::symlinkat(target, at.parent, at.name)?;
        }
        metadata::set_on_symlink(at.parent, at.name, entry)
    }

    fn hard_link(&mut self, at: &Place<'_>, raw_target: &[u8], entry: &Entry) -> Result<(), Error> {
        let failed = |errno| system(entry, errno);
        let shown = crate::secret::printable(&String::from_utf8_lossy(raw_target), 200);
        let outside = || {
            let reason = format!(
                "it is a hard link to \"{shown}\", which is not a file of the same layer; layers are unpacked apart"
            );
            refused(&entry.raw_path, reason)
        };
        let target = EntryPath::parse(raw_target).map_err(|_| outside())?;
        let directory: &[u8] = if target.parent().is_empty() { b"." } else { target.parent() };
        let target_parent = match open_inside(self.root, directory, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(outside()),
            Err(errno) => return Err(failed(errno)),
        };
        match existing(target_parent.as_fd(), target.name()).map_err(failed)? {
            Existing::Other => {}
            Existing::Nothing | Existing::Whiteout | Existing::Directory => return Err(outside()),
        }
        let link = || rustix::fs::linkat(&target_parent, target.name(), at.parent, at.name, AtFlags::empty());
        match link() {
            Err(Errno::EXIST) => {}
            other => return other.map_err(failed),
        }
        let inode = |parent: BorrowedFd<'_>, name: &[u8]| {
            rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map(|s| s.st_ino)
        };
        if inode(at.parent, at.name).map_err(failed)? == inode(target_parent.as_fd(), target.name()).map_err(failed)? {
            return Ok(());
        }
        self.clear(at).map_err(failed)?;
        link().map_err(|errno| if errno == Errno::NOENT { outside() } else { failed(errno) })
    }

    fn node(&mut self, at: &Place<'_>, device: (FileType, rustix::fs::Dev), entry: &Entry) -> Result<(), Errno> {
        let make = || rustix::fs::mknodat(at.parent, at.name, device.0, Mode::empty(), device.1);
        if let Err(errno) = make() {
            if errno != Errno::EXIST {
                return Err(errno);
            }
            self.clear(at)?;
            make()?;
        }
        let node = open_inside(at.parent, at.name, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        metadata::set_on_node(at.parent, at.name, node.as_fd(), entry)
    }

    /// Removes what a new entry replaces.
    fn clear(&mut self, at: &Place<'_>) -> Result<(), Errno> {
        // The cached parent may be inside what goes.
        self.last_parent = None;
        remove(at.parent, at.name)
    }
}

/// Where an entry is made.
struct Place<'a> {
    parent: BorrowedFd<'a>,
    name: &'a [u8],
}

/// A failed call on an entry.
pub(super) fn system(entry: &Entry, errno: Errno) -> Error {
    named(&entry.raw_path, errno)
}

fn named(path: &[u8], errno: Errno) -> Error {
    let shown = crate::secret::printable(&String::from_utf8_lossy(path), 300);
    match errno {
        Errno::NOSPC | Errno::DQUOT => {
            Error::NoSpace { what: format!("layer entry \"{shown}\""), path: "the image store".into() }
        }
        _ => {
            Error::Io { operation: "unpack layer entry", path: shown.into(), source: std::sync::Arc::new(errno.into()) }
        }
    }
}
