// SPDX-License-Identifier: Apache-2.0
//! `setns(2)` and `unshare(2)` for a process with one thread.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sched;
use rustix::io::Errno;

use crate::clone::CloneFlags;
use crate::error::{Error, Result};
use crate::single_threaded::SingleThreaded;

/// Joins namespaces: `fd` is a pidfd, then `flags` says which of that process's, or a namespace, then its kind.
///
/// # Errors
/// What `setns(2)` lists; `ESRCH` when the process of the pidfd has ended.
pub fn setns(_: &SingleThreaded, fd: BorrowedFd<'_>, flags: CloneFlags) -> Result<()> {
    sched::setns(fd, sched::CloneFlags::from_bits_retain(flags.bits())).map_err(|errno| {
        Error::new(format!("setns({}, {flags:?})", fd.as_raw_fd()), Errno::from_raw_os_error(errno as i32))
    })
}

/// Leaves namespaces for fresh ones.
///
/// # Errors
/// What `unshare(2)` lists.
pub fn unshare(_: &SingleThreaded, flags: CloneFlags) -> Result<()> {
    sched::unshare(sched::CloneFlags::from_bits_retain(flags.bits()))
        .map_err(|errno| Error::new(format!("unshare({flags:?})"), Errno::from_raw_os_error(errno as i32)))
}
