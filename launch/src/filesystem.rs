// SPDX-License-Identifier: Apache-2.0
//! New file systems as detached mounts, and mounts by descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use sys::{Depth, MountChange};
use wire::{Access, Failure};

use crate::failure::{Because, Result, from_errno};
use crate::limits::CONTEXT_MESSAGES;

/// One parameter of a file system (`fsconfig(2)`).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Setting<'a> {
    /// A word that stands for itself.
    Flag(&'a str),
    /// A word with a value.
    Text(&'a str, &'a str),
    /// A word with a directory, held by descriptor.
    Directory(&'a str, BorrowedFd<'a>),
}

/// The attributes that every kernel file system of a container has.
pub(crate) const KERNEL_FILESYSTEM: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV).union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// `MOUNT_ATTR_RDONLY`, or nothing.
pub(crate) fn read_only_if(access: Access) -> MountAttrFlags {
    match access {
        Access::ReadOnly => MountAttrFlags::MOUNT_ATTR_RDONLY,
        Access::ReadWrite => MountAttrFlags::empty(),
    }
}

/// Makes a file system of type `name` and returns a detached mount of it.
pub(crate) fn make(name: &str, settings: &[Setting<'_>], attributes: MountAttrFlags) -> Result<OwnedFd> {
    let context = rustix::mount::fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC).because(|| format!("fsopen(\"{name}\")"))?;
    for setting in settings {
        match setting {
            Setting::Flag(key) => rustix::mount::fsconfig_set_flag(&context, *key),
            Setting::Text(key, value) => rustix::mount::fsconfig_set_string(&context, *key, *value),
            Setting::Directory(key, fd) => rustix::mount::fsconfig_set_fd(&context, *key, fd),
        }
        .map_err(|errno| explained(&context, errno, &format!("{name}: {}", describe(*setting))))?;
    }
    rustix::mount::fsconfig_create(&context).map_err(|errno| explained(&context, errno, &format!("create {name}")))?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(|errno| explained(&context, errno, &format!("fsmount {name}")))
}

fn describe(setting: Setting<'_>) -> String {
    match setting {
        Setting::Flag(key) => key.to_owned(),
        Setting::Text(key, value) => format!("{key}={value}"),
        Setting::Directory(key, _) => format!("{key} by descriptor"),
    }
}

/// The failure, with what the kernel left to read in the context: `e overlay: …`, the last message being the cause.
fn explained(context: &OwnedFd, errno: Errno, what: &str) -> Failure {
    let mut cause = String::new();
    for _ in 0..CONTEXT_MESSAGES {
        let mut message = [0; 512];
        match rustix::io::read(context, &mut message) {
            Ok(length) if length > 2 => cause = String::from_utf8_lossy(&message[2..length]).trim_end().to_owned(),
            _ => break,
        }
    }
    let detail = if cause.is_empty() { what.to_owned() } else { format!("{what} ({cause})") };
    from_errno(errno, Some(detail))
}

/// Puts a detached mount onto what `target` is open on.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", target, "", flags).because(|| "move_mount onto the target".to_owned())
}

/// Makes a detached copy of the mount that `mount` is open on; `mount` must be attached in the caller's namespace.
pub(crate) fn copy(mount: BorrowedFd<'_>, depth: Depth) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if depth == Depth::Tree {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(mount, "", flags).because(|| "open_tree(OPEN_TREE_CLONE)".to_owned())
}

/// Makes a mount read-only, the others below it too when `depth` says so. What else is set stays.
pub(crate) fn make_read_only(mount: impl AsFd, depth: Depth) -> Result<()> {
    let change = MountChange { set: MountAttrFlags::MOUNT_ATTR_RDONLY, propagation: None };
    sys::mount_setattr(mount.as_fd(), depth, change).or_fail()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_why() {
        let failure = make("tmpfs", &[Setting::Text("size", "much")], MountAttrFlags::empty()).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "Invalid argument (os error 22): tmpfs: size=much (tmpfs: Bad value for 'size')"
        );
        let failure = make("nofs", &[], MountAttrFlags::empty()).unwrap_err();
        assert_eq!(failure.to_string(), "No such device (os error 19): fsopen(\"nofs\")");
    }

    #[test]
    fn a_read_only_mount_is_read_only() {
        let tmpfs = make("tmpfs", &[], KERNEL_FILESYSTEM).unwrap();
        rustix::fs::mkdirat(&tmpfs, "a", rustix::fs::Mode::RWXU).unwrap();
        make_read_only(&tmpfs, Depth::Tree).unwrap();
        assert_eq!(rustix::fs::mkdirat(&tmpfs, "b", rustix::fs::Mode::RWXU), Err(Errno::ROFS));
        let mounted = rustix::fs::fstatvfs(&tmpfs).unwrap().f_flag;
        use rustix::fs::StatVfsMountFlags as Flags;
        assert!(mounted.contains(Flags::RDONLY | Flags::NOSUID | Flags::NODEV | Flags::NOEXEC), "{mounted:?}");
    }
}
