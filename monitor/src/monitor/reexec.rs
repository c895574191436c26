// SPDX-License-Identifier: Apache-2.0
//! The re-execution: the monitor becomes another program and stays the same process, so that children, pipes and
//! connections live on.
//!
//! ```text
//!  Reexec + program ─▶ state into a memory file ─▶ descriptors lose close-on-exec ─▶ execveat
//!        ▲                                                                               │ refused: undo, Refused
//!        └── Welcome on every connection ◀── reap what ended ◀── watch everything ◀── husk-monitor --resume <fd>
//! ```
//! Nothing is lost in between: what arrives stays in pipes and sockets, children that end stay zombies, and a SIGCHLD
//! stays pending.

mod hand;
mod take;

pub(crate) use take::TakeError;

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{FdFlags, fcntl_setfd};
use sys::{MemfdUse, execveat, memfd_sealed};
use wire::Frame;

use crate::event::Key;
use crate::limits::HANDOVER_BYTES;
use crate::monitor::Monitor;
use crate::process::{NAME, RESUME};

impl Monitor {
    /// Becomes the attached program. Returns only when that is refused; then the connection is told why, and nothing
    /// has changed.
    pub(super) fn re_execute(&mut self, key: Key, fds: Vec<OwnedFd>) {
        let refusal = match fds.as_slice() {
            _ if self.closing.is_some() || self.farewell.is_some() => "the sandbox is being closed".to_owned(),
            [program] => self.become_program(program.as_fd()),
            _ => "exactly one descriptor must be attached: the program".to_owned(),
        };
        self.send(key, &Frame::Refused(refusal), Vec::new());
    }

    /// Executes the program; says why that failed.
    fn become_program(&self, program: BorrowedFd<'_>) -> String {
        let (handover, mut handed) = self.hand_over();
        let bytes = handover.to_bytes();
        if bytes.len() > HANDOVER_BYTES {
            return format!("the state has {} bytes, and {HANDOVER_BYTES} may be handed over", bytes.len());
        }
        let state = match memfd_sealed(c"husk-monitor-state", &bytes, MemfdUse::Data) {
            Ok(state) => state,
            Err(error) => return error.to_string(),
        };
        handed.push(state.as_fd());
        let refusal = match keep_through_exec(&handed, FdFlags::empty()) {
            Ok(()) => {
                let number = std::os::fd::AsRawFd::as_raw_fd(&state);
                let args = [NAME.to_owned(), RESUME.to_owned(), digits(number)];
                let environment: [CString; 0] = [];
                execveat(program, &args, &environment).to_string()
            }
            Err(errno) => format!("fcntl(F_SETFD): {errno}"),
        };
        // A launch child must not inherit what is not its own. F_SETFD of an open descriptor cannot fail.
        keep_through_exec(&handed, FdFlags::CLOEXEC).ok();
        refusal
    }
}

fn keep_through_exec(fds: &[BorrowedFd<'_>], flags: FdFlags) -> Result<(), rustix::io::Errno> {
    fds.iter().try_for_each(|fd| fcntl_setfd(fd, flags))
}

fn digits(number: i32) -> CString {
    CString::new(number.to_string()).expect("digits have no NUL")
}
