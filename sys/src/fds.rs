// SPDX-License-Identifier: Apache-2.0
//! Descriptors around an execve: those that came through it, and those that must not.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, FdFlags};

use crate::clone::Child;
use crate::error::{Error, Result};

/// Takes ownership of descriptor `number`, which the program that executed this one handed over, and makes it
/// close-on-exec.
///
/// # Errors
/// - `EBADF` when there is no such descriptor, or it is a standard stream: those belong to nobody.
/// - `EBUSY` when it is close-on-exec: then it did not come through an execve, or it was taken before, and something in
///   this process owns it.
pub fn inherited_fd(number: RawFd) -> Result<OwnedFd> {
    let call = |name: &str| format!("{name}({number})");
    if number <= libc::STDERR_FILENO {
        return Err(Error::new(call("inherited_fd"), Errno::BADF));
    }
    // SAFETY: the number is only asked about here, before anything relies on it being open.
    let probe = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = rustix::io::fcntl_getfd(probe).map_err(|errno| Error::new(call("fcntl(F_GETFD)"), errno))?;
    if flags.contains(FdFlags::CLOEXEC) {
        return Err(Error::new(call("inherited_fd"), Errno::BUSY));
    }
    rustix::io::fcntl_setfd(probe, FdFlags::CLOEXEC).map_err(|errno| Error::new(call("fcntl(F_SETFD)"), errno))?;
    // SAFETY: the descriptor is open and was not close-on-exec. The standard library, rustix and this crate open
    // everything close-on-exec, so it came through an execve and has no owner; the flag set above makes a second call
    // for the same number fail.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor of a child but those of `keep`; standard streams too, unless they are kept.
///
/// A value of the child's own frames that owns one of the closed descriptors must not be dropped afterwards: the standard
/// library aborts when it notices. Drop such values before, or leak them.
///
/// # Errors
/// What `close_range(2)` fails with; none of it can happen on a kernel that has the call (5.9).
pub fn close_all_but(_: &Child, keep: &[BorrowedFd<'_>]) -> Result<()> {
    let mut kept: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd().unsigned_abs()).collect();
    kept.sort_unstable();
    kept.dedup();
    let mut first = 0;
    for number in kept {
        if number > first {
            close_range(first, number - 1)?;
        }
        first = number + 1;
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: the call touches no memory. It closes descriptors behind the back of their owners, who are values of the
    // parent's frames: the `Child` that the public function takes proves that these frames never run again here.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 { Ok(()) } else { Err(Error::last(format!("close_range({first}, {last}, 0)"))) }
}
