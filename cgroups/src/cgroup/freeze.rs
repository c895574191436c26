// SPDX-License-Identifier: Apache-2.0
//! Stops all processes of a cgroup and lets them go on.

use std::time::{Duration, Instant};

use crate::cgroup::events::{self, Waited};
use crate::cgroup::{Cgroup, Opened, Place};
use crate::controller::Controller;
use crate::dir::{Dir, FileName};
use crate::error::Error;
use crate::limits;

const V2_FREEZE: FileName<'static> = FileName::fixed("cgroup.freeze");
const V1_STATE: FileName<'static> = FileName::fixed("freezer.state");

impl Cgroup {
    /// Stops all processes of this cgroup and below, and waits until they have stopped.
    ///
    /// The unified hierarchy freezes where there is one: its frozen processes can still be killed.
    ///
    /// # Errors
    /// [`Error::NotFrozen`] at the deadline, after the cgroup was thawed again; [`Error::NoController`] on v1 without
    /// the freezer; [`Error::NoCgroup`]; [`Error::Write`].
    pub fn freeze(&self, deadline: Duration) -> Result<(), Error> {
        let opened = Opened::open(self.join_paths())?;
        let until = Instant::now() + deadline;
        let (dir, frozen) = match opened.unified_dir() {
            Some(dir) => {
                dir.write(V2_FREEZE, "1")?;
                (dir, events::wait_for(dir, until, |events| events.frozen).map(|waited| waited == Waited::Reached))
            }
            None => {
                let dir = self.v1_freezer(&opened)?;
                dir.write(V1_STATE, "FROZEN")?;
                (dir, wait_for_v1(dir, until))
            }
        };
        let failed = match frozen {
            Ok(true) => return Ok(()),
            Ok(false) => Error::NotFrozen { path: dir.path().to_owned(), waited: deadline },
            Err(error) => error,
        };
        // Half-frozen processes hold locks that others wait for.
        match self.thaw() {
            Ok(()) => Err(failed),
            Err(restore) => Err(Error::NotRestored { cause: Box::new(failed), restore: Box::new(restore) }),
        }
    }

    /// Lets the processes go on. A cgroup that is not frozen, or gone, stays as it is.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn thaw(&self) -> Result<(), Error> {
        let opened = Opened::open(self.join_paths())?;
        if let Some(dir) = opened.unified_dir()
            && dir.has(V2_FREEZE)?
        {
            dir.write(V2_FREEZE, "0")?;
        }
        thaw_v1(&opened)
    }

    fn v1_freezer<'a>(&self, opened: &'a Opened) -> Result<&'a Dir, Error> {
        if opened.is_gone() {
            return Err(Error::NoCgroup { path: self.first().to_owned() });
        }
        let (Place::V1(dir) | Place::V2(dir)) = opened.place(Controller::Freezer)?;
        Ok(dir)
    }
}

/// Stops the processes of a v1 freezer without waiting; nothing where there is none.
pub(super) fn freeze_v1(opened: &Opened) -> Result<(), Error> {
    match opened.find(Controller::Freezer)? {
        Some(Place::V1(dir)) => dir.write(V1_STATE, "FROZEN"),
        _ => Ok(()),
    }
}

/// False while processes are still on their way into a v1 freezer.
pub(super) fn has_settled_v1(opened: &Opened) -> Result<bool, Error> {
    match opened.find(Controller::Freezer)? {
        Some(Place::V1(dir)) => Ok(dir.read(V1_STATE)?.is_none_or(|state| state.trim_end() != "FREEZING")),
        _ => Ok(true),
    }
}

/// Lets the processes of a v1 freezer go on, unless they do.
pub(super) fn thaw_v1(opened: &Opened) -> Result<(), Error> {
    let Some(Place::V1(dir)) = opened.find(Controller::Freezer)? else {
        return Ok(());
    };
    match dir.read(V1_STATE)? {
        Some(state) if state.trim_end() != "THAWED" => dir.write(V1_STATE, "THAWED"),
        _ => Ok(()),
    }
}

/// freezer-subsystem.rst: the state reads FREEZING until all processes have stopped; there is no event.
fn wait_for_v1(dir: &Dir, until: Instant) -> Result<bool, Error> {
    let mut pause = limits::BACKOFF_FIRST;
    loop {
        match dir.read(V1_STATE)?.as_deref().map(str::trim_end) {
            Some("FROZEN") => return Ok(true),
            Some("FREEZING") => {}
            Some(other) => return Err(dir.odd_content(V1_STATE, other)),
            None => return Ok(false),
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(limits::BACKOFF_MOST);
    }
}
