// SPDX-License-Identifier: Apache-2.0
//! OCI config to launch plan: pure, without a system call, so that every plan can be golden-tested and printed.
//!
//! [`compile`] is the entry point. What the OCI config cannot say (layers, the pod's namespaces, this machine's cgroup
//! hierarchies) comes in as [`Facts`]. What the compiler does not understand is an error, never left out.
//!
//! What it must not know: files, processes, the CRI.

mod capability;
mod compile;
mod error;
mod process;

pub use capability::{capability_bit, capability_name};
pub use compile::{Facts, SHM_TYPE, compile};
pub use error::Error;
pub use process::process;
