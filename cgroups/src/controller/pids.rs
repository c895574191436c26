// SPDX-License-Identifier: Apache-2.0
//! The number of processes and threads; the same file on v1 and v2.

use crate::cgroup::{Opened, Place};
use crate::controller::Controller;
use crate::dir::FileName;
use crate::error::Error;
use crate::journal::Journal;
use crate::resources::Limits;

pub(super) const MAX: FileName<'static> = FileName::fixed("pids.max");

pub(super) fn apply<'d>(cgroup: &'d Opened, limits: &'d Limits, journal: &mut Journal<'d>) -> Result<(), Error> {
    let Some(most) = limits.pids_limit else {
        return Ok(());
    };
    let (Place::V1(dir) | Place::V2(dir)) = cgroup.place(Controller::Pids)?;
    if journal.set(dir, MAX, &most.v2())? { Ok(()) } else { Err(cgroup.without(Controller::Pids)) }
}
