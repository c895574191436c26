// SPDX-License-Identifier: Apache-2.0
//! A terminal of the container's own devpts.
//!
//! It is opened by descriptor from a directory that is verified to be a devpts, never by a path like `/dev/pts/0`
//! (CVE-2025-52565).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::pty::OpenptFlags;

use crate::channel::Reporter;
use crate::child::put_on_streams;
use crate::failure::{Because, Named, Result, refuse};

/// `DEVPTS_SUPER_MAGIC` of `linux/magic.h`.
const DEVPTS_MAGIC: rustix::fs::FsWord = 0x1cd1;

/// Major and minor number of `ptmx`.
const PTMX: (u32, u32) = (5, 2);

/// Both ends of a terminal.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The monitor's, non-blocking.
    pub(crate) master: OwnedFd,
    /// The process's.
    pub(crate) peer: OwnedFd,
}

/// Opens a new terminal of the devpts whose root `pts` is.
pub(crate) fn open_pair(pts: BorrowedFd<'_>) -> Result<Pair> {
    let filesystem = rustix::fs::fstatfs(pts).because(|| "fstatfs of the devpts".to_owned())?;
    if filesystem.f_type != DEVPTS_MAGIC {
        return Err(refuse("/dev/pts is no devpts file system"));
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let master =
        rustix::fs::openat(pts, "ptmx", flags, Mode::empty()).because(|| "open ptmx of the devpts".to_owned())?;
    let stat = rustix::fs::fstat(&master).because(|| "fstat of ptmx".to_owned())?;
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || device != PTMX {
        return Err(refuse("ptmx of the devpts is not the device 5:2"));
    }
    rustix::pty::unlockpt(&master).because(|| "ioctl(TIOCSPTLCK)".to_owned())?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let peer = rustix::pty::ioctl_tiocgptpeer(&master, flags).because(|| "ioctl(TIOCGPTPEER)".to_owned())?;
    Ok(Pair { master, peer })
}

/// For an exec: a terminal of the container that this process has entered. Reports the master.
pub(crate) fn open_in_container(reporter: &Reporter) -> Result<OwnedFd> {
    open_and_report(reporter).step(|| "open a terminal".to_owned())
}

fn open_and_report(reporter: &Reporter) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_MAGICLINKS;
    let pts = rustix::fs::openat2(rustix::fs::CWD, "/dev/pts", flags, Mode::empty(), resolve)
        .because(|| "openat2(/dev/pts) in the container".to_owned())?;
    let pair = open_pair(pts.as_fd())?;
    reporter.console(pair.master.as_fd())?;
    Ok(pair.peer)
}

/// Makes the terminal the controlling one of this session and its standard streams.
pub(crate) fn take(peer: &OwnedFd) -> Result<()> {
    rustix::process::ioctl_tiocsctty(peer).because(|| "ioctl(TIOCSCTTY)".to_owned())?;
    put_on_streams([peer.as_fd(); 3])
}
