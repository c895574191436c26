// SPDX-License-Identifier: Apache-2.0
//! Directories that a layer uses without listing them take owner, mode and attributes from the layer below.
//!
//! A layer that brings only `home/app/x` has no entry for `home/app`; unpacked apart it gets a plain root-owned directory, which overlayfs would
//! show instead of the one below with its owner (or `/tmp` with its sticky bit). Runtimes that unpack layer on layer don't have this
//! question. The first image that brings the layer answers it; an image that puts the same layer on another base keeps that answer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::Inner;
use super::layers::{IMPLICIT, TREE};
use crate::atomic_file;
use crate::digest::DiffId;
use crate::error::Error;
use crate::limits;

impl Inner {
    /// Settles the directories of all layers of an image that have some open. Blocking.
    pub(super) fn adopt_directories(&self, layers: &[DiffId]) -> Result<(), Error> {
        const MOST_BYTES: u64 = (limits::IMPLICIT_DIRECTORIES * (limits::PATH_BYTES + 1)) as u64;
        for (at, diff_id) in layers.iter().enumerate() {
            let list = self.layout.layer(diff_id).join(IMPLICIT);
            let Some(paths) = atomic_file::read(&list, MOST_BYTES)? else { continue };
            let failed = |errno| Error::io("settle the directories of", &list, errno);
            let own = self.open_tree(diff_id)?;
            let mut open: Vec<&[u8]> = paths.split(|b| *b == 0).collect();
            // One layer at a time from the top: an image has hundreds of layers, and a process has a thousand fds.
            for below in layers[..at].iter().rev().filter(|id| *id != diff_id) {
                if open.is_empty() {
                    break;
                }
                let lower = self.open_tree(below)?;
                let mut unsettled = Vec::new();
                for path in open {
                    if adopt(own.as_fd(), lower.as_fd(), path).map_err(failed)? == Adopted::LookBelow {
                        unsettled.push(path);
                    }
                }
                open = unsettled;
            }
            std::fs::remove_file(&list).map_err(|e| Error::io("remove", &list, e))?;
        }
        Ok(())
    }

    fn open_tree(&self, diff_id: &DiffId) -> Result<OwnedFd, Error> {
        let path = self.layout.layer(diff_id).join(TREE);
        open(rustix::fs::CWD, path.as_os_str().as_encoded_bytes(), ResolveFlags::empty())
            .map_err(|errno| Error::io("open", &path, errno))
    }
}

fn open(at: BorrowedFd<'_>, path: &[u8], resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat2(at, path, flags, Mode::empty(), resolve)
}

#[derive(PartialEq)]
enum Adopted {
    Settled,
    LookBelow,
}

/// Copies from a lower layer if it has the directory.
fn adopt(own: BorrowedFd<'_>, lower: BorrowedFd<'_>, path: &[u8]) -> Result<Adopted, Errno> {
    let inside =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let name: &[u8] = if path.is_empty() { b"." } else { path };
    let target = match open(own, name, inside) {
        Ok(target) => target,
        // A later entry replaced it.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Adopted::Settled),
        Err(errno) => return Err(errno),
    };
    match open(lower, name, inside) {
        Ok(source) => copy(source.as_fd(), target.as_fd()).map(|()| Adopted::Settled),
        Err(Errno::NOENT) => Ok(Adopted::LookBelow),
        // What lies further down is hidden by something that is no directory.
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(Adopted::Settled),
        Err(errno) => Err(errno),
    }
}

fn copy(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(source)?;
    rustix::fs::fchown(target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let mut names = vec![0; limits::XATTR_BYTES];
    let length = match rustix::fs::flistxattr(source, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(errno) => return Err(errno),
    };
    let mut value = vec![0; limits::XATTR_BYTES];
    for name in names[..length].split(|b| *b == 0).filter(|name| name.starts_with(b"user.")) {
        let length = rustix::fs::fgetxattr(source, name, &mut value[..])?;
        rustix::fs::fsetxattr(target, name, &value[..length], XattrFlags::empty())?;
    }
    let stamp = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps {
        last_access: stamp(stat.st_atime, stat.st_atime_nsec as _),
        last_modification: stamp(stat.st_mtime, stat.st_mtime_nsec as _),
    };
    rustix::fs::futimens(target, &times)
}
