// SPDX-License-Identifier: Apache-2.0
//! Images: references, the registry client, the content store, and the safe unpack into directories for overlayfs.
//!
//! The way in is [`store::Store`]: pull and load make images present, [`store::Store::hold`] gives a container its lower directories. This crate knows no
//! pods, no CRI messages and no mounts; everything that comes from a registry or an archive is hostile to it.

mod atomic_file;
pub mod config;
pub mod credentials;
pub mod digest;
pub mod error;
mod hosts;
pub mod limits;
pub mod load;
pub mod manifest;
pub mod platform;
pub mod progress;
pub mod reference;
mod registry;
mod secret;
pub mod store;
pub mod unpack;

#[cfg(test)]
mod sample;

pub use config::ImageConfig;
pub use credentials::{AuthFields, Credentials};
pub use digest::{DiffId, Digest, ImageId};
pub use error::{Error, Kind};
pub use load::Loaded;
pub use platform::Platform;
pub use progress::Progress;
pub use reference::Reference;
pub use store::{Collected, Held, Image, Options, Removed, RetryPolicy, Store, Usage};
