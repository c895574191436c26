// SPDX-License-Identifier: Apache-2.0
//! CNI: conflists, plugin execution, results; knows no pods.
//!
//! ```text
//!  conf_dir ──watch──▶ Snapshot ─┐                        ┌─▶ exec: one plugin, its own process group,
//!                                ▼                        │        a deadline, bounded output
//!  Client::add ──▶ lock id ▸ ledger: intent ▸ chain ADD ──┤
//!                                     ledger: result ◀────┘
//!  Client::del ──▶ lock id ▸ ledger entry ▸ chain DEL (reverse) ▸ entry removed
//! ```
//!
//! Three promises: an ADD that was attempted is on record before the first plugin runs, so it always
//! gets its DEL; a DEL uses the configuration of its ADD and never today's; no lock is held while a
//! plugin runs but the one of its own container id. What plugins and files say is hostile input.
//!
//! Words: an *attachment* is one CNI network on one container id; the *ledger* is the record of them.
//! Entry point: [`Client`]. Specification: CNI 1.1.0 and, for older lists, 0.3.0 to 1.0.0.

pub mod args;
pub mod attachment;
pub mod capability;
mod chain;
pub mod client;
pub mod conf;
mod conf_dir;
mod config_bytes;
pub mod error;
mod exec;
mod failure;
mod keyed_mutex;
pub mod ledger;
mod limits;
pub mod names;
mod readable_fd;
pub mod record;
pub mod result;
pub mod snapshot;
pub mod version;
mod watch;

pub use attachment::{Attach, Attached, Attachment};
pub use capability::CapabilityArgs;
pub use client::{Client, Settings, Timeouts};
pub use error::{Error, Kind};
pub use ledger::Ledger;
pub use names::{ContainerId, InterfaceName, NetworkName, PluginType};
pub use snapshot::Snapshot;
pub use version::SpecVersion;
