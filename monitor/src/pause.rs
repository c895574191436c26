// SPDX-License-Identifier: Apache-2.0
//! Pause as the monitor knows it.
//!
//! ```text
//!  Absent ──OpenSandbox──▶ Starting ──Executed──▶ Running ──ended unasked──▶ Ending ──containers over──▶ Exited
//!    ▲                        │ LaunchEnded
//!    └────────────────────────┘
//! ```

use std::os::fd::OwnedFd;

use rustix::process::{Signal, pidfd_send_signal};
use wire::{CgroupJoin, Exit, PausePhase};

use crate::clock::Moment;
use crate::container::ReplyTo;
use crate::launching::Launching;

/// Pause.
#[derive(Debug, Default)]
pub(crate) enum Pause {
    /// It was not asked for, or its launch failed.
    #[default]
    Absent,
    /// The launch is under way.
    Starting {
        /// The launch.
        launching: Box<Launching>,
        /// Who waits for it.
        reply: ReplyTo,
        /// Its cgroup.
        cgroup: CgroupJoin,
    },
    /// It runs.
    Running {
        /// The process.
        pid: u32,
        /// The process, whose namespaces the containers join.
        pidfd: OwnedFd,
        /// Wall time.
        started_at_ns: u64,
        /// Its cgroup.
        cgroup: CgroupJoin,
    },
    /// It ended without being asked to, and the containers are being killed.
    Ending {
        /// The daemon knew it as this process.
        pid: u32,
        /// How it ended.
        exit: Exit,
        /// When that is told in any case.
        until: Moment,
    },
    /// It ended.
    Exited {
        /// How.
        exit: Exit,
        /// When to try again to write the record; `None` when it is written.
        record: Option<Moment>,
    },
}

impl Pause {
    /// The process that the reaping knows it by.
    pub(crate) fn living_pid(&self) -> Option<u32> {
        match self {
            Self::Starting { launching, .. } => Some(launching.pid),
            Self::Running { pid, .. } => Some(*pid),
            _ => None,
        }
    }

    /// Ends it.
    pub(crate) fn kill(&mut self) {
        match self {
            Self::Starting { launching, .. } => launching.kill(),
            // ESRCH: it has ended, and its reaping is under way.
            Self::Running { pidfd, .. } => drop(pidfd_send_signal(pidfd, Signal::KILL)),
            _ => {}
        }
    }

    /// When something has to be done about it, if nothing else happens before.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        match self {
            Self::Starting { launching, .. } => Some(launching.deadline),
            Self::Ending { until, .. } => Some(*until),
            Self::Exited { record, .. } => *record,
            Self::Absent | Self::Running { .. } => None,
        }
    }

    /// What the daemon is told.
    pub(crate) fn phase(&self) -> PausePhase {
        match self {
            Self::Absent | Self::Starting { .. } => PausePhase::Absent,
            Self::Running { pid, .. } | Self::Ending { pid, .. } => PausePhase::Running { pid: *pid },
            Self::Exited { exit, .. } => PausePhase::Exited(*exit),
        }
    }
}
