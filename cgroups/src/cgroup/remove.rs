// SPDX-License-Identifier: Apache-2.0
//! Removes a cgroup, whatever is still in it.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::cgroup::{Cgroup, Opened, events};
use crate::error::Error;
use crate::limits;
use crate::tree::{self, Removal};

impl Cgroup {
    /// Removes this cgroup and all that were made inside it, in every hierarchy; kills what is in the way.
    ///
    /// What does not exist is a success. All directories are tried, also after one has failed. Blocks until everything
    /// is gone, at most until the deadline; with a deadline of zero each directory is tried once.
    ///
    /// # Errors
    /// [`Error::StillBusy`] at the deadline, with the processes that remain; [`Error::MountRoot`]; [`Error::Io`], or
    /// [`Error::Several`] when more than one directory failed.
    pub fn remove(&self, deadline: Duration) -> Result<(), Error> {
        let until = Instant::now() + deadline;
        let mut pause = limits::BACKOFF_FIRST;
        loop {
            let Some(busy) = self.remove_once(until)? else {
                return Ok(());
            };
            // A failure to kill is no reason to give up: the processes may end by themselves.
            let killed = self.kill();
            if Instant::now() >= until {
                return killed.and_then(|()| Err(self.still_busy(busy, deadline)));
            }
            self.wait_until_empty(until, pause)?;
            pause = (pause * 2).min(limits::BACKOFF_MOST);
        }
    }

    /// Tries every directory once; the first that is in use, if any.
    fn remove_once(&self, until: Instant) -> Result<Option<&Path>, Error> {
        let paths = self.join_paths();
        let mut busy = None;
        let mut errors = Vec::new();
        // The unified one last: as long as something is busy its `cgroup.events` is what to wait on.
        for path in &paths.v1 {
            match tree::remove(path, until) {
                Ok(Removal::Gone) => {}
                Ok(Removal::Busy) => busy = busy.or(Some(path.as_path())),
                Err(error) => errors.push(error),
            }
        }
        if let (Some(path), None) = (&paths.unified, busy) {
            match tree::remove(path, until) {
                Ok(Removal::Gone) => {}
                Ok(Removal::Busy) => busy = Some(path.as_path()),
                Err(error) => errors.push(error),
            }
        }
        Error::collect(errors)?;
        Ok(busy)
    }

    /// Waits for the kernel's word that the unified cgroup is empty; where that says nothing (v1) for `pause`.
    fn wait_until_empty(&self, until: Instant, pause: Duration) -> Result<(), Error> {
        let opened = Opened::open(self.join_paths())?;
        if let Some(dir) = opened.unified_dir()
            && events::now(dir)?.is_some_and(|events| events.populated)
        {
            events::wait_for(dir, until, |events| !events.populated)?;
            return Ok(());
        }
        if !opened.is_gone() {
            std::thread::sleep(pause.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    fn still_busy(&self, busy: &Path, waited: Duration) -> Error {
        // The reason matters more than a list that can't be read any more.
        let mut pids = self.pids().unwrap_or_default();
        pids.truncate(limits::MAX_PIDS_NAMED);
        Error::StillBusy { path: busy.to_owned(), pids, waited }
    }
}
