// SPDX-License-Identifier: Apache-2.0
//! The monitor's state as what is handed over.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use minicbor::bytes::ByteVec;
use wire::Failure;

use crate::connection::Connection;
use crate::container::{Container, ReplyTo, State, StreamKind};
use crate::exec::{Captured, Exec, ExecState, Leftover};
use crate::handover::{
    FdNumber, HandedCapture, HandedConnection, HandedContainer, HandedEnding, HandedExec, HandedExit, HandedFrame,
    HandedLaunch, HandedLeftover, HandedLogStream, HandedPause, HandedProcess, HandedReply, Handover,
};
use crate::launching::Launching;
use crate::log::LogState;
use crate::monitor::Monitor;
use crate::pause::Pause;

/// Collects the descriptors that go with the state.
#[derive(Default)]
struct Fds<'a>(Vec<BorrowedFd<'a>>);

impl<'a> Fds<'a> {
    fn add(&mut self, fd: &'a impl AsFd) -> FdNumber {
        let fd = fd.as_fd();
        self.0.push(fd);
        fd.as_raw_fd().unsigned_abs()
    }

    fn add_some(&mut self, fd: Option<&'a impl AsFd>) -> Option<FdNumber> {
        fd.map(|fd| self.add(fd))
    }
}

impl Monitor {
    /// The state, and the descriptors that it names.
    pub(super) fn hand_over(&self) -> (Handover, Vec<BorrowedFd<'_>>) {
        let mut fds = Fds::default();
        let handover = Handover {
            pod: self.pod,
            listener: fds.add(&self.listener),
            records: fds.add(self.records.directory()),
            next_key: self.next_key,
            connections: self.connections.iter().map(|one| connection(one, &mut fds)).collect(),
            pause: pause(&self.pause, &mut fds),
            containers: self.containers.iter().map(|one| container(one, &mut fds)).collect(),
            execs: self.execs.iter().map(|one| exec(one, &mut fds)).collect(),
            leftovers: self.leftovers.iter().filter_map(leftover).collect(),
        };
        (handover, fds.0)
    }
}

fn connection<'a>(connection: &'a Connection, fds: &mut Fds<'a>) -> HandedConnection {
    let socket = fds.add(&connection.socket);
    let mut queue = Vec::new();
    for frame in &connection.queue {
        let numbers = frame.fds.iter().map(|fd| fds.add(fd)).collect();
        queue.push(HandedFrame { bytes: ByteVec::from(frame.bytes.clone()), fds: numbers });
    }
    HandedConnection { key: connection.key.0, socket, protocol: connection.protocol, queue }
}

fn pause<'a>(pause: &'a Pause, fds: &mut Fds<'a>) -> HandedPause {
    let mut handed = HandedPause::default();
    match pause {
        Pause::Absent => {}
        Pause::Starting { launching, reply, cgroup } => {
            handed.starting = Some(launch(launching, Some(*reply), fds));
            handed.cgroup = cgroup.into();
        }
        Pause::Running { pid, pidfd, started_at_ns, cgroup } => {
            handed.running = Some(HandedProcess { pid: *pid, pidfd: fds.add(pidfd), started_at_ns: *started_at_ns });
            handed.cgroup = cgroup.into();
        }
        Pause::Ending { pid, exit, until } => {
            handed.ending = Some(HandedEnding { exit: *exit, pid: *pid, until_ns: until.as_nanoseconds() });
        }
        Pause::Exited { exit, record } => {
            handed.exited = Some(HandedExit { exit: *exit, record_ns: record.map(|moment| moment.as_nanoseconds()) });
        }
    }
    handed
}

fn container<'a>(container: &'a Container, fds: &mut Fds<'a>) -> HandedContainer {
    let (log, stdout_log, stderr_log) = container.log.state();
    let mut handed = HandedContainer {
        key: container.key.0,
        id: container.id,
        cgroup: (&container.cgroup).into(),
        pid_namespace: Some(container.pid_namespace),
        request: container.request,
        oom_kills_before: container.oom_kills_before,
        log_directory: container.log_file.as_ref().map(|log| log.directory.clone()),
        log_file: container.log_file.as_ref().map(|log| log.file.clone()),
        log: fds.add_some(log),
        stdout_log: Some(log_stream(stdout_log)),
        stderr_log: Some(log_stream(stderr_log)),
        dropped_bytes: container.log.dropped_bytes(),
        stdin: fds.add_some(container.streams.stdin.as_ref()),
        stdout: fds.add_some(container.streams.stdout.as_ref()),
        stderr: fds.add_some(container.streams.stderr.as_ref()),
        terminal: container.streams.kind == StreamKind::Terminal,
        reopening: container.reopening.as_ref().map(|one| launch(&one.launching, Some(one.reply), fds)),
        starting: None,
        running: None,
        ending: None,
        exited: None,
        failed: None,
    };
    match &container.state {
        State::Starting { launching, reply } => handed.starting = Some(launch(launching, Some(*reply), fds)),
        State::Running { pid, pidfd, started_at_ns } => {
            handed.running = Some(HandedProcess { pid: *pid, pidfd: fds.add(pidfd), started_at_ns: *started_at_ns });
        }
        State::Ending { exit, pid, until, .. } => {
            handed.ending = Some(HandedEnding { exit: *exit, pid: *pid, until_ns: until.as_nanoseconds() });
        }
        State::Exited { exit, record } => {
            handed.exited = Some(HandedExit { exit: *exit, record_ns: record.map(|moment| moment.as_nanoseconds()) });
        }
        State::Failed(failure) => handed.failed = Some(failure_bytes(failure)),
    }
    handed
}

fn log_stream(state: LogState) -> HandedLogStream {
    HandedLogStream { carry: state.carry.into(), inside_line: state.inside_line, open: state.open }
}

fn launch<'a>(launching: &'a Launching, reply: Option<ReplyTo>, fds: &mut Fds<'a>) -> HandedLaunch {
    HandedLaunch {
        pid: launching.pid,
        pidfd: fds.add(&launching.pidfd),
        channel: fds.add_some(launching.channel.as_ref()),
        steps: launching.steps.clone(),
        step: launching.step,
        ready: launching.ready,
        killed: launching.killed,
        failure: launching.failure.as_ref().map(failure_bytes),
        log: fds.add_some(launching.log.as_ref()),
        console: fds.add_some(launching.console.as_ref()),
        deadline_ns: launching.deadline.as_nanoseconds(),
        reply: reply.map(reply_to).unwrap_or_default(),
    }
}

fn reply_to(to: ReplyTo) -> HandedReply {
    HandedReply { connection: to.connection.0, sequence: to.sequence }
}

fn failure_bytes(failure: &Failure) -> ByteVec {
    ByteVec::from(minicbor::to_vec(failure).expect("writing to a Vec cannot fail"))
}

fn exec<'a>(exec: &'a Exec, fds: &mut Fds<'a>) -> HandedExec {
    let mut handed = HandedExec {
        key: exec.key.0,
        container: exec.container.0,
        reply: reply_to(exec.reply),
        pid: exec.pid,
        stdout: capture(&exec.stdout, fds),
        stderr: capture(&exec.stderr, fds),
        cgroup: exec.cgroup.as_ref().and_then(directory),
        deadline_ns: exec.deadline.map(|moment| moment.as_nanoseconds()),
        ..HandedExec::default()
    };
    match &exec.state {
        ExecState::Launching(launching) => handed.launching = Some(launch(launching, None, fds)),
        ExecState::Running { pidfd } => handed.pidfd = Some(fds.add(pidfd)),
        ExecState::Killed { launching, reaped, until, .. } => {
            handed.launching = launching.as_ref().map(|launching| launch(launching, None, fds));
            handed.killed_until_ns = Some(until.as_nanoseconds());
            handed.reaped = *reaped;
        }
    }
    handed
}

fn capture<'a>(captured: &'a Captured, fds: &mut Fds<'a>) -> HandedCapture {
    HandedCapture {
        pipe: fds.add_some(captured.pipe.as_ref()),
        memory: Some(ByteVec::from(captured.capture.memory.clone())),
        file: fds.add_some(captured.capture.file.as_ref()),
        kept: captured.capture.kept as u64,
        lost: captured.capture.lost.map(|errno| errno.raw_os_error()),
    }
}

/// What is watched now is looked at by the next program; a cgroup path that is not text was never sent.
fn leftover(leftover: &Leftover) -> Option<HandedLeftover> {
    Some(HandedLeftover { key: leftover.key.0, container: leftover.container.0, cgroup: directory(&leftover.cgroup)? })
}

fn directory(cgroup: &cgroups::Cgroup) -> Option<String> {
    cgroup.join_paths().unified.as_ref()?.to_str().map(ToOwned::to_owned)
}
