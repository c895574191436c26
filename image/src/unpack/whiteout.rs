// SPDX-License-Identifier: Apache-2.0
//! From the whiteouts of image layers (image-spec, "layer#whiteouts") to those of overlayfs (kernel docs, overlayfs, "whiteouts and opaque
//! directories"): `.wh.name` becomes a character device 0:0 and `.wh..wh..opq` the attribute `trusted.overlay.opaque=y`.
//!
//! A whiteout hides what lower layers have, never what the same layer brings, in whichever order the archive lists them.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::applier::{Existing, existing, open_inside};
use super::path::{EntryPath, refused};
use super::tar::{Entry, Kind};
use crate::error::Error;

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What aufs left in its layers; it means nothing to anybody else.
const AUFS: [&[u8]; 3] = [b".wh..wh.aufs", b".wh..wh.plnk", b".wh..wh.orph"];

/// What an entry's name makes of it.
pub(super) enum Role<'a> {
    Plain,
    /// Hides this name of the lower layers.
    Hides(&'a [u8]),
    /// Hides everything in the entry's directory.
    Opaque,
    /// Bookkeeping of aufs.
    Ignored,
}

/// Tells whiteouts from other entries.
pub(super) fn parse<'a>(path: &'a EntryPath, entry: &Entry) -> Result<Role<'a>, Error> {
    let refuse = |reason: &str| Err(refused(&entry.raw_path, reason));
    let aufs = path.as_bytes().split(|b| *b == b'/').any(|component| AUFS.contains(&component));
    if aufs {
        return Ok(Role::Ignored);
    }
    if path.parent().split(|b| *b == b'/').any(|component| component.starts_with(PREFIX)) {
        return refuse("a directory on its path is named like a whiteout");
    }
    let name = path.name();
    let Some(hidden) = name.strip_prefix(PREFIX) else { return Ok(Role::Plain) };
    if !matches!(entry.kind, Kind::File) {
        return refuse("a whiteout must be a regular file");
    }
    match hidden {
        _ if name == OPAQUE => Ok(Role::Opaque),
        b"" | b"." | b".." => refuse("it is a whiteout without a name"),
        _ if hidden.starts_with(PREFIX) => refuse("it is a whiteout of a kind that is not known"),
        _ => Ok(Role::Hides(hidden)),
    }
}

/// Hides `name` of the lower layers. What this layer has under that name hides it already, and a directory does so once it is opaque.
pub(super) fn hide(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match existing(parent, name)? {
        Existing::Nothing => rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0),
        Existing::Directory => {
            let directory =
                open_inside(parent, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
            set_opaque(directory.as_fd())
        }
        Existing::Whiteout | Existing::Other => Ok(()),
    }
}

/// Makes the directory behind `fd`, which may be an O_PATH one, opaque.
pub(super) fn make_opaque(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let directory = rustix::fs::openat(fd, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    set_opaque(directory.as_fd())
}

fn set_opaque(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::fsetxattr(directory, c"trusted.overlay.opaque", b"y", XattrFlags::empty())
}
