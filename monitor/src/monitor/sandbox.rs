// SPDX-License-Identifier: Apache-2.0
//! Pause: its start, and its end when nobody asked for it.

use std::os::fd::{AsFd, OwnedFd};

use launch::PauseJob;
use wire::{Event as PodEvent, Exit, ExitStatus, Failure, FailureKind, OpenSandbox, Reply};

use crate::clock::{Moment, wall_ns};
use crate::container::{self, ReplyTo};
use crate::event::Event;
use crate::launching::{Launching, Progress};
use crate::limits::{CLOSE, PAUSE_LAUNCH, RECORD_RETRY};
use crate::monitor::Monitor;
use crate::monitor::request::Answer;
use crate::monitor::start::exhausted;
use crate::pause::Pause;

impl Monitor {
    pub(super) fn open_sandbox(&mut self, to: ReplyTo, spec: &OpenSandbox, fds: Vec<OwnedFd>) -> Answer {
        self.refuse_while_closing()?;
        if !matches!(self.pause, Pause::Absent) {
            return Err(Failure::new(FailureKind::WrongState, "the sandbox was opened already"));
        }
        let (program, netns) = match (spec.own_network, fds.as_slice()) {
            (true, [program, netns]) => (program, Some(netns)),
            (false, [program]) => (program, None),
            _ => {
                let text = "the program of pause and, with an own network, its namespace must be attached";
                return Err(Failure::new(FailureKind::Unsupported, text));
            }
        };
        let job = PauseJob { program: program.as_fd(), netns: netns.map(AsFd::as_fd), spec };
        let launched = launch::pause(&self.thread, job)?;
        let mut launching = Launching::new(launched, Vec::new(), Moment::now().after(PAUSE_LAUNCH));
        if let Err(errno) = launching.watch(&self.poll, Event::PauseLaunch) {
            launching.kill();
            return Err(exhausted(errno));
        }
        self.pause = Pause::Starting { launching: Box::new(launching), reply: to, cgroup: spec.cgroup.clone() };
        Ok(None)
    }

    /// The launch child of pause reported something.
    pub(super) fn pause_reports(&mut self) {
        if let Pause::Starting { launching, .. } = &mut self.pause
            && launching.read(&self.poll) == Progress::Executed
        {
            self.pause_executed();
        }
    }

    fn pause_executed(&mut self) {
        match std::mem::take(&mut self.pause) {
            Pause::Starting { launching, reply, cgroup } => {
                let pid = launching.pid;
                self.pause = Pause::Running { pid, pidfd: launching.pidfd, started_at_ns: wall_ns(), cgroup };
                self.reply(reply, Reply::SandboxOpened { pause_pid: pid });
            }
            other => self.pause = other,
        }
    }

    fn pause_failed(&mut self, failure: Failure) {
        match std::mem::take(&mut self.pause) {
            Pause::Starting { launching, reply, cgroup } => {
                if let Some(channel) = &launching.channel {
                    self.poll.remove(channel.fd());
                }
                // Nothing but the child was ever in there.
                drop(container::cgroup(&cgroup).kill());
                self.reply(reply, Reply::Failed(failure));
            }
            other => self.pause = other,
        }
    }

    /// Pause, or its launch child, was reaped.
    pub(super) fn pause_ended(&mut self, status: ExitStatus) {
        if let Pause::Starting { launching, .. } = &mut self.pause {
            match launching.read(&self.poll) {
                Progress::Executed => self.pause_executed(),
                Progress::Waiting | Progress::Ended => {
                    let failure = launching.failure(status);
                    return self.pause_failed(failure);
                }
            }
        }
        let Pause::Running { pid, started_at_ns, cgroup, .. } = &self.pause else {
            return;
        };
        let oom_kills = container::cgroup(cgroup).oom_kills().ok().flatten().unwrap_or(0);
        let exit = Exit {
            status,
            started_at_ns: *started_at_ns,
            finished_at_ns: wall_ns().max(*started_at_ns),
            oom_kills,
            oom_killed: oom_kills > 0 && status == ExitStatus::Signal(9),
        };
        let now = Moment::now();
        if self.closing.is_some() || self.farewell.is_some() {
            // It was asked to end, so this is no news.
            self.pause = Pause::Exited { exit, record: None };
            return;
        }
        self.pause = Pause::Ending { pid: *pid, exit, until: now.after(CLOSE) };
        for container in self.containers.iter_mut().filter(|container| !container.is_over()) {
            // Without its sandbox a container is nothing; one that cannot be killed is waited for, up to the deadline.
            drop(container.kill());
        }
        self.settle_pause(now);
    }

    /// Tells of the end of pause once its containers are over, or its time is up.
    pub(super) fn settle_pause(&mut self, now: Moment) {
        let Pause::Ending { exit, until, .. } = &self.pause else {
            return;
        };
        if self.living().next().is_some() && *until > now {
            return;
        }
        let exit = *exit;
        let record = self.records.write(self.pod, &exit).err().map(|_| now.after(RECORD_RETRY));
        self.pause = Pause::Exited { exit, record };
        self.broadcast(PodEvent::PauseExited { exit });
    }

    /// Does what the time has come for.
    pub(super) fn expire_pause(&mut self, now: Moment) {
        match &mut self.pause {
            Pause::Starting { launching, .. } => {
                launching.kill();
                let failure = launching.timed_out();
                self.pause_failed(failure);
            }
            Pause::Ending { .. } => self.settle_pause(now),
            Pause::Exited { exit, record } => {
                *record = self.records.write(self.pod, exit).err().map(|_| now.after(RECORD_RETRY));
            }
            Pause::Absent | Pause::Running { .. } => {}
        }
    }
}
