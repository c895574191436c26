// SPDX-License-Identifier: Apache-2.0
//! What pods need from the outside: a network and images. The daemon plugs `cni-client` and `image` in here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;

use crate::config::{Bandwidth, Dns, PortMapping};
use crate::error::Kind;
use crate::ids::{ContainerId, PodId};

/// A future in a box, for traits that are used as objects.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A failure of a port: its kind and its one sentence.
#[derive(Clone, Debug)]
pub struct PortError {
    /// What it means.
    pub kind: Kind,
    /// The sentence.
    pub message: String,
}

/// Gives pods their addresses. Operations on different pods never wait for each other.
pub trait Network: Send + Sync + 'static {
    /// Attaches the pod's network namespace. What it is about to acquire is on its own record before it does.
    /// A failure leaves nothing behind, or only what [`Network::detach`] takes away.
    fn attach(&self, request: AttachRequest) -> Boxed<'_, Result<Attachment, PortError>>;

    /// Gives back everything that an `attach` of this pod acquired, from the record of that attach; a pod that was
    /// never attached is fine. `netns` is `None` when the namespace is gone.
    fn detach(&self, pod: PodId, netns: Option<PathBuf>) -> Boxed<'_, Result<(), PortError>>;

    /// The addresses that are on record for a pod, for recovery; `None` when it is not attached.
    fn attached(&self, pod: PodId) -> Option<Attachment>;
}

/// What a pod wants from its network.
#[derive(Clone, Debug)]
pub struct AttachRequest {
    /// Which pod.
    pub pod: PodId,
    /// Where its network namespace is pinned.
    pub netns: PathBuf,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// Host ports, those with a host port only.
    pub port_mappings: Vec<PortMapping>,
    /// The pod's annotations.
    pub annotations: BTreeMap<String, String>,
    /// The pod's DNS configuration.
    pub dns: Option<Dns>,
    /// Rates from the pod's annotations.
    pub bandwidth: Option<Bandwidth>,
    /// The pod's cgroup, for plugins that classify by it.
    pub cgroup_parent: String,
}

/// What a pod got from its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its addresses in the plugin's order; the first is the pod's IP.
    pub ips: Vec<IpAddr>,
}

/// Knows which images are on this node and keeps their layers while containers use them.
pub trait Images: Send + Sync + 'static {
    /// Finds an image by id or reference, from memory.
    ///
    /// # Errors
    /// When the text cannot name an image.
    fn find(&self, image: &str) -> Result<Option<ImageFacts>, PortError>;

    /// Keeps the image's layers for a container and tells where they are, topmost first.
    ///
    /// # Errors
    /// When the image is no longer there.
    fn hold(&self, container: ContainerId, image_id: &str) -> Result<HeldLayers, PortError>;

    /// Keeps layers that a recovered container's record names, whether or not their image still has a name.
    fn hold_again(&self, container: ContainerId, layers: &HeldLayers);

    /// Lets the container's layers go.
    fn release(&self, container: ContainerId);
}

/// The layers that a container stands on.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HeldLayers {
    /// Their diff ids, base first (`sha256:…`).
    pub diff_ids: Vec<String>,
    /// Their directories, topmost first, as overlayfs wants them.
    pub directories: Vec<PathBuf>,
}

/// What a container's configuration takes from its image. Labels are left out on purpose: nothing here may branch on
/// what an image's author wrote there (CVE-2026-53488).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// The image id, `sha256:…` of its configuration.
    pub id: String,
    /// A name for people: the first tag, else the first digest, else the id.
    pub reference: String,
    /// `USER`.
    pub user: Option<String>,
    /// `ENV`, each `NAME=value`.
    pub env: Vec<String>,
    /// `ENTRYPOINT`.
    pub entrypoint: Vec<String>,
    /// `CMD`.
    pub cmd: Vec<String>,
    /// `WORKDIR`.
    pub working_dir: Option<String>,
    /// `STOPSIGNAL`, as written.
    pub stop_signal: Option<String>,
    /// `VOLUME`s.
    pub volumes: Vec<String>,
}
