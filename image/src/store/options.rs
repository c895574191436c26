// SPDX-License-Identifier: Apache-2.0
//! What an operator can set.

use std::path::PathBuf;
use std::time::Duration;

use crate::limits;
use crate::platform::Platform;
pub use crate::registry::RetryPolicy;
use crate::unpack;

/// Settings of a store. [`Options::default`] suits a node.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory of `<host>/hosts.toml` files; none means each registry at its own address.
    pub registry_config: Option<PathBuf>,
    /// Layers that are fetched and unpacked at a time, over all pulls.
    pub max_parallel_layers: usize,
    /// A registry that sends nothing for so long is given up.
    pub progress_timeout: Duration,
    /// How failed requests are repeated.
    pub retry: RetryPolicy,
    /// Which manifest of an index is taken.
    pub platform: Platform,
    /// Bounds of one layer.
    pub unpack: unpack::Limits,
    /// How long the beginning of a broken download waits to be continued.
    pub partial_life: Duration,
    /// Canonical names of images that the kubelet must not collect.
    pub pinned: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            registry_config: None,
            max_parallel_layers: limits::PARALLEL_LAYERS,
            progress_timeout: limits::PROGRESS_TIMEOUT,
            retry: RetryPolicy::default(),
            platform: Platform::host(),
            unpack: unpack::Limits::default(),
            partial_life: limits::PARTIAL_LIFE,
            pinned: Vec::new(),
        }
    }
}
