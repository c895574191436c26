// SPDX-License-Identifier: Apache-2.0
//! Masked and read-only paths.
//!
//! What covers a file is the *host's* `/dev/null`, opened and verified before anything of the container is touched
//! (CVE-2025-31133: the container's own may be anything). Every mask is looked at again after it was put on, and only a
//! missing target is no failure.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Stat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags};
use sys::Depth;

use super::Builder;
use super::attach::file_type;
use crate::failure::{Because, Result, refuse};
use crate::filesystem::{self, KERNEL_FILESYSTEM, Setting};
use crate::in_root::{Links, Root};

/// Major and minor number of `/dev/null`.
const NULL_DEVICE: (u32, u32) = (1, 3);

/// A mount that covers paths. The first use attaches the mount itself, later ones attach copies of it: only an attached
/// mount can be copied by every kernel (a detached one since 6.15).
#[derive(Debug)]
pub(super) struct Cover {
    mount: OwnedFd,
    attached: bool,
}

impl Cover {
    fn new(mount: OwnedFd) -> Self {
        Self { mount, attached: false }
    }

    fn put_on(&mut self, target: BorrowedFd<'_>) -> Result<()> {
        if self.attached {
            let copy = filesystem::copy(self.mount.as_fd(), Depth::Mount)?;
            return filesystem::attach(copy.as_fd(), target);
        }
        filesystem::attach(self.mount.as_fd(), target)?;
        self.attached = true;
        Ok(())
    }
}

impl Builder<'_> {
    /// Runs on the host, before every step.
    pub(super) fn open_null(&mut self) -> Result<()> {
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        let null = rustix::mount::open_tree(CWD, "/dev/null", flags).because(|| "open_tree(/dev/null)".to_owned())?;
        if !is_null(&stat(&null)?) {
            return Err(refuse("it is not the character device 1:3; repair the host's /dev/null"));
        }
        self.null = Some(Cover::new(null));
        Ok(())
    }

    pub(super) fn mask(&mut self, target: &str) -> Result<()> {
        let Some(found) = find_existing(self.root()?, target)? else { return Ok(()) };
        if file_type(&found)? == FileType::Directory {
            if self.empty.is_none() {
                self.empty = Some(Cover::new(empty_directory()?));
            }
            put_on(&mut self.empty, &found)?;
        } else {
            put_on(&mut self.null, &found)?;
        }
        self.verify_mask(target)
    }

    /// Fails closed: what is at the target now must be what was put there.
    fn verify_mask(&self, target: &str) -> Result<()> {
        let now = self.root()?.find(target, Links::Follow).because(|| format!("look at {target} again"))?;
        let now = stat(&now)?;
        let covered = match &self.empty {
            Some(empty) if FileType::from_raw_mode(now.st_mode) == FileType::Directory => {
                stat(&empty.mount)?.st_dev == now.st_dev
            }
            _ => is_null(&now),
        };
        if covered { Ok(()) } else { Err(refuse("the path is not masked although the mount succeeded")) }
    }

    pub(super) fn make_path_read_only(&mut self, target: &str) -> Result<()> {
        let Some(found) = find_existing(self.root()?, target)? else { return Ok(()) };
        let copy = filesystem::copy(found.as_fd(), Depth::Tree)?;
        filesystem::make_read_only(&copy, Depth::Tree)?;
        filesystem::attach(copy.as_fd(), found.as_fd())
    }
}

fn put_on(cover: &mut Option<Cover>, target: &OwnedFd) -> Result<()> {
    match cover {
        Some(cover) => cover.put_on(target.as_fd()),
        None => Err(refuse("what shall cover the path was not opened")),
    }
}

fn find_existing(root: &Root, target: &str) -> Result<Option<OwnedFd>> {
    match root.find(target, Links::Follow) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        other => other.map(Some).because(|| format!("openat2({target}) in the root")),
    }
}

fn empty_directory() -> Result<OwnedFd> {
    // One inode for the directory itself, one that the kernel keeps for itself; nothing can be made in it anyway.
    let settings = [Setting::Text("mode", "555"), Setting::Text("size", "4k"), Setting::Text("nr_inodes", "2")];
    filesystem::make("tmpfs", &settings, KERNEL_FILESYSTEM | MountAttrFlags::MOUNT_ATTR_RDONLY)
}

fn stat(fd: &OwnedFd) -> Result<Stat> {
    rustix::fs::fstat(fd).because(|| "fstat of a masked path".to_owned())
}

fn is_null(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) == NULL_DEVICE
}
