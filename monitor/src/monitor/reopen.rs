// SPDX-License-Identifier: Apache-2.0
//! Opening a log file anew (CRI `ReopenContainerLog`): a child opens it, because its directory may be a dead volume,
//! and the container goes on writing to the old one until the new one is there.

use wire::{ExitStatus, Failure, FailureKind, Id, Reply};

use crate::clock::Moment;
use crate::container::{Container, Reopening, ReplyTo, State};
use crate::event::{Event, Key};
use crate::launching::{Launching, Progress};
use crate::limits::REOPEN;
use crate::monitor::Monitor;
use crate::monitor::request::Answer;
use crate::monitor::start::{exhausted, open_log_step};
use crate::phase::{self, Input};

impl Monitor {
    pub(super) fn reopen_log(&mut self, to: ReplyTo, id: Id) -> Answer {
        self.refuse_while_closing()?;
        let Some(container) = self.containers.iter_mut().find(|container| container.id == id) else {
            return Err(phase::refusal(None));
        };
        phase::admit(Some(container.phase()), Input::ReopenLog)?;
        let wrong_state = |text: &str| Failure::new(FailureKind::WrongState, text);
        let Some(log) = &container.log_file else {
            return Err(wrong_state("the container has no log file"));
        };
        if container.reopening.is_some() {
            return Err(wrong_state("the log of the container is being opened anew already"));
        }
        let launched = launch::open_log(&self.thread, log)?;
        let mut launching = Launching::new(launched, vec![open_log_step(log)], Moment::now().after(REOPEN));
        launching.step = Some(0);
        if let Err(errno) = launching.watch(&self.poll, Event::Reopen(container.key)) {
            launching.kill();
            return Err(exhausted(errno));
        }
        container.reopening = Some(Reopening { launching, reply: to });
        Ok(None)
    }

    /// The child that opens a log reported something.
    pub(super) fn reopen_reports(&mut self, key: Key) {
        let Some(container) = self.containers.iter_mut().find(|container| container.key == key) else {
            return;
        };
        let Some(reopening) = &mut container.reopening else {
            return;
        };
        // Without a file and without a failure, its end tells what happened.
        if reopening.launching.read(&self.poll) != Progress::Waiting
            && (reopening.launching.log.is_some() || reopening.launching.failure.is_some())
        {
            self.conclude_reopening(key, ExitStatus::Code(0));
        }
    }

    /// The child that opens a log was reaped.
    pub(super) fn reopen_ended(&mut self, key: Key, status: ExitStatus) {
        let Some(container) = self.containers.iter_mut().find(|container| container.key == key) else {
            return;
        };
        if let Some(reopening) = &mut container.reopening {
            reopening.launching.read(&self.poll);
            self.conclude_reopening(key, status);
        }
    }

    fn conclude_reopening(&mut self, key: Key, status: ExitStatus) {
        let Some(container) = self.container(key) else {
            return;
        };
        let Some(mut reopening) = container.reopening.take() else {
            return;
        };
        let reply = match reopening.launching.log.take() {
            Some(file) => {
                // The log of an exited container is complete; its new file stays empty.
                if !matches!(container.state, State::Exited { .. }) {
                    container.log.swap(file);
                }
                Reply::Done
            }
            None => Reply::Failed(reopening.launching.failure(status)),
        };
        self.reply(reopening.reply, reply);
    }

    /// An opening whose time is up is ended; the old file stays.
    pub(super) fn expire_reopening(&mut self, key: Key, now: Moment) {
        let Some(container) = self.containers.iter_mut().find(|container| container.key == key) else {
            return;
        };
        let due = |reopening: &mut Reopening| reopening.launching.deadline <= now;
        let Some(mut reopening) = container.reopening.take_if(due) else {
            return;
        };
        reopening.launching.kill();
        if let Some(channel) = &reopening.launching.channel {
            self.poll.remove(channel.fd());
        }
        self.reply(reopening.reply, Reply::Failed(reopening.launching.timed_out()));
    }

    pub(super) fn reopening_of(&self, pid: u32) -> Option<Key> {
        let is_it = |container: &&Container| {
            container.reopening.as_ref().is_some_and(|reopening| reopening.launching.pid == pid)
        };
        Some(self.containers.iter().find(is_it)?.key)
    }
}
