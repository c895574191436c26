// SPDX-License-Identifier: Apache-2.0
//! proc, sysfs, mqueue, shared memory and plain tmpfs.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::MountAttrFlags;
use sys::Depth;
use wire::Access;

use super::Builder;
use crate::failure::{Because, Result};
use crate::filesystem::{self, KERNEL_FILESYSTEM, Setting, read_only_if};
use crate::in_root::{Kind, Links};
use crate::template;

impl Builder<'_> {
    /// The target of a kernel file system: an ordinary directory, made when missing, never a link of the image.
    pub(super) fn kernel_target(&self, target: &str) -> Result<OwnedFd> {
        self.root()?.find_or_make(target, Kind::Directory, Links::Refuse)
    }

    pub(super) fn mount_proc(&mut self, target: &str) -> Result<()> {
        let target = self.kernel_target(target)?;
        let proc = filesystem::make("proc", &[], KERNEL_FILESYSTEM)?;
        filesystem::attach(proc.as_fd(), target.as_fd())
    }

    pub(super) fn mount_sysfs(&mut self, target: &str, access: Access) -> Result<()> {
        let target = self.kernel_target(target)?;
        let sysfs = filesystem::make("sysfs", &[], KERNEL_FILESYSTEM | read_only_if(access))?;
        filesystem::attach(sysfs.as_fd(), target.as_fd())
    }

    pub(super) fn mount_mqueue(&mut self, target: &str) -> Result<()> {
        let target = self.kernel_target(target)?;
        let mqueue = filesystem::make("mqueue", &[], KERNEL_FILESYSTEM)?;
        filesystem::attach(mqueue.as_fd(), target.as_fd())
    }

    /// The template's shared memory is one tmpfs for all containers of the pod.
    pub(super) fn mount_shm(&mut self, target: &str) -> Result<()> {
        let target = self.kernel_target(target)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let shm = rustix::fs::openat(CWD, template::SHM, flags, Mode::empty())
            .because(|| format!("open {} of the template", template::SHM))?;
        let copy = filesystem::copy(shm.as_fd(), Depth::Mount)?;
        filesystem::attach(copy.as_fd(), target.as_fd())
    }

    pub(super) fn mount_tmpfs(&mut self, target: &str, data: &str, access: Access) -> Result<()> {
        let settings: Vec<_> = data
            .split(',')
            .filter(|option| !option.is_empty())
            .map(|option| match option.split_once('=') {
                Some((key, value)) => Setting::Text(key, value),
                None => Setting::Flag(option),
            })
            .collect();
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | read_only_if(access);
        let tmpfs = filesystem::make("tmpfs", &settings, attributes)?;
        let target = self.root()?.find_or_make(target, Kind::Directory, Links::Follow)?;
        filesystem::attach(tmpfs.as_fd(), target.as_fd())
    }
}
