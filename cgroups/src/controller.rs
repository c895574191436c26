// SPDX-License-Identifier: Apache-2.0
//! The controllers that limits are written to; one file each.

mod cpu;
mod cpuset;
mod devices;
mod memory;
mod pids;
mod unified;

use std::fmt;

pub use cpu::cpu_weight_of_shares;
pub use devices::{DeviceAccess, DeviceKind, DeviceRule};
pub(crate) use memory::{OomCounter, SWAP_FILES};

use crate::cgroup::Opened;
use crate::dir::FileName;
use crate::error::Error;
use crate::journal::Journal;
use crate::resources::Limits;

/// A controller that this crate knows by more than its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Controller {
    /// CPU time: shares or weight, quota.
    Cpu,
    /// CPUs and memory nodes.
    Cpuset,
    /// Device nodes; a hierarchy of v1 only.
    Devices,
    /// Stops all processes; on v2 part of the core.
    Freezer,
    /// Memory and swap.
    Memory,
    /// The number of processes.
    Pids,
}

impl Controller {
    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Devices => "devices",
            Self::Freezer => "freezer",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    /// A file that a v1 cgroup has exactly when this controller is mounted there. The monitor knows only directories.
    pub(crate) fn v1_marker(self) -> FileName<'static> {
        match self {
            Self::Cpu => cpu::SHARES,
            Self::Cpuset => cpuset::CPUS,
            Self::Devices => devices::LIST,
            Self::Freezer => FileName::fixed("freezer.state"),
            Self::Memory => memory::V1_LIMIT,
            Self::Pids => pids::MAX,
        }
    }

    /// A file that a v2 cgroup has exactly when this controller is enabled there.
    pub(crate) fn v2_marker(self) -> Option<FileName<'static>> {
        match self {
            Self::Cpu => Some(cpu::WEIGHT),
            Self::Cpuset => Some(cpuset::CPUS),
            Self::Devices | Self::Freezer => None,
            Self::Memory => Some(memory::V2_MAX),
            Self::Pids => Some(pids::MAX),
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Writes everything that is set, or nothing: on an error the old values are written back.
///
/// The order is fixed: the settings by name come last, because they may refine the others (`memory.high`).
pub(crate) fn apply(cgroup: &Opened, limits: &Limits) -> Result<(), Error> {
    limits.check()?;
    let mut journal = Journal::new();
    let steps = [cpuset::apply, cpu::apply, memory::apply, pids::apply, devices::apply, unified::apply];
    for step in steps {
        if let Err(error) = step(cgroup, limits, &mut journal) {
            return Err(journal.roll_back(error));
        }
    }
    Ok(())
}
