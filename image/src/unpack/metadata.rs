// SPDX-License-Identifier: Apache-2.0
//! Owner, mode, extended attributes and times of what an entry made, through its fd.
//!
//! The order matters to the kernel: `fchown` clears setuid bits and file capabilities, so it comes first.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::tar::{Entry, Time};
use crate::limits;

/// Sets owner, mode and attributes of a file or directory.
pub(super) fn set_by_fd(fd: BorrowedFd<'_>, entry: &Entry) -> Result<(), Errno> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode))?;
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_allowed(name)) {
        if value.len() > limits::XATTR_BYTES || name.len() > limits::NAME_BYTES {
            return Err(Errno::RANGE);
        }
        match rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
            // tmpfs knows user attributes since 6.6 only, and nothing that runs depends on them. A lost file capability would matter.
            Err(Errno::NOTSUP) if name.starts_with(b"user.") => {}
            other => other?,
        }
    }
    Ok(())
}

/// Attributes that an image may bring: file capabilities and the users' own. Everything else is left out, above all what controls
/// overlayfs (`trusted.overlay.*`, and `user.overlay.*` for unprivileged mounts), which could redirect into other directories.
fn is_allowed(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

/// Sets modification and access time.
pub(super) fn set_times(fd: BorrowedFd<'_>, time: Time) -> Result<(), Errno> {
    rustix::fs::futimens(fd, &stamps(time))
}

/// Sets owner and times of a symbolic link, which has no mode.
pub(super) fn set_on_symlink(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), Errno> {
    let owner = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
    rustix::fs::chownat(parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    rustix::fs::utimensat(parent, name, &stamps(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
}

/// Sets owner, mode and times of a device or fifo, which can't be opened without waking its driver: `node` is an O_PATH fd.
pub(super) fn set_on_node(
    parent: BorrowedFd<'_>,
    name: &[u8],
    node: BorrowedFd<'_>,
    entry: &Entry,
) -> Result<(), Errno> {
    let owner = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
    rustix::fs::chownat(node, c"", owner.0, owner.1, AtFlags::EMPTY_PATH)?;
    // KERNEL(6.6): fchmodat2 with AT_EMPTY_PATH does this without /proc.
    rustix::fs::chmod(format!("/proc/self/fd/{}", node.as_raw_fd()), Mode::from_raw_mode(entry.mode))?;
    rustix::fs::utimensat(parent, name, &stamps(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
}

fn stamps(time: Time) -> Timestamps {
    let stamp = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: stamp, last_modification: stamp }
}
