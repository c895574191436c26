// SPDX-License-Identifier: Apache-2.0
//! What a pod and a container shall be: the CRI's configuration, checked once at the edge and typed from then on.

mod container;
mod pod;
mod resources;
mod signal;

pub use container::{
    CapabilityChange, ContainerConfig, ContainerKey, Environment, IdentityRequest, ImageRequest, MountRequest,
    SecurityRequest, StdinRequest,
};
pub use pod::{Bandwidth, Dns, NetworkMode, PidMode, PodConfig, PodKey, PortMapping, Protocol, Sharing};
pub use resources::Resources;
pub use signal::{Signal, SignalError};
