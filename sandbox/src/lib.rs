// SPDX-License-Identifier: Apache-2.0
//! Pod and container life: state machines, records, launch configuration, the one teardown, recovery.
//!
//! The entry point is [`Pods`]: it starts by recovering what is there ([`Pods::recover`], which is also the normal
//! start), answers reads from an immutable [`Snapshot`], and carries out the operations of the CRI on its own types.
//!
//! What it must not know: protobuf, gRPC, how a plugin is called or an image is pulled (see [`ports`]).

mod blocking;
pub mod config;
mod container;
mod container_state;
mod create_container;
mod error;
mod exec;
mod exit_reason;
mod files;
mod host_devices;
mod ids;
pub mod limits;
mod monitor_client;
mod monitors;
mod notices;
mod oci;
mod operations;
mod paths;
mod pod;
mod pod_state;
mod pods;
pub mod ports;
pub mod records;
mod recover;
mod remove_container;
mod run_pod;
mod snapshot;
mod start_container;
mod stop_container;
mod stop_pod;
mod teardown;
mod time;

pub use container_state::{ContainerEvent, ContainerState};
pub use error::{Error, Kind};
pub use exec::ExecOutcome;
pub use ids::{ContainerId, PodId};
pub use pod_state::{PodEvent, PodState, Transition};
pub use pods::{Options, Pods};
pub use recover::Recovered;
pub use snapshot::{ContainerPhase, ContainerView, PodView, Snapshot, Unresolved};
