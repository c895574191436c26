// SPDX-License-Identifier: Apache-2.0
//! The harness of the end-to-end tests: real nodes, a real daemon, a real registry, real plugins.
//!
//! A test begins with [`world::World::new`], lives in [`world::World::live`] and talks to the daemon through
//! [`client::Client`]; at its end every pod is removed and the [`census`] is compared with the one
//! taken at the beginning. Everything a test makes lives below one directory in `/tmp`, one cgroup and one
//! [`node::Node`]; dropping the world takes all of it back, also when the test failed.
//!
//! The harness knows the CRI, `/proc` and the programs of the system. It knows nothing of husk's
//! inside: not the records, not the monitor's protocol.

pub mod census;
pub mod cgroup;
pub mod client;
pub mod cni;
pub mod daemon;
pub mod event;
pub mod http;
pub mod images;
pub mod limits;
pub mod log;
pub mod node;
pub mod process;
pub mod registry;
pub mod sweep;
pub mod tar;
pub mod world;
