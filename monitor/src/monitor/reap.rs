// SPDX-License-Identifier: Apache-2.0
//! Reaping: which child ended, and whose it was. Orphans of the pod come to the monitor too, and are nobody's.

use rustix::io::Errno;
use rustix::process::{WaitOptions, WaitStatus, wait};
use wire::ExitStatus;

use crate::container::State;
use crate::event::Key;
use crate::launching::Progress;
use crate::limits::REAPS_PER_WAKE;
use crate::monitor::{Children, Monitor};

impl Monitor {
    /// Reaps what has ended, at most so many that the others get their turn.
    pub(super) fn reap(&mut self) {
        for _ in 0..REAPS_PER_WAKE {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if let Some(status) = exit_status(status) {
                        self.reaped(pid.as_raw_nonzero().get().unsigned_abs(), status);
                    }
                }
                Err(Errno::INTR) => {}
                Ok(None) => {
                    self.children = Children::Some;
                    return;
                }
                // ECHILD.
                Err(_) => {
                    self.children = Children::None;
                    return;
                }
            }
        }
        self.children = Children::Waiting;
    }

    fn reaped(&mut self, pid: u32, status: ExitStatus) {
        if self.pause.living_pid() == Some(pid) {
            self.pause_ended(status);
        } else if let Some((key, _)) = self.owner(pid) {
            self.container_reaped(key, status);
        } else if let Some(key) = self.reopening_of(pid) {
            self.reopen_ended(key, status);
        } else if let Some(key) = self.exec_of(pid) {
            self.exec_reaped(key, status);
        }
    }

    fn container_reaped(&mut self, key: Key, status: ExitStatus) {
        let Some(container) = self.containers.iter_mut().find(|container| container.key == key) else {
            return;
        };
        if let State::Starting { launching, .. } = &mut container.state {
            // The child is gone, so its channel holds all that it will ever hold: a program that ran for a
            // millisecond is started first, and ends then.
            match launching.read(&self.poll) {
                Progress::Executed => self.executed(key),
                Progress::Waiting | Progress::Ended => {
                    let failure = launching.failure(status);
                    return self.launch_failed(key, failure);
                }
            }
        }
        self.main_ended(key, status);
    }
}

fn exit_status(status: WaitStatus) -> Option<ExitStatus> {
    let code = status.exit_status().map(|code| ExitStatus::Code((code & 0xff) as u8));
    code.or_else(|| status.terminating_signal().map(|signal| ExitStatus::Signal((signal & 0x7f) as u8)))
}
