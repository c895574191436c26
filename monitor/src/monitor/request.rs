// SPDX-License-Identifier: Apache-2.0
//! Requests: what is answered at once is answered here.

use std::os::fd::{AsFd, OwnedFd};

use wire::{Failure, FailureKind, Id, Reply, Request};

use crate::container::{Container, ReplyTo, State};
use crate::monitor::Monitor;
use crate::phase::{self, Input, Move, Phase};

/// The kernel's signals, the real-time ones too (signal(7)).
const SIGNALS: std::ops::RangeInclusive<u8> = 1..=64;

/// A reply, or none yet.
pub(super) type Answer = Result<Option<Reply>, Failure>;

impl Monitor {
    /// Does what is asked, and answers when that is done already.
    pub(super) fn request(&mut self, to: ReplyTo, request: Request, fds: Vec<OwnedFd>) {
        let answer = match request {
            Request::OpenSandbox(open) => self.open_sandbox(to, &open, fds),
            Request::Start(start) => self.start(to, &start),
            Request::Signal { container, signal } => self.signal(container, signal),
            Request::Kill { container } => self.kill(container),
            Request::Exec(exec) => self.start_exec(to, &exec),
            Request::ReopenLog { container } => self.reopen_log(to, container),
            Request::Inspect => Ok(Some(Reply::Inspected(self.inventory()))),
            Request::Forget { container } => self.forget(container),
            Request::CloseSandbox => {
                self.begin_close(Some(to));
                Ok(None)
            }
        };
        match answer {
            Ok(Some(reply)) => self.reply(to, reply),
            Ok(None) => {}
            Err(failure) => self.reply(to, Reply::Failed(failure)),
        }
    }

    /// Refuses what would start something while the sandbox is being closed.
    pub(super) fn refuse_while_closing(&self) -> Result<(), Failure> {
        if self.closing.is_some() || self.farewell.is_some() {
            return Err(Failure::new(FailureKind::WrongState, "the sandbox is being closed"));
        }
        Ok(())
    }

    fn admit_request(&mut self, id: Id, input: Input) -> Result<(&mut Container, Move), Failure> {
        let Some(container) = self.container_by_id(id) else {
            return Err(phase::refusal(None));
        };
        let allowed = phase::admit(Some(container.phase()), input)?;
        Ok((container, allowed))
    }

    fn signal(&mut self, id: Id, signal: u8) -> Answer {
        let (container, _) = self.admit_request(id, Input::Signal)?;
        let State::Running { pidfd, .. } = &container.state else {
            return Err(phase::refusal(Some(container.phase())));
        };
        if !SIGNALS.contains(&signal) {
            let text = format!("signal {signal} is none; Linux has 1 to 64");
            return Err(Failure::new(FailureKind::Unsupported, text));
        }
        match sys::pidfd_send_signal(pidfd.as_fd(), signal) {
            Ok(()) => Ok(Some(Reply::Done)),
            // It has ended, and its reaping is under way.
            Err(error) if error.errno() == rustix::io::Errno::SRCH => Err(phase::refusal(Some(Phase::Ending))),
            Err(error) => Err(Failure {
                kind: FailureKind::Internal,
                step: None,
                errno: Some(error.errno().raw_os_error()),
                detail: Some(format!("signal {signal} cannot be sent")),
            }),
        }
    }

    fn kill(&mut self, id: Id) -> Answer {
        let (container, allowed) = self.admit_request(id, Input::Kill)?;
        if allowed == Move::Stay {
            container.kill()?;
        }
        Ok(Some(Reply::Done))
    }

    fn forget(&mut self, id: Id) -> Answer {
        let (container, _) = self.admit_request(id, Input::Forget)?;
        let key = container.key;
        self.records.remove(id).map_err(|errno| Failure {
            kind: FailureKind::Internal,
            step: None,
            errno: Some(errno.raw_os_error()),
            detail: Some("the exit record cannot be removed".into()),
        })?;
        self.containers.retain(|container| container.key != key);
        Ok(Some(Reply::Done))
    }
}
