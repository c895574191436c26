// SPDX-License-Identifier: Apache-2.0
//! `mount_setattr(2)`, the one call of the mount API that rustix lacks.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::mount::MountAttrFlags;

use crate::error::{Error, Result};

/// How far a change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The mount itself.
    Mount,
    /// The mount and every mount below it.
    Tree,
}

/// How mounts and unmounts travel between peers (`mount_namespaces(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// `MS_PRIVATE`: neither receives nor sends.
    Private,
    /// `MS_SLAVE`: receives only.
    Slave,
    /// `MS_SHARED`: receives and sends.
    Shared,
}

/// What to change on a mount.
#[derive(Clone, Copy, Debug)]
pub struct MountChange {
    /// Attributes to set.
    pub set: MountAttrFlags,
    /// The new propagation; `None` leaves it.
    pub propagation: Option<Propagation>,
}

/// The layout that `linux/mount.h` gives to `struct mount_attr`, version 0.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes the mount that `mount` is open on, attached or not.
///
/// # Errors
/// What `mount_setattr(2)` lists; `EPERM` when a locked attribute would be lost, `EBUSY` when a mount that is written to
/// shall become read-only.
pub fn mount_setattr(mount: BorrowedFd<'_>, depth: Depth, change: MountChange) -> Result<()> {
    let attr = MountAttr {
        attr_set: u64::from(change.set.bits()),
        attr_clr: 0,
        propagation: match change.propagation {
            None => 0,
            Some(Propagation::Private) => libc::MS_PRIVATE,
            Some(Propagation::Slave) => libc::MS_SLAVE,
            Some(Propagation::Shared) => libc::MS_SHARED,
        },
        userns_fd: 0,
    };
    let recursive = if depth == Depth::Tree { libc::AT_RECURSIVE } else { 0 };
    let fd = mount.as_raw_fd();
    // SAFETY: the path is a static empty string with its NUL, `attr` is a complete mount_attr whose size is passed
    // beside it, and the kernel only reads both.
    // JUSTIFICATION: neither nix nor rustix has the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(Error::last(format!("mount_setattr({fd}, {depth:?}, {change:?})"))) }
}
