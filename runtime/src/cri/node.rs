// SPDX-License-Identifier: Apache-2.0
//! What the calls work with: the node's pods, images, network and configuration. Cheap to clone.

use std::sync::Arc;

use sandbox::Pods;
use tonic::Status;

use super::refused::Selinux;
use super::render::Digests;
use crate::config::Config;

/// What the calls work with.
#[derive(Clone)]
pub(crate) struct Node {
    /// Pods and containers.
    pub(crate) pods: Pods,
    /// The image store.
    pub(crate) images: image::Store,
    /// The node's network.
    pub(crate) network: Arc<cni_client::Client>,
    /// The configuration.
    pub(crate) config: Arc<Config>,
    /// Whether this kernel has an SELinux policy.
    pub(crate) selinux: Selinux,
}

impl Node {
    /// The `image_ref`s of the images that are here now, from memory.
    pub(super) fn digests(&self) -> Digests {
        Digests::of(self.images.list().iter().map(Arc::as_ref))
    }
}

impl Selinux {
    /// Looks for the file by which SELinux says that a policy is loaded (selinux(8)).
    pub(crate) fn detect() -> Self {
        if std::path::Path::new("/sys/fs/selinux/enforce").exists() { Self::On } else { Self::Off }
    }
}

/// A failed operation on a pod or a container, as the client sees it.
pub(super) fn failed(error: sandbox::Error) -> Status {
    super::status::sandbox(&error)
}
