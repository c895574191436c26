// SPDX-License-Identifier: Apache-2.0
//! What `sandbox` needs from outside, by the crates that have it.

mod backlog;
mod images;
mod network;

pub(crate) use backlog::Backlog;
pub(crate) use images::StoredImages;
pub(crate) use network::CniNetwork;
