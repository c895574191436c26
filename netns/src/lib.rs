// SPDX-License-Identifier: Apache-2.0
//! Create, pin, identify, run in and remove network namespaces.
//!
//! A namespace is made on a thread that ends at once, gets its `lo` (so that no loopback plugin is
//! needed), and is pinned by a bind mount of its nsfs file, as `ip netns` does it. The pin keeps it
//! alive when every process of the pod is dead, so that CNI DEL always finds it.
//!
//! ```text
//!  create(pin) ──▶ thread: unshare ▸ sysctls ▸ lo up ▸ bind at pin ──▶ Netns { fd, pin }
//!                                                                       │ run(f): thread: setns ▸ f ▸ end
//!  remove(pin) ◀── unmount, unlink; a missing pin or a plain file is fine
//! ```
//!
//! This crate must not know pods or CNI. It never enters a namespace on a thread that lives on.
//! Entry point: [`Netns`].

mod birth;
mod error;
mod interface;
mod limits;
mod namespace;
mod pin;
mod pin_dir;
mod route;

pub use error::{Error, Kind};
pub use interface::{Address, Link, MacAddress, Readiness, Scope};
pub use namespace::{Netns, NetnsId};
