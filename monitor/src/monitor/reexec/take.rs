// SPDX-License-Identifier: Apache-2.0
//! The monitor's state from what was handed over.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use cgroups::{Cgroup, JoinPaths};
use launch::StartChannel;
use nix::sys::signal::SigSet;
use rustix::io::Errno;
use sys::{SingleThreaded, inherited_fd};
use wire::limits::EXEC_OUTPUT_BYTES;
use wire::{Failure, FailureKind, Log, PidNamespace};

use crate::capture::Capture;
use crate::clock::Moment;
use crate::connection::{Connection, Outgoing};
use crate::container::{Container, Reopening, ReplyTo, State, StreamKind, Streams};
use crate::event::{Event, Interest, Key};
use crate::exec::{Captured, Exec, ExecState, Leftover};
use crate::exit_records::ExitRecords;
use crate::handover::{
    FdNumber, HandedCapture, HandedConnection, HandedContainer, HandedExec, HandedLaunch, HandedLeftover,
    HandedLogStream, HandedPause, HandedReply, Handover,
};
use crate::launching::Launching;
use crate::log::{ContainerLog, LogState};
use crate::monitor::{Given, Monitor};
use crate::pause::Pause;

/// Why a state cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    /// A descriptor did not come through.
    #[error("a descriptor of the state did not come through the execution: {0}")]
    Descriptor(#[from] sys::Error),
    /// Watching what was handed over failed.
    #[error("what was handed over cannot be watched: {0}")]
    Watch(#[from] Errno),
}

impl Monitor {
    /// Goes on where the program before stopped.
    pub(crate) fn resume(state: Handover, thread: SingleThreaded, signals: SigSet) -> Result<Self, TakeError> {
        let given = Given {
            pod: state.pod,
            thread,
            listener: fd(state.listener)?,
            records: ExitRecords::from_directory(fd(state.records)?),
            signals,
        };
        let mut monitor = Self::new(given)?;
        monitor.next_key = state.next_key;
        for handed in state.connections {
            monitor.connections.push(connection(handed)?);
        }
        monitor.pause = pause(state.pause)?;
        for handed in state.containers {
            monitor.containers.extend(container(handed)?);
        }
        for handed in state.execs {
            monitor.execs.extend(exec(handed)?);
        }
        for handed in state.leftovers {
            monitor.leftovers.extend(leftover(handed));
        }
        monitor.watch_all()?;
        monitor.reap();
        let greeted: Vec<Key> =
            monitor.connections.iter().filter(|one| one.protocol.is_some()).map(|one| one.key).collect();
        for key in greeted {
            monitor.welcome(key);
        }
        Ok(monitor)
    }

    fn watch_all(&mut self) -> Result<(), Errno> {
        for connection in &mut self.connections {
            // Frames may wait; the first event finds out.
            connection.interest = Interest::ReadWrite;
            self.poll.add(&connection.socket, Event::Connection(connection.key), connection.interest)?;
        }
        if let Pause::Starting { launching, .. } = &self.pause {
            launching.watch(&self.poll, Event::PauseLaunch)?;
        }
        let containers: Vec<Key> = self.containers.iter().map(|container| container.key).collect();
        for key in containers {
            self.watch_container(key)?;
        }
        let execs: Vec<Key> = self.execs.iter().map(|exec| exec.key).collect();
        for key in execs {
            self.watch_exec(key)?;
        }
        let leftovers: Vec<Key> = self.leftovers.iter().map(|leftover| leftover.key).collect();
        for key in leftovers {
            self.watch_leftover(key);
        }
        Ok(())
    }

    fn watch_container(&mut self, key: Key) -> Result<(), Errno> {
        let Some(container) = self.containers.iter().find(|container| container.key == key) else {
            return Ok(());
        };
        if let Some(reopening) = &container.reopening {
            reopening.launching.watch(&self.poll, Event::Reopen(key))?;
        }
        match &container.state {
            State::Starting { launching, .. } => launching.watch(&self.poll, Event::Launch(key))?,
            State::Running { .. } => self.watch_streams(key)?,
            State::Ending { .. } => {
                self.watch_streams(key)?;
                self.watch_ending(key);
            }
            State::Exited { .. } | State::Failed(_) => {}
        }
        Ok(())
    }
}

fn fd(number: FdNumber) -> Result<OwnedFd, sys::Error> {
    inherited_fd(i32::try_from(number).unwrap_or(-1))
}

fn some_fd(number: Option<FdNumber>) -> Result<Option<OwnedFd>, sys::Error> {
    number.map(fd).transpose()
}

fn reply_to(handed: HandedReply) -> ReplyTo {
    ReplyTo { connection: Key(handed.connection), sequence: handed.sequence }
}

fn connection(handed: HandedConnection) -> Result<Connection, sys::Error> {
    let mut connection = Connection::new(Key(handed.key), fd(handed.socket)?);
    connection.protocol = handed.protocol;
    for frame in handed.queue {
        let fds = frame.fds.into_iter().map(fd).collect::<Result<_, _>>()?;
        connection.queue.push_back(Outgoing { bytes: frame.bytes.into(), fds });
    }
    Ok(connection)
}

fn pause(handed: HandedPause) -> Result<Pause, sys::Error> {
    let cgroup = handed.cgroup.into();
    if let Some(started) = handed.starting {
        let reply = reply_to(started.reply);
        return Ok(Pause::Starting { launching: Box::new(launch(started)?), reply, cgroup });
    }
    if let Some(process) = handed.running {
        let pidfd = fd(process.pidfd)?;
        return Ok(Pause::Running { pid: process.pid, pidfd, started_at_ns: process.started_at_ns, cgroup });
    }
    if let Some(ending) = handed.ending {
        let until = Moment::from_nanoseconds(ending.until_ns);
        return Ok(Pause::Ending { pid: ending.pid, exit: ending.exit, until });
    }
    Ok(match handed.exited {
        Some(exited) => Pause::Exited { exit: exited.exit, record: exited.record_ns.map(Moment::from_nanoseconds) },
        None => Pause::Absent,
    })
}

/// `None` for a container in a phase that only another version knows: there is nothing that could be done with it.
fn container(handed: HandedContainer) -> Result<Option<Container>, sys::Error> {
    let log = ContainerLog::resume(
        some_fd(handed.log)?,
        log_stream(handed.stdout_log),
        log_stream(handed.stderr_log),
        handed.dropped_bytes,
    );
    let streams = Streams {
        stdin: some_fd(handed.stdin)?,
        stdout: some_fd(handed.stdout)?,
        stderr: some_fd(handed.stderr)?,
        kind: if handed.terminal { StreamKind::Terminal } else { StreamKind::Pipes },
    };
    let reopening = match handed.reopening {
        Some(reopening) => {
            let reply = reply_to(reopening.reply);
            Some(Reopening { launching: launch(reopening)?, reply })
        }
        None => None,
    };
    let state = if let Some(started) = handed.starting {
        let reply = reply_to(started.reply);
        State::Starting { launching: launch(started)?, reply }
    } else if let Some(process) = handed.running {
        State::Running { pid: process.pid, pidfd: fd(process.pidfd)?, started_at_ns: process.started_at_ns }
    } else if let Some(ending) = handed.ending {
        let until = Moment::from_nanoseconds(ending.until_ns);
        State::Ending { exit: ending.exit, pid: ending.pid, until, events: None, look: Moment::now() }
    } else if let Some(exited) = handed.exited {
        State::Exited { exit: exited.exit, record: exited.record_ns.map(Moment::from_nanoseconds) }
    } else if let Some(failure) = handed.failed {
        State::Failed(failure_of(&failure))
    } else {
        return Ok(None);
    };
    Ok(Some(Container {
        key: Key(handed.key),
        id: handed.id,
        cgroup: handed.cgroup.into(),
        pid_namespace: handed.pid_namespace.unwrap_or(PidNamespace::Own),
        request: handed.request,
        oom_kills_before: handed.oom_kills_before,
        log_file: handed.log_directory.zip(handed.log_file).map(|(directory, file)| Log { directory, file }),
        log,
        streams,
        state,
        reopening,
    }))
}

fn log_stream(handed: Option<HandedLogStream>) -> LogState {
    handed.map_or_else(LogState::default, |handed| LogState {
        carry: handed.carry.into(),
        inside_line: handed.inside_line,
        open: handed.open,
    })
}

fn launch(handed: HandedLaunch) -> Result<Launching, sys::Error> {
    Ok(Launching {
        pid: handed.pid,
        pidfd: fd(handed.pidfd)?,
        channel: some_fd(handed.channel)?.map(StartChannel::from),
        steps: handed.steps,
        step: handed.step,
        ready: handed.ready,
        killed: handed.killed,
        failure: handed.failure.map(|bytes| failure_of(&bytes)),
        log: some_fd(handed.log)?,
        console: some_fd(handed.console)?,
        deadline: Moment::from_nanoseconds(handed.deadline_ns),
    })
}

fn failure_of(bytes: &[u8]) -> Failure {
    minicbor::decode(bytes)
        .unwrap_or_else(|_| Failure::new(FailureKind::Internal, "another version of the monitor wrote down why"))
}

/// `None` for an exec in a state that only another version knows.
fn exec(handed: HandedExec) -> Result<Option<Exec>, sys::Error> {
    let launching = handed.launching.map(launch).transpose()?.map(Box::new);
    let pidfd = some_fd(handed.pidfd)?;
    let state = match (handed.killed_until_ns, launching, pidfd) {
        (Some(until), launching, _) => {
            let until = Moment::from_nanoseconds(until);
            ExecState::Killed { launching, reaped: handed.reaped, until, events: None }
        }
        (None, Some(launching), _) => ExecState::Launching(launching),
        (None, None, Some(pidfd)) => ExecState::Running { pidfd },
        (None, None, None) => return Ok(None),
    };
    Ok(Some(Exec {
        key: Key(handed.key),
        container: Key(handed.container),
        reply: reply_to(handed.reply),
        pid: handed.pid,
        stdout: capture(handed.stdout)?,
        stderr: capture(handed.stderr)?,
        cgroup: handed.cgroup.map(|path| sub_cgroup(&path)),
        deadline: handed.deadline_ns.map(Moment::from_nanoseconds),
        state,
    }))
}

fn capture(handed: HandedCapture) -> Result<Captured, sys::Error> {
    let memory: Vec<u8> = handed.memory.map(Into::into).unwrap_or_default();
    Ok(Captured {
        pipe: some_fd(handed.pipe)?,
        capture: Capture {
            memory,
            file: some_fd(handed.file)?,
            kept: usize::try_from(handed.kept).unwrap_or(EXEC_OUTPUT_BYTES).min(EXEC_OUTPUT_BYTES),
            lost: handed.lost.map(Errno::from_raw_os_error),
        },
    })
}

/// `None` for a sub-cgroup that is gone.
fn leftover(handed: HandedLeftover) -> Option<Leftover> {
    let cgroup = sub_cgroup(&handed.cgroup);
    let events = cgroup.events_fd().ok().flatten()?;
    Some(Leftover { key: Key(handed.key), container: Key(handed.container), cgroup, events })
}

fn sub_cgroup(path: &str) -> Cgroup {
    Cgroup::from_join_paths(&JoinPaths { unified: Some(PathBuf::from(path)), v1: Vec::new() })
}
