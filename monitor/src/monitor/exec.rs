// SPDX-License-Identifier: Apache-2.0
//! Execs (CRI `ExecSync`): start, output, end, timeout, and what they leave running.

use std::os::fd::AsFd;
use std::time::Duration;

use cgroups::Cgroup;
use launch::{ExecJob, Stdio};
use rustix::io::{Errno, ioctl_fionbio};
use wire::{CgroupJoin, Exec as ExecRequest, ExecEnd, Executed, ExitStatus, Failure, FailureKind, Reply};

use crate::capture::Capture;
use crate::clock::Moment;
use crate::container::{self, ReplyTo, State};
use crate::event::{Event, Interest, Key};
use crate::exec::{Captured, Exec, ExecState, Leftover};
use crate::launching::{Launching, Progress};
use crate::limits::{EXEC_KILL, EXEC_LAUNCH, EXECS, LEFTOVERS};
use crate::log::Stream;
use crate::monitor::Monitor;
use crate::monitor::request::Answer;
use crate::monitor::start::{BECOME, exhausted, null, pipe};
use crate::output::{Reading, read_rest, read_some};
use crate::phase::{self, Input};

impl Monitor {
    pub(super) fn start_exec(&mut self, to: ReplyTo, request: &ExecRequest) -> Answer {
        self.refuse_while_closing()?;
        let key = self.new_key();
        let Some(container) = self.containers.iter().find(|container| container.id == request.container) else {
            return Err(phase::refusal(None));
        };
        phase::admit(Some(container.phase()), Input::Exec)?;
        let State::Running { pidfd: init, .. } = &container.state else {
            return Err(phase::refusal(Some(container.phase())));
        };
        if request.process.terminal {
            return Err(Failure::new(FailureKind::Unsupported, "an exec with captured output has no terminal"));
        }
        if self.execs.len() >= EXECS {
            let text = format!("{EXECS} execs run in the pod already; wait for one to end");
            return Err(Failure::new(FailureKind::Exhausted, text));
        }
        let now = Moment::now();
        let (stdout, stderr, stdio) = streams().map_err(exhausted)?;
        let (cgroup, join) = sub_cgroup(&container.cgroup, key)?;
        let job = ExecJob {
            process: &request.process,
            cgroup: &join,
            pid_namespace: container.pid_namespace,
            init: init.as_fd(),
            stdio,
        };
        let container = container.key;
        let launched = match launch::exec(&self.thread, job) {
            Ok(launched) => launched,
            Err(failure) => {
                self.release(cgroup, container);
                return Err(failure);
            }
        };
        let deadline = request.timeout_ms.map(|timeout| now.after(Duration::from_millis(timeout)));
        let pid = launched.pid;
        let launching = Launching::new(launched, vec![BECOME.to_owned()], now.after(EXEC_LAUNCH));
        let state = ExecState::Launching(Box::new(launching));
        self.execs.push(Exec { key, container, reply: to, pid, stdout, stderr, cgroup, deadline, state });
        if let Err(errno) = self.watch_exec(key) {
            let ended = self.execs.pop();
            if let Some(mut exec) = ended {
                exec.kill();
                self.release(exec.cgroup, container);
            }
            return Err(exhausted(errno));
        }
        Ok(None)
    }

    /// Lets the poll tell what an exec does.
    pub(super) fn watch_exec(&self, key: Key) -> Result<(), Errno> {
        let Some(exec) = self.execs.iter().find(|exec| exec.key == key) else {
            return Ok(());
        };
        match &exec.state {
            ExecState::Launching(launching) => launching.watch(&self.poll, Event::ExecLaunch(key))?,
            ExecState::Killed { launching: Some(launching), .. } => {
                launching.watch(&self.poll, Event::ExecLaunch(key))?;
            }
            ExecState::Running { .. } | ExecState::Killed { launching: None, .. } => {}
        }
        for (stream, captured) in [(Stream::Stdout, &exec.stdout), (Stream::Stderr, &exec.stderr)] {
            if let Some(fd) = &captured.pipe {
                self.poll.add(fd, Event::ExecOutput(key, stream), Interest::Read)?;
            }
        }
        Ok(())
    }

    /// The launch child of an exec reported something.
    pub(super) fn exec_reports(&mut self, key: Key) {
        let Some(exec) = self.execs.iter_mut().find(|exec| exec.key == key) else {
            return;
        };
        let poll = &self.poll;
        let executed = exec.launching().is_some_and(|launching| launching.read(poll) == Progress::Executed);
        if executed && matches!(exec.state, ExecState::Launching(_)) {
            exec_executed(exec);
        }
    }

    /// An exec wrote something or closed a stream.
    pub(super) fn read_exec_output(&mut self, key: Key, stream: Stream) {
        let Some(exec) = self.execs.iter_mut().find(|exec| exec.key == key) else {
            return;
        };
        let Captured { pipe, capture } = exec.captured(stream);
        let Some(fd) = pipe else {
            return;
        };
        if read_some(&*fd, &mut self.scratch.read, |data| capture.push(data)) == Reading::Ended {
            self.poll.remove(&*fd);
            *pipe = None;
        }
    }

    pub(super) fn exec_of(&self, pid: u32) -> Option<Key> {
        let is_reaped = |exec: &&Exec| matches!(exec.state, ExecState::Killed { reaped: true, .. });
        Some(self.execs.iter().find(|exec| exec.pid == pid && !is_reaped(exec))?.key)
    }

    /// The main process of an exec, or its launch child, was reaped.
    pub(super) fn exec_reaped(&mut self, key: Key, status: ExitStatus) {
        let Some(exec) = self.execs.iter_mut().find(|exec| exec.key == key) else {
            return;
        };
        let poll = &self.poll;
        let ended = match &mut exec.state {
            ExecState::Killed { reaped, .. } => {
                *reaped = true;
                return self.settle_killed_exec(key, Moment::now());
            }
            ExecState::Launching(launching) => match launching.read(poll) {
                Progress::Executed => Ok(ExecEnd::Exited(status)),
                Progress::Waiting | Progress::Ended => Err(launching.failure(status)),
            },
            ExecState::Running { .. } => Ok(ExecEnd::Exited(status)),
        };
        self.answer_exec(key, ended);
    }

    /// The time of an exec is up.
    pub(super) fn expire_exec(&mut self, key: Key, now: Moment) {
        let Some(exec) = self.execs.iter_mut().find(|exec| exec.key == key) else {
            return;
        };
        if matches!(exec.state, ExecState::Killed { .. }) {
            return self.settle_killed_exec(key, now);
        }
        exec.kill();
        let events = exec.cgroup.as_ref().and_then(|cgroup| cgroup.events_fd().ok().flatten());
        let events = events.filter(|file| self.poll.add(file, Event::ExecCgroup(key), Interest::Priority).is_ok());
        let killed = |launching| ExecState::Killed { launching, reaped: false, until: now.after(EXEC_KILL), events };
        exec.state = match std::mem::replace(&mut exec.state, NOTHING) {
            ExecState::Launching(launching) => killed(Some(launching)),
            ExecState::Running { .. } => killed(None),
            other @ ExecState::Killed { .. } => other,
        };
        self.settle_killed_exec(key, now);
    }

    /// Answers a timed-out exec once everything that it started is gone, or its last time is up.
    pub(super) fn settle_killed_exec(&mut self, key: Key, now: Moment) {
        let Some(exec) = self.exec(key) else {
            return;
        };
        let ExecState::Killed { launching, reaped, until, events } = &exec.state else {
            return;
        };
        let populated = events
            .as_ref()
            .is_some_and(|file| file.read().is_ok_and(|events| events.is_some_and(|events| events.populated)));
        if (!*reaped || populated) && *until > now {
            return;
        }
        let end = match launching {
            Some(launching) => Err(launching.timed_out()),
            None => Ok(ExecEnd::TimedOut),
        };
        self.answer_exec(key, end);
    }

    /// Answers an exec with what its pipes hold now, and lets go of it. What it left running keeps neither the answer
    /// nor the pipes.
    fn answer_exec(&mut self, key: Key, end: Result<ExecEnd, Failure>) {
        let Some(at) = self.execs.iter().position(|exec| exec.key == key) else {
            return;
        };
        let mut exec = self.execs.swap_remove(at);
        let poll = &self.poll;
        if let Some(channel) = exec.launching().and_then(|launching| launching.channel.take()) {
            poll.remove(channel.fd());
        }
        for Captured { pipe, capture } in [&mut exec.stdout, &mut exec.stderr] {
            if let Some(fd) = pipe.take() {
                read_rest(&fd, &mut self.scratch.read, |data| capture.push(data));
                self.poll.remove(&fd);
            }
        }
        self.release(exec.cgroup, exec.container);
        let answer = end.and_then(|end| executed(end, exec.stdout.capture, exec.stderr.capture));
        match answer {
            Ok((executed, fds)) => self.reply_with(exec.reply, Reply::Executed(executed), fds),
            Err(failure) => self.reply(exec.reply, Reply::Failed(failure)),
        }
    }

    /// Removes the sub-cgroup of an exec, now or when what is left in it has ended.
    fn release(&mut self, cgroup: Option<Cgroup>, container: Key) {
        let Some(cgroup) = cgroup else {
            return;
        };
        let Some(path) = &cgroup.join_paths().unified else {
            return;
        };
        // EBUSY: something still runs. Everything else is as good as removed: the container's end takes the rest.
        if rustix::fs::rmdir(path) == Err(Errno::BUSY)
            && self.leftovers.len() < LEFTOVERS
            && let Ok(Some(events)) = cgroup.events_fd()
        {
            let key = self.new_key();
            self.leftovers.push(Leftover { key, container, cgroup, events });
            self.watch_leftover(key);
        }
    }

    /// Lets the kernel tell when the sub-cgroup of a leftover is empty.
    pub(super) fn watch_leftover(&mut self, key: Key) {
        let watched =
            self.leftovers.iter().find(|leftover| leftover.key == key).is_some_and(|leftover| {
                self.poll.add(&leftover.events, Event::Leftover(key), Interest::Priority).is_ok()
            });
        if watched {
            // It may have become empty before anybody looked.
            self.sweep_leftover(key);
        } else {
            self.leftovers.retain(|leftover| leftover.key != key);
        }
    }

    /// Something changed in the sub-cgroup of an ended exec.
    pub(super) fn sweep_leftover(&mut self, key: Key) {
        self.leftovers.retain(|leftover| leftover.key != key || !leftover.sweep());
    }
}

/// The program of an exec runs.
fn exec_executed(exec: &mut Exec) {
    exec.state = match std::mem::replace(&mut exec.state, NOTHING) {
        ExecState::Launching(launching) => ExecState::Running { pidfd: launching.pidfd },
        other => other,
    };
}

/// Stands where a state is being replaced.
const NOTHING: ExecState =
    ExecState::Killed { launching: None, reaped: true, until: Moment::from_nanoseconds(0), events: None };

/// The two captured streams, non-blocking, and the child's ends.
fn streams() -> Result<(Captured, Captured, Stdio), Errno> {
    let (our_stdout, stdout) = pipe()?;
    let (our_stderr, stderr) = pipe()?;
    for ours in [&our_stdout, &our_stderr] {
        ioctl_fionbio(ours, true)?;
    }
    let captured = |pipe| Captured { pipe: Some(pipe), capture: Capture::default() };
    Ok((captured(our_stdout), captured(our_stderr), Stdio::Pipes { stdin: null()?, stdout, stderr }))
}

/// Makes the sub-cgroup of an exec where there is a unified hierarchy; version 1 ones are joined as the container's.
fn sub_cgroup(of: &CgroupJoin, key: Key) -> Result<(Option<Cgroup>, CgroupJoin), Failure> {
    if of.unified.is_none() {
        return Ok((None, of.clone()));
    }
    let made = container::cgroup(of).child(&format!("exec-{}", key.0)).map_err(|error| {
        let kind = match error.kind() {
            cgroups::Kind::NotFound => FailureKind::WrongState,
            cgroups::Kind::Exhausted | cgroups::Kind::Busy => FailureKind::Exhausted,
            _ => FailureKind::Internal,
        };
        Failure::new(kind, error.to_string())
    })?;
    let unified = made.join_paths().unified.as_ref().map(|path| path.to_string_lossy().into_owned());
    Ok((Some(made), CgroupJoin { unified, v1: of.v1.clone() }))
}

fn executed(end: ExecEnd, stdout: Capture, stderr: Capture) -> Result<(Executed, Vec<std::os::fd::OwnedFd>), Failure> {
    let lost = |errno: Errno| Failure {
        kind: FailureKind::Exhausted,
        step: None,
        errno: Some(errno.raw_os_error()),
        detail: Some("the output of the exec cannot be kept in a memory file".into()),
    };
    let (stdout, first) = stdout.into_blob().map_err(lost)?;
    let (stderr, second) = stderr.into_blob().map_err(lost)?;
    Ok((Executed { end, stdout, stderr }, first.into_iter().chain(second).collect()))
}
