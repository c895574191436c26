// SPDX-License-Identifier: Apache-2.0
//! Becoming another program, and ending without ceremony.

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::fcntl::AtFlags;
use rustix::io::Errno;

use crate::error::Error;

/// Ends the process at once: no destructors, no `atexit`, no flushing of what the parent had buffered.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: _exit takes any int, touches no memory of ours and does not return.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Executes the program at `path`; returns only when that fails.
pub fn execve(path: &CStr, args: &[impl AsRef<CStr>], env: &[impl AsRef<CStr>]) -> Error {
    match nix::unistd::execve(path, args, env) {
        Ok(never) => absurd(never),
        Err(errno) => Error::new(format!("execve({path:?}, {} args, {} vars)", args.len(), env.len()), from_nix(errno)),
    }
}

/// Executes the open file `program` (`AT_EMPTY_PATH`), which may be close-on-exec unless it is a script; returns only
/// when that fails.
pub fn execveat(program: BorrowedFd<'_>, args: &[impl AsRef<CStr>], env: &[impl AsRef<CStr>]) -> Error {
    match nix::unistd::execveat(program, c"", args, env, AtFlags::AT_EMPTY_PATH) {
        Ok(never) => absurd(never),
        Err(errno) => Error::new(
            format!("execveat({}, \"\", {} args, {} vars)", program.as_raw_fd(), args.len(), env.len()),
            from_nix(errno),
        ),
    }
}

fn absurd(never: Infallible) -> Error {
    match never {}
}

fn from_nix(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}
