// SPDX-License-Identifier: Apache-2.0
//! Which CPUs and memory nodes may be used.

use crate::cgroup::{Opened, Place};
use crate::controller::Controller;
use crate::dir::FileName;
use crate::error::Error;
use crate::journal::Journal;
use crate::resources::Limits;

pub(super) const CPUS: FileName<'static> = FileName::fixed("cpuset.cpus");
const MEMS: FileName<'static> = FileName::fixed("cpuset.mems");

pub(super) fn apply<'d>(cgroup: &'d Opened, limits: &'d Limits, journal: &mut Journal<'d>) -> Result<(), Error> {
    for (file, list) in [(CPUS, &limits.cpuset_cpus), (MEMS, &limits.cpuset_mems)] {
        let Some(list) = list else { continue };
        let (Place::V1(dir) | Place::V2(dir)) = cgroup.place(Controller::Cpuset)?;
        if !journal.set(dir, file, list)? {
            return Err(cgroup.without(Controller::Cpuset));
        }
    }
    Ok(())
}
