// SPDX-License-Identifier: Apache-2.0
//! The programs inside this program: husk-monitor and husk-pause, as files without a path.
//!
//! One sealed memfd each, made at the start: nothing on disk can be overwritten or deleted under a running pod, and
//! all pods share the pages.

use std::ffi::CStr;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;

use anyhow::Context as _;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use sys::{Depth, MemfdUse, MountChange};

/// What tells this build's monitor from every other, and what it says of itself in its greeting (`build.rs`).
pub(crate) const BUILD: &str = env!("HUSK_BUILD");

const MONITOR: &[u8] = include_bytes!(env!("HUSK_MONITOR"));
const PAUSE: &[u8] = include_bytes!(env!("HUSK_PAUSE"));

/// The embedded programs, ready to be executed.
pub(crate) struct Programs {
    /// husk-monitor.
    pub(crate) monitor: OwnedFd,
    /// husk-pause.
    pub(crate) pause: OwnedFd,
}

/// Takes the programs out.
pub(crate) fn programs() -> anyhow::Result<Programs> {
    Ok(Programs { monitor: program(c"husk-monitor", MONITOR)?, pause: program(c"husk-pause", PAUSE)? })
}

fn program(name: &CStr, bytes: &[u8]) -> anyhow::Result<OwnedFd> {
    let what = || format!("take the program {name:?} out of husk");
    match sys::memfd_sealed(name, bytes, MemfdUse::Program) {
        Ok(fd) => Ok(fd),
        Err(error) if error.errno() == Errno::ACCESS => on_tmpfs(name, bytes).with_context(what),
        Err(error) => Err(error).with_context(what),
    }
}

/// Where `vm.memfd_noexec=2` forbids programs in memory files: a tmpfs that is mounted nowhere and read-only.
fn on_tmpfs(name: &CStr, bytes: &[u8]) -> anyhow::Result<OwnedFd> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen(tmpfs)")?;
    rustix::mount::fsconfig_set_string(&context, "mode", "0700").context("fsconfig(tmpfs, mode=0700)")?;
    rustix::mount::fsconfig_create(&context).context("fsconfig(tmpfs, create)")?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount =
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).context("fsmount(tmpfs)")?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let writer = rustix::fs::openat(&mount, name, flags, Mode::from_raw_mode(0o500)).context("openat(tmpfs)")?;
    // Closed at once: a program that is open for writing cannot be executed (ETXTBSY).
    File::from(writer).write_all(bytes).context("write(tmpfs)")?;
    let read_only = MountChange { set: MountAttrFlags::MOUNT_ATTR_RDONLY, propagation: None };
    sys::mount_setattr(std::os::fd::AsFd::as_fd(&mount), Depth::Mount, read_only)?;
    rustix::fs::openat(&mount, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).context("openat(tmpfs)")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    fn holds_the_program(fd: OwnedFd, bytes: &[u8]) {
        let file = File::from(fd);
        let mut head = [0; 4];
        file.read_exact_at(&mut head, 0).unwrap();
        assert_eq!(&head, b"\x7fELF");
        assert_eq!(file.metadata().unwrap().len(), bytes.len() as u64);
        assert!(file.write_at(b"x", 0).is_err());
    }

    #[test]
    fn both_programs_are_inside() {
        let programs = programs().unwrap();
        holds_the_program(programs.monitor, MONITOR);
        holds_the_program(programs.pause, PAUSE);
        let id = BUILD.as_bytes();
        assert!(
            id.len() >= 16 && MONITOR.windows(id.len()).any(|window| window == id),
            "the monitor is not of build {BUILD}"
        );
    }

    #[test]
    fn a_tmpfs_stands_in_for_a_memory_file() {
        holds_the_program(on_tmpfs(c"husk-pause", PAUSE).unwrap(), PAUSE);
    }
}
