// SPDX-License-Identifier: Apache-2.0
//! Signals: state that would pass through an execve, and sending one by number.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::signal::SigSet;
use rustix::io::Errno;

use crate::clone::Child;
use crate::error::{Error, Result};
use crate::limits::SIGNAL_MAX;

/// Gives every signal its default disposition and unblocks all: ignored and blocked signals survive an execve, and a
/// container must not inherit that Rust ignores SIGPIPE or that its parent blocks what it reads from a signalfd.
///
/// # Errors
/// What `rt_sigprocmask(2)` fails with.
pub fn reset_signals(_: &Child) -> Result<()> {
    // The kernel's struct sigaction, whatever the order of its fields: SIG_DFL, no flags, an empty mask.
    let default = [0_u64; 4];
    for signal in 1..=SIGNAL_MAX {
        // SAFETY: the kernel reads at most the 32 bytes of `default`, and SIG_DFL is no code of ours that could run at
        // a bad moment. KILL and STOP are refused with EINVAL and have no disposition to inherit.
        // JUSTIFICATION: the C library's own function leaves out the two signals that it keeps for itself, and those
        // may have been inherited as ignored, too.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    SigSet::empty()
        .thread_set_mask()
        .map_err(|errno| Error::new("rt_sigprocmask(SIG_SETMASK, [])", Errno::from_raw_os_error(errno as i32)))
}

/// Sends the signal with this number, real-time ones too, to the process behind a pidfd (`pidfd_send_signal(2)`).
///
/// # Errors
/// `ESRCH` when the process has been waited for, `EINVAL` for a number that is no signal; otherwise what
/// `pidfd_send_signal(2)` lists.
pub fn pidfd_send_signal(process: BorrowedFd<'_>, signal: u8) -> Result<()> {
    // SAFETY: the descriptor is open for the length of the call, and without a siginfo the kernel reads no memory.
    // JUSTIFICATION: the libraries' wrappers take only the named signals, and images ask for SIGRTMIN+3.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            libc::c_int::from(signal),
            std::ptr::null::<libc::siginfo_t>(),
            0_u32,
        )
    };
    if result == 0 { Ok(()) } else { Err(Error::last(format!("pidfd_send_signal({}, {signal})", process.as_raw_fd()))) }
}
