// SPDX-License-Identifier: Apache-2.0
//! An exec as the monitor knows it, and what an ended one may leave behind.
//!
//! ```text
//!  Launching ──Executed──▶ Running ──main process reaped──▶ answered; its sub-cgroup is removed, or is a Leftover
//!      │                      │                             until what it left running ends
//!      └───────time is up─────┴──▶ Killed ──all gone, or EXEC_KILL later──▶ answered TimedOut
//! ```

use std::os::fd::OwnedFd;
use std::time::Duration;

use cgroups::{Cgroup, EventsFile};
use rustix::process::{Signal, pidfd_send_signal};

use crate::capture::Capture;
use crate::clock::Moment;
use crate::container::ReplyTo;
use crate::event::Key;
use crate::launching::Launching;
use crate::log::Stream;
use crate::session;

/// One exec.
#[derive(Debug)]
pub(crate) struct Exec {
    /// Its name in events.
    pub(crate) key: Key,
    /// The container that it runs in.
    pub(crate) container: Key,
    /// Who waits for it.
    pub(crate) reply: ReplyTo,
    /// Its main process, also the launch child before.
    pub(crate) pid: u32,
    /// Standard output.
    pub(crate) stdout: Captured,
    /// Standard error.
    pub(crate) stderr: Captured,
    /// Its sub-cgroup; `None` without a unified hierarchy.
    pub(crate) cgroup: Option<Cgroup>,
    /// When its time is up; `None` for no limit.
    pub(crate) deadline: Option<Moment>,
    /// Where it is in its life.
    pub(crate) state: ExecState,
}

/// One captured stream.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    /// The reading end of its pipe, as long as it is open.
    pub(crate) pipe: Option<OwnedFd>,
    /// What came out of it.
    pub(crate) capture: Capture,
}

/// Where an exec is in its life.
#[derive(Debug)]
pub(crate) enum ExecState {
    /// The launch is under way.
    Launching(Box<Launching>),
    /// Its program runs.
    Running {
        /// Its main process.
        pidfd: OwnedFd,
    },
    /// Its time was up and everything that it started was sent SIGKILL.
    Killed {
        /// The launch, when it never came to the program.
        launching: Option<Box<Launching>>,
        /// Its main process was reaped.
        reaped: bool,
        /// When it is answered in any case.
        until: Moment,
        /// Tells when its sub-cgroup is empty.
        events: Option<EventsFile>,
    },
}

/// The sub-cgroup of an ended exec in which something still runs.
#[derive(Debug)]
pub(crate) struct Leftover {
    /// Its name in events.
    pub(crate) key: Key,
    /// The container that it belongs to.
    pub(crate) container: Key,
    /// The sub-cgroup.
    pub(crate) cgroup: Cgroup,
    /// Tells when it is empty.
    pub(crate) events: EventsFile,
}

impl Exec {
    /// A captured stream.
    pub(crate) fn captured(&mut self, stream: Stream) -> &mut Captured {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// Its launch, as long as the program does not run.
    pub(crate) fn launching(&mut self) -> Option<&mut Launching> {
        match &mut self.state {
            ExecState::Launching(launching) => Some(launching),
            ExecState::Killed { launching, .. } => launching.as_deref_mut(),
            ExecState::Running { .. } => None,
        }
    }

    /// Sends SIGKILL to everything that it started.
    pub(crate) fn kill(&mut self) {
        match &mut self.state {
            ExecState::Launching(launching) => launching.kill(),
            // ESRCH: it has ended, and its reaping is under way.
            ExecState::Running { pidfd } => drop(pidfd_send_signal(pidfd, Signal::KILL)),
            ExecState::Killed { .. } => {}
        }
        match (&self.cgroup, &self.state) {
            // A sub-cgroup that cannot be killed is one that is gone; its main process was sent the signal above.
            (Some(cgroup), _) => drop(cgroup.kill()),
            // The process id may be somebody else's by now.
            (None, ExecState::Killed { reaped: true, .. }) => {}
            (None, _) => session::kill(self.pid),
        }
    }

    /// When something has to be done about it, if nothing else happens before.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        match &self.state {
            ExecState::Killed { until, .. } => Some(*until),
            ExecState::Launching(launching) => Some(self.deadline.unwrap_or(launching.deadline)),
            ExecState::Running { .. } => self.deadline,
        }
    }
}

impl Leftover {
    /// Removes the sub-cgroup if nothing runs in it. Returns whether it is gone.
    pub(crate) fn sweep(&self) -> bool {
        match self.events.read() {
            Ok(Some(events)) if events.populated => false,
            Ok(None) => true,
            // Empty, or not to be read: cgroups made below it go too.
            _ => self.cgroup.remove(Duration::ZERO).is_ok(),
        }
    }
}
