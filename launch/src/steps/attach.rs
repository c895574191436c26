// SPDX-License-Identifier: Apache-2.0
//! Mount sources: opened once on the host, attached inside the root.

use std::fs::DirBuilder;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;

use rustix::fs::{CWD, FileType};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use sys::{Depth, MountChange, Propagation};
use wire::{Access, MissingSource};

use super::Builder;
use crate::failure::{Because, Result, refuse};
use crate::filesystem;
use crate::in_root::{Kind, Links};

/// A mount source: a detached copy of a host mount, with what is mounted below it.
#[derive(Debug)]
pub(super) struct Source {
    tree: OwnedFd,
    kind: Kind,
}

impl Builder<'_> {
    /// KERNEL: the copy must be made before the pod is entered, because a mount of the host's namespace cannot be copied
    /// from within another one.
    pub(super) fn open_source(&mut self, slot: u16, path: &str, missing: MissingSource) -> Result<()> {
        let tree = match (open(path), missing) {
            (Err(Errno::NOENT), MissingSource::MakeDirectory) => {
                let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
                made.because(|| format!("make the missing directory {path}"))?;
                open(path)
            }
            (opened, _) => opened,
        }
        .because(|| format!("open_tree({path})"))?;
        let kind = match file_type(&tree)? {
            FileType::Directory => Kind::Directory,
            _ => Kind::File,
        };
        match self.slots.insert(slot, Source { tree, kind }) {
            None => Ok(()),
            Some(_) => Err(refuse(format!("slot {slot} is filled twice"))),
        }
    }

    pub(super) fn attach_source(&mut self, slot: u16, target: &str, access: Access) -> Result<()> {
        let source = self.slots.remove(&slot).ok_or_else(|| refuse(format!("slot {slot} is empty")))?;
        let tree = source.tree.as_fd();
        // A copy of a shared mount is its peer: what the host mounts below it later must not appear in the container.
        let private =
            MountChange { set: rustix::mount::MountAttrFlags::empty(), propagation: Some(Propagation::Private) };
        sys::mount_setattr(tree, Depth::Tree, private).or_fail()?;
        if access == Access::ReadOnly {
            // CRI `Mount.readonly`: the mount itself, not those below it (that would be `recursive_read_only`).
            filesystem::make_read_only(tree, Depth::Mount)?;
        }
        let target = self.root()?.find_or_make(target, source.kind, Links::Follow)?;
        filesystem::attach(tree, target.as_fd())
    }
}

fn open(path: &str) -> std::result::Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(CWD, path, flags)
}

/// What kind of file the descriptor is open on.
pub(super) fn file_type(fd: &OwnedFd) -> Result<FileType> {
    let stat = rustix::fs::fstat(fd).because(|| "fstat of a mount source".to_owned())?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}
