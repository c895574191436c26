// SPDX-License-Identifier: Apache-2.0
//! Into the pod, and into the root.

use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MoveMountFlags, UnmountFlags};
use sys::{CloneFlags, Depth, MountChange, Propagation};
use wire::{FailureKind, Namespaces};

use super::Builder;
use crate::failure::{Because, Result, from_errno, refuse};
use crate::filesystem;
use crate::in_root::Root;
use crate::template;

impl Builder<'_> {
    pub(super) fn enter_pod(&mut self, namespaces: Namespaces) -> Result<()> {
        let flags = CloneFlags::NEWNS
            .with_if(namespaces.network, CloneFlags::NEWNET)
            .with_if(namespaces.ipc, CloneFlags::NEWIPC)
            .with_if(namespaces.uts, CloneFlags::NEWUTS);
        match sys::setns(self.single, self.pause, flags) {
            Err(error) if error.errno() == Errno::SRCH => {
                let mut failure = from_errno(Errno::SRCH, Some("the pod's pause process has ended".to_owned()));
                failure.kind = FailureKind::WrongState;
                return Err(failure);
            }
            other => other.or_fail()?,
        }
        sys::unshare(self.single, CloneFlags::NEWNS).or_fail()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty()).because(|| "open(\"/\") of the template".to_owned())?;
        // The template is private already; a copy that were not would carry the container's mounts to its neighbours.
        let private = MountChange { set: MountAttrFlags::empty(), propagation: Some(Propagation::Private) };
        sys::mount_setattr(root.as_fd(), Depth::Tree, private).or_fail()
    }

    /// After the v1 cgroups and the unified one were joined: the namespace's root is where the process is now.
    pub(super) fn unshare_cgroup(&mut self) -> Result<()> {
        sys::unshare(self.single, CloneFlags::NEWCGROUP).or_fail()
    }

    pub(super) fn attach_root(&mut self) -> Result<()> {
        let overlay = self.overlay.take().ok_or_else(|| refuse("no root file system was made"))?;
        rustix::mount::move_mount(&overlay, "", CWD, template::ROOT, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .because(|| format!("move_mount onto {} of the template", template::ROOT))?;
        self.root = Some(Root::new(overlay));
        Ok(())
    }

    pub(super) fn make_root_read_only(&mut self) -> Result<()> {
        filesystem::make_read_only(self.root()?.fd(), Depth::Mount)
    }

    pub(super) fn pivot(&mut self) -> Result<()> {
        pivot_to(self.root()?)
    }
}

/// Makes `root` the root of this mount namespace and lets go of what was there.
pub(crate) fn pivot_to(root: &Root) -> Result<()> {
    rustix::process::fchdir(root.fd()).because(|| "fchdir to the root file system".to_owned())?;
    // pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one and needs no directory there.
    rustix::process::pivot_root(".", ".").because(|| "pivot_root(\".\", \".\")".to_owned())?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).because(|| "umount2(\".\", MNT_DETACH)".to_owned())?;
    rustix::process::chdir("/").because(|| "chdir(\"/\")".to_owned())
}
