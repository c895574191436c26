// SPDX-License-Identifier: Apache-2.0
//! What a container writes, and its end: the last of its output, its record, the news.
//!
//! ```text
//!  main process reaped ─▶ OOM counter ─▶ kill the rest of the cgroup ─▶ read to the end ─▶ record ─▶ event
//! ```
//! The end of a stream is where its last writer closed it. A writer outside the cgroup (a neighbour that was handed
//! the pipe) may never do so: when the cgroup is empty, what is in the pipe is all that the container wrote.

use wire::{Event as PodEvent, Exit, ExitStatus, Id};

use crate::clock::{Moment, wall_ns};
use crate::container::{self, Container, State, StreamKind};
use crate::event::{Event, Interest, Key};
use crate::exec::Leftover;
use crate::limits::{DRAIN, RECHECK, RECORD_RETRY};
use crate::log::Stream;
use crate::monitor::{Monitor, Scratch};
use crate::output::{Reading, read_rest, read_some};
use crate::phase::Input;

impl Monitor {
    /// A container wrote something or closed a stream.
    pub(super) fn read_output(&mut self, key: Key, stream: Stream) {
        let Some(container) = self.containers.iter_mut().find(|container| container.key == key) else {
            return;
        };
        let Some(fd) = container.streams.output(stream) else {
            return;
        };
        let Scratch { read, batch } = &mut self.scratch;
        let log = &mut container.log;
        let reading = read_some(fd, read, |data| log.write(stream, data, wall_ns(), batch));
        match (reading, container.streams.kind, &container.state) {
            (Reading::Empty, ..) | (Reading::More, StreamKind::Pipes, _) => {}
            (Reading::More, StreamKind::Terminal, _) => {
                // It is only told once, so it has to be asked for.
                self.poll.change(fd, Event::Output(key, stream), Interest::ReadEdge).ok();
            }
            // Nobody has the terminal open right now; a process that is left may open it again.
            (Reading::Ended, StreamKind::Terminal, State::Running { .. }) => {}
            (Reading::Ended, ..) => {
                log.finish(stream, wall_ns(), batch);
                if let Some(fd) = container.streams.close(stream) {
                    self.poll.remove(&fd);
                }
                self.settle_ending(key, Moment::now());
            }
        }
    }

    /// The main process of a container was reaped.
    pub(super) fn main_ended(&mut self, key: Key, status: ExitStatus) {
        let now = Moment::now();
        let Some(container) = self.container(key).filter(|container| container.accepts(Input::MainEnded)) else {
            return;
        };
        let State::Running { pid, started_at_ns, .. } = container.state else {
            return;
        };
        let cgroup = container::cgroup(&container.cgroup);
        let oom_kills = cgroup.oom_kills().ok().flatten().unwrap_or(0).saturating_sub(container.oom_kills_before);
        let exit = Exit {
            status,
            started_at_ns,
            finished_at_ns: wall_ns().max(started_at_ns),
            oom_kills,
            oom_killed: oom_kills > 0 && status == ExitStatus::Signal(9),
        };
        // What cannot be killed holds the log open at most until the deadline.
        drop(container.kill());
        let (until, look) = (now.after(DRAIN), now.after(RECHECK));
        container.state = State::Ending { exit, pid, until, events: None, look };
        self.read_output(key, Stream::Stdout);
        self.read_output(key, Stream::Stderr);
        self.watch_ending(key);
        self.settle_ending(key, now);
    }

    /// Lets the kernel tell when the cgroup of an ending container is empty. Most are over before.
    pub(super) fn watch_ending(&mut self, key: Key) {
        let Some(container) = self.containers.iter_mut().find(|container| container.key == key) else {
            return;
        };
        let cgroup = container::cgroup(&container.cgroup);
        if let State::Ending { events, .. } = &mut container.state
            && !container.streams.are_closed()
            && let Ok(Some(file)) = cgroup.events_fd()
            && self.poll.add(&file, Event::Cgroup(key), Interest::Priority).is_ok()
        {
            *events = Some(file);
        }
    }

    /// Ends an ending container whose output is complete, or whose time is up.
    pub(super) fn settle_ending(&mut self, key: Key, now: Moment) {
        let Some(container) = self.container(key) else {
            return;
        };
        let cgroup = container::cgroup(&container.cgroup);
        let State::Ending { events, until, look, .. } = &mut container.state else {
            return;
        };
        let populated = match events {
            Some(file) => file.read().is_ok_and(|events| events.is_some_and(|events| events.populated)),
            None => cgroup.populated().unwrap_or(false),
        };
        if container.streams.are_closed() || !populated || *until <= now {
            self.finish(key, now);
        } else if *look <= now {
            *look = now.after(RECHECK);
        }
    }

    /// Closes the log of an ending container, writes its record and tells everybody.
    pub(super) fn finish(&mut self, key: Key, now: Moment) {
        let is_it = |container: &&mut Container| container.key == key && container.accepts(Input::Drained);
        let Some(container) = self.containers.iter_mut().find(is_it) else {
            return;
        };
        let State::Ending { exit, .. } = container.state else {
            return;
        };
        let Scratch { read, batch } = &mut self.scratch;
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(fd) = container.streams.close(stream) {
                let log = &mut container.log;
                read_rest(&fd, read, |data| log.write(stream, data, wall_ns(), batch));
                log.finish(stream, wall_ns(), batch);
                self.poll.remove(&fd);
            }
        }
        container.log.close();
        container.streams.stdin = None;
        let record = self.records.write(container.id, &exit).err().map(|_| now.after(RECORD_RETRY));
        container.state = State::Exited { exit, record };
        let id = container.id;
        self.drop_leftovers(key);
        self.broadcast(PodEvent::ContainerExited { container: id, exit });
        self.settle_pause(now);
    }

    /// Tries again to write the record of an exited container: the disk may have been full. Until then the monitor
    /// itself is the record, and it tells.
    pub(super) fn retry_record(&mut self, key: Key, now: Moment) {
        let Some(container) = self.containers.iter_mut().find(|container| container.key == key) else {
            return;
        };
        if let State::Exited { exit, record } = &mut container.state
            && record.is_some_and(|moment| moment <= now)
        {
            *record = self.records.write(container.id, exit).err().map(|_| now.after(RECORD_RETRY));
        }
    }

    fn drop_leftovers(&mut self, container: Key) {
        let of_it = |leftover: &Leftover| leftover.container == container;
        for leftover in self.leftovers.iter().filter(|leftover| of_it(leftover)) {
            // What is not empty yet is removed with the container's cgroup.
            leftover.sweep();
        }
        self.leftovers.retain(|leftover| !of_it(leftover));
    }

    /// The containers that something can still run in.
    pub(super) fn living(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| !container.is_over())
    }

    /// The container whose main process or launch child this is.
    pub(super) fn owner(&self, pid: u32) -> Option<(Key, Id)> {
        let owner = self.containers.iter().find(|container| container.living_pid() == Some(pid))?;
        Some((owner.key, owner.id))
    }
}
