// SPDX-License-Identifier: Apache-2.0
//! Walks over the cgroups that were made inside a cgroup. Whoever made them may be hostile, so memory is bounded.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::dir::{Dir, io};
use crate::error::{Action, Error};
use crate::limits;

/// Calls `visit` for the cgroup and for all below it, parents first. A cgroup that vanishes meanwhile is left out.
///
/// Visits at most [`limits::MAX_DESCENDANTS`] cgroups, and none whose path below `top` exceeds PATH_MAX.
pub(crate) fn each(top: &Dir, mut visit: impl FnMut(&Dir) -> Result<(), Error>) -> Result<(), Error> {
    visit(top)?;
    let mut pending = children(top, Path::new(""))?;
    let mut seen = pending.len();
    while let Some(relative) = pending.pop() {
        let dir = match top.below(&relative) {
            Ok(Some(dir)) => dir,
            Ok(None) | Err(Error::Io { cause: Errno::NAMETOOLONG, .. }) => continue,
            Err(error) => return Err(error),
        };
        visit(&dir)?;
        let mut more = children(&dir, &relative)?;
        more.truncate(limits::MAX_DESCENDANTS - seen);
        seen += more.len();
        pending.append(&mut more);
    }
    Ok(())
}

/// The paths of the cgroups directly below `dir`, each joined to `relative`.
pub(crate) fn children(dir: &Dir, relative: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut names = Vec::new();
    let listed = for_each_child(dir, |name| {
        names.push(relative.join(OsStr::from_bytes(name.to_bytes())));
        Ok(names.len() < limits::MAX_DESCENDANTS)
    });
    match listed {
        Ok(()) => Ok(names),
        Err(Errno::NOENT | Errno::NODEV) => Ok(Vec::new()),
        Err(cause) => Err(dir.failed(Action::Read, cause)),
    }
}

/// What became of a cgroup that was to be removed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// It does not exist any more.
    Gone,
    /// A process is in it or below it, or the time is over.
    Busy,
}

/// Removes the cgroup at `path` and all below it, deepest first; gives up at the first that holds a process.
///
/// Uses three descriptors and no memory that grows with the depth or the width of the tree: it goes down by `openat`
/// and up by `..`, and what it removed is not found again.
pub(crate) fn remove(path: &Path, until: Instant) -> Result<Removal, Error> {
    if let Some(removal) = rmdir(path)? {
        return Ok(removal);
    }
    let Some(top) = Dir::open(path)? else {
        return Ok(Removal::Gone);
    };
    match empty(&top, until).map_err(|cause| top.failed(Action::Remove, cause))? {
        Removal::Busy => Ok(Removal::Busy),
        Removal::Gone => Ok(rmdir(path)?.unwrap_or(Removal::Busy)),
    }
}

/// Removes one cgroup without children; `None` when it is in use.
fn rmdir(path: &Path) -> Result<Option<Removal>, Error> {
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(Some(Removal::Gone)),
        Err(Errno::BUSY) => Ok(None),
        Err(cause) => Err(io(Action::Remove, path, cause)),
    }
}

fn empty(top: &Dir, until: Instant) -> Result<Removal, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let open = |at: &OwnedFd, name: &std::ffi::CStr| rustix::fs::openat(at, name, flags, Mode::empty());
    let mut depth: u64 = 0;
    let mut here = rustix::fs::openat(top, c".", flags, Mode::empty())?;
    loop {
        // Whoever still makes cgroups in here must not keep us longer than the caller allows.
        if Instant::now() >= until {
            return Ok(Removal::Busy);
        }
        let mut below = None;
        for_each_child(&here, |name| match rustix::fs::unlinkat(&here, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(true),
            Err(Errno::BUSY) => match open(&here, name) {
                Ok(fd) => {
                    below = Some(fd);
                    Ok(false)
                }
                Err(Errno::NOENT | Errno::NODEV) => Ok(true),
                Err(cause) => Err(cause),
            },
            Err(cause) => Err(cause),
        })?;
        match below {
            Some(child) if has_children(&child)? => {
                here = child;
                depth += 1;
            }
            Some(_) => return Ok(Removal::Busy),
            None if depth == 0 => return Ok(Removal::Gone),
            None => {
                // Safe: `here` is `depth` levels below `top`, and kernfs renames only within one parent.
                here = open(&here, c"..")?;
                depth -= 1;
            }
        }
    }
}

fn has_children(dir: &OwnedFd) -> Result<bool, Errno> {
    let mut found = false;
    for_each_child(dir, |_| {
        found = true;
        Ok(false)
    })?;
    Ok(found)
}

/// Calls `visit` with the name of each child cgroup until it answers false.
fn for_each_child(
    dir: impl std::os::fd::AsFd,
    mut visit: impl FnMut(&std::ffi::CStr) -> Result<bool, Errno>,
) -> Result<(), Errno> {
    // kernfs answers ENOENT for the listing of a directory that was removed meanwhile.
    let mut entries = match rustix::fs::Dir::read_from(dir) {
        Ok(entries) => entries,
        Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
        Err(cause) => return Err(cause),
    };
    while let Some(entry) = entries.read() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
            Err(cause) => return Err(cause),
        };
        // Interface files are plain files; every directory is a cgroup.
        if entry.file_type() != FileType::Directory || matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        if !visit(entry.file_name())? {
            break;
        }
    }
    Ok(())
}
