// SPDX-License-Identifier: Apache-2.0
//! Starting a container: pipes, launch, and what becomes of the launch.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use launch::{Launched, StartJob, Stdio};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::pipe::{PipeFlags, pipe_with};
use wire::{Failure, FailureKind, Log, Reply, Start, Stdin};

use crate::clock::{Moment, wall_ns};
use crate::container::{self, Container, ReplyTo, State, StreamKind, Streams};
use crate::event::{Event, Interest, Key};
use crate::launching::{Launching, Progress};
use crate::limits::CONTAINERS;
use crate::log::{ContainerLog, Stream};
use crate::monitor::Monitor;
use crate::monitor::request::Answer;
use crate::pause::Pause;
use crate::phase::{self, Input};

/// What the launch child reports as its last step, after those of the plan.
pub(super) const BECOME: &str = "enter the working directory and read the program";

impl Monitor {
    pub(super) fn start(&mut self, to: ReplyTo, start: &Start) -> Answer {
        self.refuse_while_closing()?;
        let request = digest_of(start);
        if let Some(known) = self.container_by_id(start.container) {
            return match known.state {
                // The daemon that asked for it may have died before the reply.
                State::Running { pid, started_at_ns, .. } if known.request == request => {
                    Ok(Some(Reply::Started { pid, started_at_ns }))
                }
                _ => Err(phase::refusal(Some(known.phase()))),
            };
        }
        phase::admit(None, Input::Start)?;
        if self.containers.len() >= CONTAINERS {
            let text = format!("the pod has {CONTAINERS} containers already; remove some first");
            return Err(Failure::new(FailureKind::Exhausted, text));
        }
        let Pause::Running { pidfd: pause, .. } = &self.pause else {
            return Err(Failure::new(FailureKind::WrongState, "the sandbox is not open"));
        };
        let (streams, stdio) = streams(start).map_err(exhausted)?;
        // What the cgroup counts from here on is this container's.
        let oom_kills_before = container::cgroup(&start.cgroup).oom_kills().ok().flatten().unwrap_or(0);
        let deadline = Moment::now().after(Duration::from_millis(start.deadline_ms));
        let job = StartJob {
            plan: &start.plan,
            cgroup: &start.cgroup,
            pid_namespace: start.pid_namespace,
            stdio,
            log: start.log.as_ref(),
            pause: pause.as_fd(),
        };
        let state = match launch::start(&self.thread, job) {
            Ok(launched) => State::Starting { launching: launching(launched, start, deadline), reply: to },
            Err(failure) => State::Failed(failure),
        };
        let container = Container {
            key: self.new_key(),
            id: start.container,
            cgroup: start.cgroup.clone(),
            pid_namespace: start.pid_namespace,
            request,
            oom_kills_before,
            log_file: start.log.clone(),
            log: ContainerLog::default(),
            streams,
            state,
            reopening: None,
        };
        self.admit_container(container)
    }

    fn admit_container(&mut self, mut container: Container) -> Answer {
        let key = container.key;
        let answer = match &mut container.state {
            State::Starting { launching, .. } => match launching.watch(&self.poll, Event::Launch(key)) {
                Ok(()) => Ok(None),
                Err(errno) => {
                    launching.kill();
                    let failure = exhausted(errno);
                    container.state = State::Failed(failure.clone());
                    Err(failure)
                }
            },
            State::Failed(failure) => Err(failure.clone()),
            _ => Ok(None),
        };
        if container.is_over() {
            container.streams = Streams::default();
        }
        self.containers.push(container);
        answer
    }

    /// The launch child of a container reported something.
    pub(super) fn launch_reports(&mut self, key: Key) {
        let Some(container) = self.containers.iter_mut().find(|container| container.key == key) else {
            return;
        };
        if let State::Starting { launching, .. } = &mut container.state
            && launching.read(&self.poll) == Progress::Executed
        {
            self.executed(key);
        }
    }

    /// The program of a container runs.
    pub(super) fn executed(&mut self, key: Key) {
        let started_at_ns = wall_ns();
        let Some(container) = self.container(key).filter(|container| container.accepts(Input::Executed)) else {
            return;
        };
        let Some((launching, reply)) = container.take_launch() else {
            return;
        };
        let pid = launching.pid;
        if let Some(log) = launching.log {
            container.log.swap(log);
        }
        if let Some(console) = launching.console {
            container.streams.stdout = Some(console);
        }
        container.state = State::Running { pid, pidfd: launching.pidfd, started_at_ns };
        if self.watch_streams(key).is_err() {
            // Output that nobody reads would stop the container in the middle of its work.
            self.container(key).map(Container::kill);
        }
        self.reply(reply, Reply::Started { pid, started_at_ns });
    }

    /// Lets the poll tell when a running container writes.
    pub(super) fn watch_streams(&mut self, key: Key) -> Result<(), Errno> {
        let Some(container) = self.containers.iter().find(|container| container.key == key) else {
            return Ok(());
        };
        let interest = match container.streams.kind {
            StreamKind::Pipes => Interest::Read,
            StreamKind::Terminal => Interest::ReadEdge,
        };
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(fd) = container.streams.output(stream) {
                ioctl_fionbio(fd, true)?;
                self.poll.add(fd, Event::Output(key, stream), interest)?;
            }
        }
        Ok(())
    }

    /// The launch of a container is over without a program.
    pub(super) fn launch_failed(&mut self, key: Key, failure: Failure) {
        let Some(container) = self.container(key).filter(|container| container.accepts(Input::LaunchEnded)) else {
            return;
        };
        // Whatever the child left behind goes; an empty cgroup is fine, and there is nobody to tell of an error.
        drop(container.kill());
        let Some((launching, reply)) = container.take_launch() else {
            return;
        };
        container.state = State::Failed(failure.clone());
        container.streams = Streams::default();
        if let Some(channel) = &launching.channel {
            self.poll.remove(channel.fd());
        }
        self.reply(reply, Reply::Failed(failure));
        self.settle_pause(Moment::now());
    }

    /// A launch whose time is up is ended, and the step that it hangs in is named. Its child may be in state D on a
    /// dead volume; it is reaped when the kernel lets it go.
    pub(super) fn expire_launch(&mut self, key: Key, now: Moment) {
        let Some(container) = self.container(key) else {
            return;
        };
        if let State::Starting { launching, .. } = &container.state
            && launching.deadline <= now
        {
            let failure = launching.timed_out();
            self.launch_failed(key, failure);
        }
    }
}

/// The launch of a container, with the names of its steps. The child opens the log before it reports its first step.
fn launching(launched: Launched, start: &Start, deadline: Moment) -> Launching {
    let mut steps: Vec<String> = start.plan.steps.iter().map(ToString::to_string).collect();
    steps.push(BECOME.to_owned());
    let opens_log = start.log.as_ref().and_then(|log| {
        let index = u16::try_from(steps.len()).ok()?;
        steps.push(open_log_step(log));
        Some(index)
    });
    let mut launching = Launching::new(launched, steps, deadline);
    launching.step = opens_log;
    launching
}

/// How errors name the opening of a log file.
pub(super) fn open_log_step(log: &Log) -> String {
    format!("open log {} in {}", log.file, log.directory)
}

/// The streams of a container: the monitor's ends and the child's.
fn streams(start: &Start) -> Result<(Streams, Stdio), Errno> {
    if start.plan.process.terminal {
        return Ok((Streams { kind: StreamKind::Terminal, ..Streams::default() }, Stdio::Terminal));
    }
    let (stdin, held) = match start.stdin {
        Stdin::Null => (null()?, None),
        Stdin::Pipe => {
            let (read, write) = pipe()?;
            ioctl_fionbio(&write, true)?;
            (read, Some(write))
        }
    };
    let (our_stdout, stdout) = pipe()?;
    let (our_stderr, stderr) = pipe()?;
    let streams = Streams { stdin: held, stdout: Some(our_stdout), stderr: Some(our_stderr), kind: StreamKind::Pipes };
    Ok((streams, Stdio::Pipes { stdin, stdout, stderr }))
}

/// A pipe, close-on-exec: reading end, writing end.
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    pipe_with(PipeFlags::CLOEXEC)
}

/// An open `/dev/null`.
pub(super) fn null() -> Result<OwnedFd, Errno> {
    openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// The failure of a call that only lack of descriptors or memory makes fail.
pub(super) fn exhausted(errno: Errno) -> Failure {
    Failure {
        kind: FailureKind::Exhausted,
        step: None,
        errno: Some(errno.raw_os_error()),
        detail: Some("the monitor cannot get the descriptors that it needs".into()),
    }
}

fn digest_of(start: &Start) -> u64 {
    let bytes = minicbor::to_vec(start).expect("writing to a Vec cannot fail, and every path in a message is UTF-8");
    container::digest(&bytes)
}
