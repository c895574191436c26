// SPDX-License-Identifier: Apache-2.0
//! The cgroup hierarchies, as the container's cgroup namespace shows them.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};
use sys::Depth;
use wire::{Access, CgroupMount};

use super::Builder;
use crate::failure::{Because, Result, refuse};
use crate::filesystem::{self, KERNEL_FILESYSTEM, Setting, read_only_if};
use crate::limits::{SKELETON_INODES, SKELETON_SIZE};

impl Builder<'_> {
    pub(super) fn mount_cgroups(&mut self, target: &str, mounts: &[CgroupMount], access: Access) -> Result<()> {
        let target = self.kernel_target(target)?;
        if let [only] = mounts
            && only.name.is_empty()
        {
            return mount_hierarchy(only, target.as_fd(), access);
        }
        let settings = [
            Setting::Text("mode", "755"),
            Setting::Text("size", SKELETON_SIZE),
            Setting::Text("nr_inodes", SKELETON_INODES),
        ];
        let tmpfs = filesystem::make("tmpfs", &settings, KERNEL_FILESYSTEM)?;
        filesystem::attach(tmpfs.as_fd(), target.as_fd())?;
        for mount in mounts {
            let name = mount.name.as_str();
            if name.is_empty() || name == "." || name == ".." || name.contains('/') {
                return Err(refuse(format!("\"{name}\" is no name for the directory of a hierarchy")));
            }
            rustix::fs::mkdirat(&tmpfs, name, Mode::from_raw_mode(0o755)).because(|| format!("mkdirat({name})"))?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory =
                rustix::fs::openat(&tmpfs, name, flags, Mode::empty()).because(|| format!("openat({name})"))?;
            mount_hierarchy(mount, directory.as_fd(), access)?;
        }
        match access {
            Access::ReadOnly => filesystem::make_read_only(&tmpfs, Depth::Mount),
            Access::ReadWrite => Ok(()),
        }
    }
}

fn mount_hierarchy(mount: &CgroupMount, target: BorrowedFd<'_>, access: Access) -> Result<()> {
    let settings: Vec<_> = mount
        .options
        .split(',')
        .filter(|option| !option.is_empty())
        .map(|option| match option.split_once('=') {
            Some((key, value)) => Setting::Text(key, value),
            None => Setting::Flag(option),
        })
        .collect();
    let version = if settings.is_empty() { "cgroup2" } else { "cgroup" };
    let tree = filesystem::make(version, &settings, KERNEL_FILESYSTEM | read_only_if(access))?;
    filesystem::attach(tree.as_fd(), target)
}
