// SPDX-License-Identifier: Apache-2.0
//! Requests to domain types: the only place where what a client sends is checked.
//!
//! Every error names the field as the proto has it, and nothing has been changed when one is returned.

mod bandwidth;
mod capabilities;
mod container;
mod dns;
mod exec;
mod field;
mod filter;
mod ids;
mod image;
mod mounts;
mod namespaces;
mod pod;
mod ports;
mod process;
mod profiles;
mod refusal;
mod resources;
mod security;
mod signal;
mod strings;
mod users;

pub(crate) use container::container_config;
pub(crate) use exec::{exec_sync, stop_grace};
pub(crate) use field::Field;
pub(crate) use filter::{ContainerSelection, PodSelection};
pub(crate) use ids::{container_id, pod_id};
pub(crate) use image::{credentials, image_name, reference, wanted_image};
pub(crate) use pod::{HANDLER, pod_cidrs, pod_config};
pub(crate) use profiles::Profile;
pub(crate) use refusal::Refusal;
pub(crate) use security::{apparmor, seccomp};
pub(crate) use signal::number_in_cri;
pub(crate) use strings::absolute_path;

#[cfg(test)]
pub(crate) mod samples;
