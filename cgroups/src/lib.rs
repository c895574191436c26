// SPDX-License-Identifier: Apache-2.0
//! Cgroup v2, v1 and hybrid hierarchies: create, limit, join, kill, freeze, events.
//!
//! ```text
//!  /proc/self/mountinfo ──▶ Hierarchy ──create(CgroupPath, Limits)──▶ Cgroup ──▶ update, freeze, kill, oom_kills, remove
//!                               │                                       ▲
//!                               └──join_paths──▶ JoinPaths ──(wire)─────┘  the monitor has only the directories
//! ```
//!
//! Entry points: [`Hierarchy::detect`] in the daemon, [`Cgroup::from_join_paths`] in the monitor, [`join_v1`] in the
//! launch child. The crate knows directories, limits and processes; it must not know pods, containers, the CRI or the
//! OCI configuration, and it must stay small, because every pod's monitor links it.
//!
//! Three rules keep it safe on a machine that runs other things:
//! - A [`CgroupPath`] is never the root, and an operation refuses a directory that is the root of a mount: there is no
//!   way to kill or remove a whole hierarchy by mistake.
//! - Interface files are opened below a directory held by descriptor, with `openat2` that refuses symlinks, `..` and
//!   other mounts, and never created: in a directory that is no cgroup everything fails.
//! - `cgroup.procs` is never written, and `cgroup.subtree_control` only when a level lacks a controller, because both
//!   wait for an RCU period (8 ms on an idle node).

mod cgroup;
mod controller;
mod dir;
mod error;
mod flat_keyed;
mod hierarchy;
mod join;
mod journal;
mod limits;
mod members;
mod mountinfo;
mod path;
mod resources;
mod tree;
mod unified_key;

pub use cgroup::{Cgroup, Events, EventsFile, OomWatch};
pub use controller::{Controller, DeviceAccess, DeviceKind, DeviceRule, cpu_weight_of_shares};
pub use error::{Action, Error, Kind, PathFlaw};
pub use hierarchy::{Facts, Hierarchy, JoinPaths, Layout};
pub use join::join_v1;
pub use path::CgroupPath;
pub use resources::{Ceiling, Limits};
pub use unified_key::UnifiedKey;
