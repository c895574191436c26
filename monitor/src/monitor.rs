// SPDX-License-Identifier: Apache-2.0
//! The monitor: its state, its loop, and the one `match` over everything that can happen.
//!
//! ```text
//!  epoll ──▶ Event ──▶ on() ──▶ connection.serve ─▶ request ─▶ start, exec, reopen, close …
//!                        ├────▶ reap ─▶ a launch, a container, an exec or pause ended
//!                        └────▶ output, launch reports, cgroup changes, deadlines
//! ```
//!
//! Nothing here waits for a container, a volume or a daemon: every descriptor is non-blocking, every path that a
//! volume may hide is touched by a launch child, and whatever takes time is a state with a deadline.

mod close;
mod ending;
mod exec;
mod reap;
mod reexec;
mod reopen;
mod request;
mod sandbox;
mod serve;
mod start;

use std::os::fd::{AsFd, OwnedFd};

pub(crate) use reexec::TakeError;

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;
use sys::SingleThreaded;
use wire::{Id, Inventory};

use crate::clock::Moment;
use crate::connection::Connection;
use crate::container::{Container, ReplyTo};
use crate::event::{Event, Interest, Key, Poll};
use crate::exec::{Exec, Leftover};
use crate::exit_records::ExitRecords;
use crate::limits::READ_BYTES;
use crate::log::Batch;
use crate::output::ReadBuffer;
use crate::pause::Pause;
use crate::timer::Timer;

/// Everything that a monitor is.
#[derive(Debug)]
pub(crate) struct Monitor {
    pod: Id,
    thread: SingleThreaded,
    poll: Poll,
    timer: Timer,
    signals: SignalFd,
    listener: OwnedFd,
    /// Connections are not accepted until then: there was no descriptor left for one.
    accept_again: Option<Moment>,
    records: ExitRecords,
    connections: Vec<Connection>,
    pause: Pause,
    containers: Vec<Container>,
    execs: Vec<Exec>,
    leftovers: Vec<Leftover>,
    closing: Option<Closing>,
    /// Everything is over; only the last frames have to reach their readers, until then.
    farewell: Option<Moment>,
    children: Children,
    scratch: Scratch,
    next_key: u32,
}

/// The end of the sandbox is under way.
#[derive(Debug)]
struct Closing {
    until: Moment,
    replies: Vec<ReplyTo>,
    /// The frozen core's kill was among the requests: the monitor ends, whatever remains.
    unconditional: bool,
}

/// What the last reaping said about the monitor's children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Children {
    /// There may be some.
    Some,
    /// More of them wait to be reaped.
    Waiting,
    /// There are none.
    None,
}

/// Buffers that serve all containers.
struct Scratch {
    read: Box<ReadBuffer>,
    batch: Batch,
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scratch")
    }
}

/// What a monitor needs from outside.
#[derive(Debug)]
pub(crate) struct Given {
    /// The pod.
    pub(crate) pod: Id,
    /// Evidence that clone may be called.
    pub(crate) thread: SingleThreaded,
    /// The listening socket, non-blocking.
    pub(crate) listener: OwnedFd,
    /// Where exits are recorded.
    pub(crate) records: ExitRecords,
    /// The signals that end the wait: SIGCHLD, blocked.
    pub(crate) signals: SigSet,
}

impl Monitor {
    /// A monitor of a pod that has nothing yet.
    pub(crate) fn new(given: Given) -> Result<Self, Errno> {
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals =
            SignalFd::with_flags(&given.signals, flags).map_err(|errno| Errno::from_raw_os_error(errno as i32))?;
        let monitor = Self {
            pod: given.pod,
            thread: given.thread,
            poll: Poll::new()?,
            timer: Timer::new()?,
            signals,
            listener: given.listener,
            accept_again: None,
            records: given.records,
            connections: Vec::new(),
            pause: Pause::Absent,
            containers: Vec::new(),
            execs: Vec::new(),
            leftovers: Vec::new(),
            closing: None,
            farewell: None,
            children: Children::Some,
            scratch: Scratch { read: Box::new([0; READ_BYTES]), batch: Batch::new() },
            next_key: 0,
        };
        monitor.poll.add(monitor.signals.as_fd(), Event::Child, Interest::Read)?;
        monitor.poll.add(&monitor.timer, Event::Timer, Interest::Read)?;
        monitor.poll.add(&monitor.listener, Event::Accept, Interest::Read)?;
        Ok(monitor)
    }

    /// Watches the pod until it is closed.
    ///
    /// # Errors
    /// When the monitor cannot wait for events any more. The pod dies with it: its processes asked for that.
    pub(crate) fn run(mut self) -> Result<(), Errno> {
        loop {
            self.timer.set(self.next_deadline())?;
            for event in self.poll.wait()? {
                self.on(event);
            }
            self.settle_close();
            if self.is_done() {
                return Ok(());
            }
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Child => {
                // Several ends are one signal, so its content says nothing.
                while let Ok(Some(_)) = self.signals.read_signal() {}
                self.reap();
            }
            Event::Timer => {
                self.timer.acknowledge();
                self.expire(Moment::now());
            }
            Event::Accept => self.accept(),
            Event::Connection(key) => self.serve(key),
            Event::PauseLaunch => self.pause_reports(),
            Event::Launch(key) => self.launch_reports(key),
            Event::Output(key, stream) => self.read_output(key, stream),
            Event::Cgroup(key) => self.settle_ending(key, Moment::now()),
            Event::Reopen(key) => self.reopen_reports(key),
            Event::ExecLaunch(key) => self.exec_reports(key),
            Event::ExecOutput(key, stream) => self.read_exec_output(key, stream),
            Event::ExecCgroup(key) => self.settle_killed_exec(key, Moment::now()),
            Event::Leftover(key) => self.sweep_leftover(key),
        }
    }

    /// The earliest moment at which something has to be done by itself.
    fn next_deadline(&self) -> Option<Moment> {
        let now = (self.children == Children::Waiting).then(|| Moment::from_nanoseconds(0));
        let closing = self.closing.as_ref().map(|closing| closing.until);
        [now, closing, self.farewell, self.accept_again, self.pause.deadline()]
            .into_iter()
            .chain(self.containers.iter().map(Container::deadline))
            .chain(self.execs.iter().map(Exec::deadline))
            .flatten()
            .min()
    }

    /// Does what the time has come for.
    fn expire(&mut self, now: Moment) {
        if self.children == Children::Waiting {
            self.reap();
        }
        if self.accept_again.is_some_and(|moment| moment <= now) {
            self.accept_again = None;
            // It is watched already only if it never was taken out.
            self.poll.add(&self.listener, Event::Accept, Interest::Read).ok();
        }
        if self.pause.deadline().is_some_and(|moment| moment <= now) {
            self.expire_pause(now);
        }
        let due = |deadline: Option<Moment>| deadline.is_some_and(|moment| moment <= now);
        let containers: Vec<Key> =
            self.containers.iter().filter(|one| due(one.deadline())).map(|one| one.key).collect();
        for key in containers {
            self.expire_launch(key, now);
            self.expire_reopening(key, now);
            self.settle_ending(key, now);
            self.retry_record(key, now);
        }
        let execs: Vec<Key> = self.execs.iter().filter(|one| due(one.deadline())).map(|one| one.key).collect();
        for key in execs {
            self.expire_exec(key, now);
        }
        self.expire_close(now);
    }

    /// A name that was never given before.
    fn new_key(&mut self) -> Key {
        let key = Key(self.next_key);
        self.next_key = self.next_key.wrapping_add(1);
        key
    }

    fn container(&mut self, key: Key) -> Option<&mut Container> {
        self.containers.iter_mut().find(|container| container.key == key)
    }

    fn container_by_id(&mut self, id: Id) -> Option<&mut Container> {
        self.containers.iter_mut().find(|container| container.id == id)
    }

    fn exec(&mut self, key: Key) -> Option<&mut Exec> {
        self.execs.iter_mut().find(|exec| exec.key == key)
    }

    fn inventory(&self) -> Inventory {
        Inventory {
            monitor_pid: std::process::id(),
            pause: self.pause.phase(),
            containers: self.containers.iter().map(Container::inventory).collect(),
        }
    }
}
