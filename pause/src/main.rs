// SPDX-License-Identifier: Apache-2.0
//! Process 1 of a sandbox: it holds the pod's namespaces open and reaps what is left to it.
//!
//! It does nothing else, so that nothing in it can go wrong: no argument, no environment, no file, no memory once it
//! runs. As process 1 of its pid namespace it is immune to every signal from inside; the monitor, outside, ends it with
//! SIGKILL, and the kernel then ends every process of the namespace.

use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

fn main() -> ExitCode {
    // Executed from a memory file, it would be listed as `memfd:husk-paus`. Of no consequence when it fails.
    let _ = prctl::set_name(c"husk-pause");
    let mut child_ended = SigSet::empty();
    child_ended.add(Signal::SIGCHLD);
    // Blocked, the signal stays pending while nobody waits for it: a child that ends between the last waitpid and the
    // next wait is not forgotten.
    if child_ended.thread_block().is_err() {
        return ExitCode::FAILURE;
    }
    loop {
        reap();
        if child_ended.wait().is_err_and(|errno| errno != Errno::EINTR) {
            return ExitCode::FAILURE;
        }
    }
}

/// Collects every child that has ended; one signal may stand for many.
fn reap() {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return,
            Ok(_) | Err(Errno::EINTR) => {}
            // ECHILD: nothing to wait for.
            Err(_) => return,
        }
    }
}
