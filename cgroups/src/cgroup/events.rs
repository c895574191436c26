// SPDX-License-Identifier: Apache-2.0
//! `cgroup.events`: the kernel tells when a cgroup of the unified hierarchy gets empty or has frozen.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::dir::{self, Dir, FileName};
use crate::error::{Action, Error};
use crate::{flat_keyed, limits};

const EVENTS: FileName<'static> = FileName::fixed("cgroup.events");

/// The state of a cgroup and all below it (cgroup-v2.rst, "cgroup.events").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Events {
    /// A process is in it.
    pub populated: bool,
    /// All processes have stopped.
    pub frozen: bool,
}

impl Events {
    /// Parses the file; `None` when a value is missing or cut off.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self {
            populated: flat_keyed::value_of(text, "populated")? != 0,
            frozen: flat_keyed::value_of(text, "frozen")? != 0,
        })
    }
}

/// An open `cgroup.events`: wait for `POLLPRI` on it, then [`EventsFile::read`] it; only a change after the last
/// reading wakes again.
#[derive(Debug)]
pub struct EventsFile(OwnedFd);

impl EventsFile {
    /// The state now; `None` when the cgroup was removed.
    ///
    /// # Errors
    /// The kernel's answer; `EIO` when the content is not as documented.
    pub fn read(&self) -> Result<Option<Events>, Errno> {
        let read =
            rustix::fs::seek(&self.0, SeekFrom::Start(0)).and_then(|_| dir::read_most(&self.0, limits::MAX_FILE_BYTES));
        match read {
            Ok(text) => Events::parse(&text).map(Some).ok_or(Errno::IO),
            Err(Errno::NODEV) => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Waits for the next change, at most so long.
    fn wait(&self, most: Duration) -> Result<(), Errno> {
        let timeout = Timespec::try_from(most).map_err(|_| Errno::INVAL)?;
        let mut fds = [PollFd::new(&self.0, PollFlags::PRI)];
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(cause) => Err(cause),
        }
    }
}

impl AsFd for EventsFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Cgroup {
    /// Opens `cgroup.events` for the event loop of a monitor; `None` on pure v1 and when the cgroup does not exist.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be opened.
    pub fn events_fd(&self) -> Result<Option<EventsFile>, Error> {
        match &self.join_paths().unified {
            Some(path) => Ok(Dir::open(path)?.map(|dir| open(&dir)).transpose()?.flatten()),
            None => Ok(None),
        }
    }
}

fn open(dir: &Dir) -> Result<Option<EventsFile>, Error> {
    Ok(dir.open_file(EVENTS)?.map(EventsFile))
}

/// The state of a cgroup now; `None` when it is gone.
pub(super) fn now(dir: &Dir) -> Result<Option<Events>, Error> {
    match open(dir)? {
        Some(file) => file.read().map_err(|cause| dir.file_failed(Action::Read, EVENTS, cause)),
        None => Ok(None),
    }
}

/// How waiting ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// The state is as wished.
    Reached,
    /// The cgroup was removed.
    Gone,
    /// The time is over.
    TimedOut,
}

/// Waits until the state of a cgroup is as `wished`.
pub(super) fn wait_for(dir: &Dir, until: Instant, wished: impl Fn(Events) -> bool) -> Result<Waited, Error> {
    let Some(file) = open(dir)? else {
        return Ok(Waited::Gone);
    };
    loop {
        match file.read().map_err(|cause| dir.file_failed(Action::Read, EVENTS, cause))? {
            None => return Ok(Waited::Gone),
            Some(events) if wished(events) => return Ok(Waited::Reached),
            Some(_) => {}
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Waited::TimedOut);
        }
        file.wait(left).map_err(|cause| dir.file_failed(Action::Wait, EVENTS, cause))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_complete_or_none() {
        let text = "populated 1\nfrozen 0\n";
        assert_eq!(Events::parse(text), Some(Events { populated: true, frozen: false }));
        assert_eq!(Events::parse("frozen 1\npopulated 0\nnew 5\n"), Some(Events { populated: false, frozen: true }));
        for end in 0..text.len() {
            assert_eq!(Events::parse(&text[..end]), None, "{end}");
        }
    }
}
