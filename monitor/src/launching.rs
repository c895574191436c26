// SPDX-License-Identifier: Apache-2.0
//! A launch under way: what its child reported so far.

use std::os::fd::OwnedFd;

use launch::{Launched, Report, StartChannel};
use rustix::process::{Signal, pidfd_send_signal};
use wire::{ExitStatus, Failure, FailureKind};

use crate::clock::Moment;
use crate::event::{Event, Interest, Poll};

/// A launch child and what it told.
#[derive(Debug)]
pub(crate) struct Launching {
    /// The child.
    pub(crate) pid: u32,
    /// The child.
    pub(crate) pidfd: OwnedFd,
    /// Where it reports; `None` after its end.
    pub(crate) channel: Option<StartChannel>,
    /// The steps that it takes, by the names that errors give them.
    pub(crate) steps: Vec<String>,
    /// The step that it takes now and that may block.
    pub(crate) step: Option<u16>,
    /// It was about to execute the program.
    pub(crate) ready: bool,
    /// It was told to end, so its end is no fault of the launch.
    pub(crate) killed: bool,
    /// What went wrong.
    pub(crate) failure: Option<Failure>,
    /// The log file that it opened.
    pub(crate) log: Option<OwnedFd>,
    /// The terminal that it made.
    pub(crate) console: Option<OwnedFd>,
    /// When its time is up.
    pub(crate) deadline: Moment,
}

/// What is known after its reports were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is under way.
    Waiting,
    /// The program was executed.
    Executed,
    /// The child is ending without a program; the reaping tells how.
    Ended,
}

impl Launching {
    /// Watches a child that was just made.
    pub(crate) fn new(launched: Launched, steps: Vec<String>, deadline: Moment) -> Self {
        Self {
            pid: launched.pid,
            pidfd: launched.pidfd,
            channel: Some(launched.channel),
            steps,
            step: None,
            ready: false,
            killed: false,
            failure: None,
            log: None,
            console: None,
            deadline,
        }
    }

    /// Lets the poll tell when the child reports.
    pub(crate) fn watch(&self, poll: &Poll, event: Event) -> Result<(), rustix::io::Errno> {
        match &self.channel {
            Some(channel) => poll.add(channel.fd(), event, Interest::Read),
            None => Ok(()),
        }
    }

    /// Reads what the child reported.
    pub(crate) fn read(&mut self, poll: &Poll) -> Progress {
        while let Some(channel) = &self.channel {
            match channel.read() {
                Ok(Report::Progress(step)) => self.step = Some(step),
                Ok(Report::Log(log)) => self.log = Some(log),
                Ok(Report::Console(console)) => self.console = Some(console),
                Ok(Report::Ready) => self.ready = true,
                Ok(Report::Failed(failure)) => self.failure = Some(failure),
                Ok(Report::Closed) => self.hang_up(poll),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Progress::Waiting,
                Err(error) => {
                    self.failure = Some(Failure {
                        kind: FailureKind::Internal,
                        step: self.step_name(),
                        errno: error.raw_os_error(),
                        detail: Some("the launch child's report cannot be read".into()),
                    });
                    self.kill();
                    self.hang_up(poll);
                }
            }
        }
        if self.ready && self.failure.is_none() { Progress::Executed } else { Progress::Ended }
    }

    fn hang_up(&mut self, poll: &Poll) {
        if let Some(channel) = self.channel.take() {
            poll.remove(channel.fd());
        }
    }

    /// Ends the child.
    pub(crate) fn kill(&mut self) {
        self.killed = true;
        // A child that is gone already needs no signal.
        pidfd_send_signal(&self.pidfd, Signal::KILL).ok();
    }

    /// The failure of a launch whose child ended this way.
    pub(crate) fn failure(&mut self, status: ExitStatus) -> Failure {
        if let Some(failure) = self.failure.take() {
            return failure;
        }
        let detail = match (self.killed, status) {
            (true, _) => "it was killed while it was starting".to_owned(),
            (false, ExitStatus::Code(code)) => format!("the launch child ended early with code {code}"),
            (false, ExitStatus::Signal(signal)) => {
                format!("the launch child was ended by signal {signal}; look for an OOM kill in the kernel's log")
            }
        };
        Failure { kind: FailureKind::Launch, step: self.step_name(), errno: None, detail: Some(detail) }
    }

    /// The failure of a launch that did not come to an end in time.
    pub(crate) fn timed_out(&self) -> Failure {
        Failure {
            kind: FailureKind::TimedOut,
            step: self.step_name(),
            errno: None,
            detail: Some("did not come back in time; is the volume or the log directory behind it dead?".into()),
        }
    }

    fn step_name(&self) -> Option<String> {
        self.steps.get(usize::from(self.step?)).cloned()
    }
}
