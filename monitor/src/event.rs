// SPDX-License-Identifier: Apache-2.0
//! Everything that can wake the monitor, and the one epoll that does.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use crate::limits::EVENTS_PER_WAKE;
use crate::log::Stream;

/// A name for a thing of the monitor that is never given twice, so that an event of something that is gone by now
/// meets nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) u32);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A child ended.
    Child,
    /// The earliest deadline has passed.
    Timer,
    /// Somebody wants to connect.
    Accept,
    /// A connection has a frame, has room for one, or is closed.
    Connection(Key),
    /// The launch child of pause reports.
    PauseLaunch,
    /// The launch child of a container reports.
    Launch(Key),
    /// A container wrote to a stream or closed it.
    Output(Key, Stream),
    /// The cgroup of an ending container changed.
    Cgroup(Key),
    /// The child that opens a container's log anew reports.
    Reopen(Key),
    /// The launch child of an exec reports.
    ExecLaunch(Key),
    /// An exec wrote to a stream or closed it.
    ExecOutput(Key, Stream),
    /// The sub-cgroup of a timed-out exec changed.
    ExecCgroup(Key),
    /// The sub-cgroup of an ended exec that left something running changed.
    Leftover(Key),
}

impl Event {
    /// The number that epoll carries: what it is in the upper half, whose it is in the lower.
    fn token(self) -> u64 {
        let (kind, key) = match self {
            Self::Child => (0, Key(0)),
            Self::Timer => (1, Key(0)),
            Self::Accept => (2, Key(0)),
            Self::Connection(key) => (3, key),
            Self::PauseLaunch => (4, Key(0)),
            Self::Launch(key) => (5, key),
            Self::Output(key, Stream::Stdout) => (6, key),
            Self::Output(key, Stream::Stderr) => (7, key),
            Self::Cgroup(key) => (8, key),
            Self::Reopen(key) => (9, key),
            Self::ExecLaunch(key) => (10, key),
            Self::ExecOutput(key, Stream::Stdout) => (11, key),
            Self::ExecOutput(key, Stream::Stderr) => (12, key),
            Self::ExecCgroup(key) => (13, key),
            Self::Leftover(key) => (14, key),
        };
        kind << 32 | u64::from(key.0)
    }

    fn from_token(token: u64) -> Option<Self> {
        let key = Key((token & u64::from(u32::MAX)) as u32);
        Some(match token >> 32 {
            0 => Self::Child,
            1 => Self::Timer,
            2 => Self::Accept,
            3 => Self::Connection(key),
            4 => Self::PauseLaunch,
            5 => Self::Launch(key),
            6 => Self::Output(key, Stream::Stdout),
            7 => Self::Output(key, Stream::Stderr),
            8 => Self::Cgroup(key),
            9 => Self::Reopen(key),
            10 => Self::ExecLaunch(key),
            11 => Self::ExecOutput(key, Stream::Stdout),
            12 => Self::ExecOutput(key, Stream::Stderr),
            13 => Self::ExecCgroup(key),
            14 => Self::Leftover(key),
            _ => return None,
        })
    }
}

/// What to wait for on a descriptor. An error and the other side's end are always told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Something to read.
    Read,
    /// Something to read, or room to write.
    ReadWrite,
    /// Something new to read. A terminal whose last user has closed it for now reports its end without pause, so it
    /// must only be told once.
    ReadEdge,
    /// A change of a kernel file (`cgroup.events`).
    Priority,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Self::Read => EventFlags::IN,
            Self::ReadWrite => EventFlags::IN | EventFlags::OUT,
            Self::ReadEdge => EventFlags::IN | EventFlags::ET,
            Self::Priority => EventFlags::PRI,
        }
    }
}

/// The one place where the monitor waits.
pub(crate) struct Poll {
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
}

impl fmt::Debug for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.epoll.fmt(f)
    }
}

impl Poll {
    /// Makes it.
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, ready: Vec::with_capacity(EVENTS_PER_WAKE) })
    }

    /// Watches a descriptor.
    pub(crate) fn add(&self, fd: impl AsFd, event: Event, interest: Interest) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, EventData::new_u64(event.token()), interest.flags())
    }

    /// Changes what is waited for. What is ready already is told again.
    pub(crate) fn change(&self, fd: impl AsFd, event: Event, interest: Interest) -> Result<(), Errno> {
        epoll::modify(&self.epoll, fd, EventData::new_u64(event.token()), interest.flags())
    }

    /// Watches a descriptor no more. A descriptor whose only copy is closed needs no such call; those of a launch
    /// child may have copies.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        // It fails only when the descriptor is not watched, which is what is wanted.
        epoll::delete(&self.epoll, fd).ok();
    }

    /// Waits for the next events.
    pub(crate) fn wait(&mut self) -> Result<Vec<Event>, Errno> {
        self.ready.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.ready), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(self.ready.iter().filter_map(|event| Event::from_token(event.data.u64())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back() {
        let key = Key(u32::MAX);
        let events = [
            Event::Child,
            Event::Timer,
            Event::Accept,
            Event::Connection(key),
            Event::PauseLaunch,
            Event::Launch(key),
            Event::Output(key, Stream::Stdout),
            Event::Output(key, Stream::Stderr),
            Event::Cgroup(key),
            Event::Reopen(key),
            Event::ExecLaunch(key),
            Event::ExecOutput(key, Stream::Stdout),
            Event::ExecOutput(key, Stream::Stderr),
            Event::ExecCgroup(key),
            Event::Leftover(key),
        ];
        let mut kinds = std::collections::BTreeSet::new();
        for event in events {
            assert_eq!(Event::from_token(event.token()), Some(event));
            assert!(kinds.insert(event.token() >> 32), "{event:?} shares its kind");
        }
        assert_eq!(Event::from_token(99 << 32), None);
    }

    #[test]
    fn a_pipe_wakes_and_a_removed_one_does_not() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let (other_read, other_write) = rustix::pipe::pipe().unwrap();
        let mut poll = Poll::new().unwrap();
        let event = Event::Output(Key(7), Stream::Stderr);
        poll.add(&read, event, Interest::Read).unwrap();
        poll.add(&other_read, Event::Output(Key(8), Stream::Stdout), Interest::Read).unwrap();
        poll.remove(&other_read);
        rustix::io::write(&other_write, b"x").unwrap();
        rustix::io::write(&write, b"x").unwrap();
        assert_eq!(poll.wait().unwrap(), [event]);
    }
}
