// SPDX-License-Identifier: Apache-2.0
//! The CRI v1 services: one file per RPC, named like it.
//!
//! ```text
//!  request ──▶ parse (checks everything) ──▶ refused (what this version does not do) ──▶ sandbox, image
//!                                                                                          │
//!  response ◀── render ◀── snapshot, outcome            status ◀── status::of(kind) ◀── error
//! ```
//!
//! Protobuf stops here: `parse` and `render` turn it into domain types and back, and no crate below sees it.

mod guard;
mod image;
mod node;
pub(crate) mod parse;
mod refused;
mod render;
mod runtime;
pub(crate) mod status;

pub(crate) use guard::guarded;
pub(crate) use node::Node;
pub(crate) use refused::{Selinux, rpc as refused_rpc};
