// SPDX-License-Identifier: Apache-2.0
//! The end of the sandbox and of the monitor.

use wire::{Failure, FailureKind, Reply};

use crate::clock::Moment;
use crate::container::{self, Container, ReplyTo};
use crate::event::Key;
use crate::exec::Exec;
use crate::limits::{CLOSE, FAREWELL, NAMED_PIDS};
use crate::monitor::{Children, Closing, Monitor};

impl Monitor {
    /// Kills everything. Without somebody to answer it is the frozen core's kill, after which the monitor ends whatever
    /// remains.
    pub(super) fn begin_close(&mut self, reply: Option<ReplyTo>) {
        let until = Moment::now().after(CLOSE);
        let closing = self.closing.get_or_insert(Closing { until, replies: Vec::new(), unconditional: false });
        match reply {
            Some(reply) => closing.replies.push(reply),
            None => closing.unconditional = true,
        }
        self.execs.iter_mut().for_each(Exec::kill);
        for container in &mut self.containers {
            if let Some(reopening) = &mut container.reopening {
                reopening.launching.kill();
            }
            // Also those that are over: a launch that hung may be dying only now. What cannot be killed is named at
            // the deadline.
            drop(container.kill());
        }
        self.pause.kill();
        // There may be no child whose end would wake the loop.
        self.reap();
    }

    /// Ends the monitor once every child is reaped and every container's end is on record.
    pub(super) fn settle_close(&mut self) {
        if self.closing.is_none() || self.children != Children::None {
            return;
        }
        let now = Moment::now();
        // Nobody is left to write; a pipe that is open still is held by somebody outside the pod.
        let ending: Vec<Key> = self.living().map(|container| container.key).collect();
        for key in ending {
            self.finish(key, now);
        }
        let Some(closing) = self.closing.take() else {
            return;
        };
        for to in closing.replies {
            self.reply(to, Reply::Done);
        }
        self.farewell = Some(now.after(FAREWELL));
    }

    /// A close whose time is up names what could not be killed. Asked again, it tries again.
    pub(super) fn expire_close(&mut self, now: Moment) {
        let Some(closing) = self.closing.take_if(|closing| closing.until <= now) else {
            return;
        };
        let failure = Failure::new(
            FailureKind::TimedOut,
            format!(
                "the processes {} of the pod do not end; one in state D waits for a device or a dead volume",
                self.remaining()
            ),
        );
        for to in closing.replies {
            self.reply(to, Reply::Failed(failure.clone()));
        }
        if closing.unconditional {
            self.farewell = Some(now.after(FAREWELL));
        }
    }

    /// The process ids that remain, as text.
    fn remaining(&self) -> String {
        let mut pids: Vec<u32> = self.pause.living_pid().into_iter().collect();
        pids.extend(self.containers.iter().filter_map(Container::living_pid));
        pids.extend(self.execs.iter().map(|exec| exec.pid));
        for container in &self.containers {
            let inside = container::cgroup(&container.cgroup).pids().unwrap_or_default();
            pids.extend(inside.into_iter().map(|pid| pid.as_raw_nonzero().get().unsigned_abs()));
        }
        pids.sort_unstable();
        pids.dedup();
        pids.truncate(NAMED_PIDS);
        pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Whether the monitor has nothing more to do: everything is over and was told, or nobody listens.
    pub(super) fn is_done(&self) -> bool {
        self.farewell.is_some_and(|until| {
            self.connections.iter().all(|connection| connection.queue.is_empty()) || until <= Moment::now()
        })
    }
}
