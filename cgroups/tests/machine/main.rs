// SPDX-License-Identifier: Apache-2.0
//! The real hierarchies of this machine, below cgroups of the tests' own. Needs root.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, also in its fixtures")]

mod cgroup_guard;
mod child_guard;
mod freeze;
mod kill;
mod limits;
mod oom;
mod remove;
