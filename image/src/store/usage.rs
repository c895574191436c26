// SPDX-License-Identifier: Apache-2.0
//! What the store takes on its disk, from bookkeeping: each layer is measured once, when it is unpacked (CRI `ImageFsInfo`).

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::{Inner, Store};
use crate::error::Error;

/// What the store takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// An existing directory of the file system that holds the images (CRI `fs_id.mountpoint`).
    pub mountpoint: PathBuf,
    /// Allocated bytes.
    pub bytes: u64,
    /// Files, directories and links.
    pub inodes: u64,
}

/// Allocated bytes and inodes of a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Measure {
    pub(super) bytes: u64,
    pub(super) inodes: u64,
}

impl Measure {
    pub(super) fn add(&mut self, other: Measure) {
        self.bytes += other.bytes;
        self.inodes += other.inodes;
    }
}

impl Store {
    /// What the store takes now, from memory.
    pub fn usage(&self) -> Usage {
        let state = self.0.state();
        let mut sum = state.rest;
        state.layers.values().for_each(|layer| sum.add(layer.measure));
        let bytes = sum.bytes + self.0.unpacking_bytes.load(Ordering::Relaxed);
        Usage { mountpoint: self.0.layout.root().to_owned(), bytes, inodes: sum.inodes }
    }
}

impl Inner {
    /// Measures what isn't layers anew, after something was left behind. Blocking.
    pub(super) fn measure_rest_again(&self) {
        let _change = self.change();
        match measure_rest(&self.layout) {
            Ok(rest) => self.state().rest = rest,
            Err(error) => tracing::warn!(%error, "go on with an old measure of the image store"),
        }
    }
}

/// Measures everything but complete layers: a few small directories, and what a crash left.
pub(super) fn measure_rest(layout: &Layout) -> Result<Measure, Error> {
    let mut sum = Measure::default();
    for name in super::layout::names(layout.root())? {
        if name != "layers" {
            sum.add(measure(&layout.root().join(name))?);
        }
    }
    for directory in [layout.root().to_owned(), layout.layers()] {
        sum.add(measure_one(&directory)?);
    }
    for name in super::layout::names(&layout.layers())? {
        if name.starts_with(super::layout::DEAD) {
            sum.add(measure(&layout.layers().join(name))?);
        }
    }
    Ok(sum)
}

fn measure_one(path: &Path) -> Result<Measure, Error> {
    match rustix::fs::lstat(path) {
        Ok(stat) => Ok(Measure { bytes: stat.st_blocks as u64 * 512, inodes: 1 }),
        Err(Errno::NOENT) => Ok(Measure::default()),
        Err(errno) => Err(Error::io("stat", path, errno)),
    }
}

/// Measures a tree as `du` does: hard links once, nothing followed. What vanishes meanwhile counts as nothing.
pub(super) fn measure(path: &Path) -> Result<Measure, Error> {
    let mut sum = measure_one(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => return Ok(sum),
        Err(errno) => return Err(Error::io("open", path, errno)),
    };
    let mut seen = HashSet::new();
    sum.add(below(directory.as_fd(), &mut seen).map_err(|errno| Error::io("measure", path, errno))?);
    Ok(sum)
}

/// The depth is bounded by that of layers.
fn below(directory: BorrowedFd<'_>, seen: &mut HashSet<u64>) -> Result<Measure, Errno> {
    let mut sum = Measure::default();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !is_directory && stat.st_nlink > 1 && !seen.insert(stat.st_ino) {
            continue;
        }
        sum.add(Measure { bytes: stat.st_blocks as u64 * 512, inodes: 1 });
        if is_directory && let Some(child) = open_child(directory, name)? {
            sum.add(below(child.as_fd(), seen)?);
        }
    }
    Ok(sum)
}

fn open_child(directory: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(child) => Ok(Some(child)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}
