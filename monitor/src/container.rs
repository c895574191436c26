// SPDX-License-Identifier: Apache-2.0
//! A container as the monitor knows it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use cgroups::{Cgroup, EventsFile, JoinPaths};
use rustix::process::{Signal, pidfd_send_signal};
use wire::{CgroupJoin, ContainerInventory, ContainerPhase, Exit, Failure, FailureKind, Id, Log, PidNamespace};

use crate::clock::Moment;
use crate::event::Key;
use crate::launching::Launching;
use crate::log::{ContainerLog, Stream};
use crate::phase::{self, Input, Move, Phase};

/// Who gets the reply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplyTo {
    /// The connection; it may be gone by then.
    pub(crate) connection: Key,
    /// The request.
    pub(crate) sequence: u32,
}

/// One container.
#[derive(Debug)]
pub(crate) struct Container {
    /// Its name in events.
    pub(crate) key: Key,
    /// Its id.
    pub(crate) id: Id,
    /// Its cgroup.
    pub(crate) cgroup: CgroupJoin,
    /// Its pid namespace, for its execs.
    pub(crate) pid_namespace: PidNamespace,
    /// A digest of the request that started it, to know a repetition by.
    pub(crate) request: u64,
    /// OOM kills that its cgroup had seen before it started.
    pub(crate) oom_kills_before: u64,
    /// Where its log is; `None` discards output.
    pub(crate) log_file: Option<Log>,
    /// Its log.
    pub(crate) log: ContainerLog,
    /// The monitor's ends of its streams.
    pub(crate) streams: Streams,
    /// Where it is in its life.
    pub(crate) state: State,
    /// The opening of a new log file that is under way.
    pub(crate) reopening: Option<Reopening>,
}

/// The monitor's ends of a container's streams, as long as they are open.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// The writing end of standard input, held so that reads block until somebody attaches. A terminal's is `stdout`.
    pub(crate) stdin: Option<OwnedFd>,
    /// The reading end of standard output, or the terminal.
    pub(crate) stdout: Option<OwnedFd>,
    /// The reading end of standard error.
    pub(crate) stderr: Option<OwnedFd>,
    /// What `stdout` is.
    pub(crate) kind: StreamKind,
}

/// What carries a container's streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum StreamKind {
    /// A pipe for each.
    #[default]
    Pipes,
    /// One terminal.
    Terminal,
}

impl Streams {
    /// The monitor's end of an output stream.
    pub(crate) fn output(&self, stream: Stream) -> Option<&OwnedFd> {
        match stream {
            Stream::Stdout => self.stdout.as_ref(),
            Stream::Stderr => self.stderr.as_ref(),
        }
    }

    /// Closes an output stream and gives back its descriptor.
    pub(crate) fn close(&mut self, stream: Stream) -> Option<OwnedFd> {
        match stream {
            Stream::Stdout => self.stdout.take(),
            Stream::Stderr => self.stderr.take(),
        }
    }

    /// Both output streams are closed.
    pub(crate) fn are_closed(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none()
    }
}

/// Where a container is in its life, with what belongs to it there.
#[derive(Debug)]
pub(crate) enum State {
    /// The launch is under way.
    Starting {
        /// The launch.
        launching: Launching,
        /// Who waits for it.
        reply: ReplyTo,
    },
    /// Its program runs.
    Running {
        /// Its main process.
        pid: u32,
        /// Its main process.
        pidfd: OwnedFd,
        /// Wall time.
        started_at_ns: u64,
    },
    /// Its main process ended; its output is not complete yet.
    Ending {
        /// How it ended.
        exit: Exit,
        /// The daemon knew it as this process.
        pid: u32,
        /// When its log is closed in any case.
        until: Moment,
        /// Tells when its cgroup is empty; `None` without a unified hierarchy.
        events: Option<EventsFile>,
        /// When to look at the cgroup again, where nothing tells.
        look: Moment,
    },
    /// It ended.
    Exited {
        /// How.
        exit: Exit,
        /// When to try again to write the record; `None` when it is written.
        record: Option<Moment>,
    },
    /// The launch failed.
    Failed(Failure),
}

/// The opening of a new log file.
#[derive(Debug)]
pub(crate) struct Reopening {
    /// The child that does it.
    pub(crate) launching: Launching,
    /// Who waits for it.
    pub(crate) reply: ReplyTo,
}

impl Container {
    /// Where it is in its life.
    pub(crate) fn phase(&self) -> Phase {
        match self.state {
            State::Starting { .. } => Phase::Starting,
            State::Running { .. } => Phase::Running,
            State::Ending { .. } => Phase::Ending,
            State::Exited { .. } => Phase::Exited,
            State::Failed(_) => Phase::Failed,
        }
    }

    /// Whether the table of its life has a place for this now.
    pub(crate) fn accepts(&self, input: Input) -> bool {
        phase::step(Some(self.phase()), input) != Move::Refuse
    }

    /// Whether nothing of it can run any more.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Exited { .. } | State::Failed(_))
    }

    /// The process that the reaping knows it by: its launch child or its main process.
    pub(crate) fn living_pid(&self) -> Option<u32> {
        match &self.state {
            State::Starting { launching, .. } => Some(launching.pid),
            State::Running { pid, .. } => Some(*pid),
            _ => None,
        }
    }

    /// Takes the launch out of a starting container, whose next state the caller then sets.
    pub(crate) fn take_launch(&mut self) -> Option<(Launching, ReplyTo)> {
        let taken = State::Failed(Failure::new(FailureKind::Internal, "the launch is being concluded"));
        match std::mem::replace(&mut self.state, taken) {
            State::Starting { launching, reply } => Some((launching, reply)),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Kills its main process or launch child and everything in its cgroup.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        match &mut self.state {
            State::Starting { launching, .. } => launching.kill(),
            // ESRCH: it has ended, and its reaping is under way.
            State::Running { pidfd, .. } => drop(pidfd_send_signal(pidfd, Signal::KILL)),
            _ => {}
        }
        cgroup(&self.cgroup).kill().map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))
    }

    /// When something has to be done about it, if nothing else happens before.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let own = match &self.state {
            State::Starting { launching, .. } => Some(launching.deadline),
            State::Ending { until, events: Some(_), .. } => Some(*until),
            State::Ending { until, look, .. } => Some(*until.min(look)),
            State::Exited { record, .. } => *record,
            State::Running { .. } | State::Failed(_) => None,
        };
        let reopening = self.reopening.as_ref().map(|reopening| reopening.launching.deadline);
        [own, reopening].into_iter().flatten().min()
    }

    /// What the daemon is told. An ending container still runs to it.
    pub(crate) fn inventory(&self) -> ContainerInventory {
        let phase = match &self.state {
            State::Starting { .. } => ContainerPhase::Starting,
            State::Running { pid, started_at_ns, .. } => {
                ContainerPhase::Running { pid: *pid, started_at_ns: *started_at_ns }
            }
            State::Ending { exit, pid, .. } => ContainerPhase::Running { pid: *pid, started_at_ns: exit.started_at_ns },
            State::Exited { exit, .. } => ContainerPhase::Exited(*exit),
            State::Failed(failure) => ContainerPhase::Failed(failure.clone()),
        };
        ContainerInventory { container: self.id, phase, dropped_log_bytes: self.log.dropped_bytes() }
    }
}

/// The cgroup of these directories.
pub(crate) fn cgroup(join: &CgroupJoin) -> Cgroup {
    Cgroup::from_join_paths(&JoinPaths {
        unified: join.unified.as_ref().map(PathBuf::from),
        v1: join.v1.iter().map(PathBuf::from).collect(),
    })
}

/// FNV-1a, 64 bits: the same in every build, because it is handed to the next program. It tells a repeated request
/// from another one by mistake, not by malice: both come from the same daemon.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(OFFSET, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn digest_is_fnv_1a() {
        // Test vectors of the FNV specification.
        assert_eq!(digest(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(digest(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(digest(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
