// SPDX-License-Identifier: Apache-2.0
//! What the OOM killer did to a cgroup.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFlags};

use crate::cgroup::{Cgroup, Opened, Place};
use crate::controller::{Controller, OomCounter};
use crate::dir::FileName;
use crate::error::{Action, Error};

const EVENT_CONTROL: FileName<'static> = FileName::fixed("cgroup.event_control");

/// A descriptor that becomes ready when [`Cgroup::oom_kills`] may have changed.
#[derive(Debug)]
pub enum OomWatch {
    /// v2: an open `memory.events`; ready for `POLLPRI`, and must be read from the start after each wake-up.
    MemoryEvents(OwnedFd),
    /// v1: an eventfd; ready for `POLLIN`, and must be read after each wake-up. It wakes before the kernel has killed
    /// somebody, and once more when the cgroup is removed.
    Eventfd(OwnedFd),
}

impl OomWatch {
    /// What to poll for.
    pub fn poll_flags(&self) -> PollFlags {
        match self {
            Self::MemoryEvents(_) => PollFlags::PRI,
            Self::Eventfd(_) => PollFlags::IN,
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::MemoryEvents(fd) | Self::Eventfd(fd) => fd.as_fd(),
        }
    }
}

impl Cgroup {
    /// How many processes of this cgroup and below the OOM killer has taken; `None` when there is no memory
    /// controller or the cgroup is gone.
    ///
    /// v2: `oom_kill` of `memory.events`. v1: `oom_kill` of `memory.oom_control`, summed over the cgroups below that
    /// still exist, because v1 counts for each cgroup alone.
    ///
    /// # Errors
    /// [`Error::Io`] when the count cannot be read.
    pub fn oom_kills(&self) -> Result<Option<u64>, Error> {
        let opened = Opened::open(self.join_paths())?;
        match opened.find(Controller::Memory)? {
            Some(place) => OomCounter::at(&place).read(),
            None => Ok(None),
        }
    }

    /// A descriptor that becomes ready on an OOM, so that nobody has to ask again and again; `None` when there is no
    /// memory controller or the cgroup is gone.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Write`].
    pub fn oom_watch(&self) -> Result<Option<OomWatch>, Error> {
        let opened = Opened::open(self.join_paths())?;
        let Some(place) = opened.find(Controller::Memory)? else {
            return Ok(None);
        };
        let counter = OomCounter::at(&place);
        match place {
            Place::V2(dir) => Ok(dir.open_file(counter.file)?.map(OomWatch::MemoryEvents)),
            Place::V1(dir) => {
                let Some(control) = dir.open_file(counter.file)? else {
                    return Ok(None);
                };
                let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                    .map_err(|cause| dir.file_failed(Action::Watch, counter.file, cause))?;
                // cgroup-v1/memory.rst, "OOM Control": the numbers of both; the second may be closed afterwards.
                let registration = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
                dir.write(EVENT_CONTROL, &registration)?;
                Ok(Some(OomWatch::Eventfd(fd)))
            }
        }
    }
}
