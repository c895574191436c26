// SPDX-License-Identifier: Apache-2.0
//! Where things are (design: state). Every name is made from ids of our own, never from a request's metadata.

use std::path::{Path, PathBuf};

use crate::ids::{ContainerId, PodId};

/// The directories of one instance of husk.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    root: PathBuf,
    state: PathBuf,
    netns: PathBuf,
}

impl Paths {
    pub(crate) fn new(root: &Path, state: &Path, netns: &Path) -> Self {
        Self { root: root.to_owned(), state: state.to_owned(), netns: netns.to_owned() }
    }

    /// Records of all pods; survives a reboot.
    pub(crate) fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// Records that could not be read.
    pub(crate) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// Live files of all pods; gone after a reboot.
    pub(crate) fn live_pods(&self) -> PathBuf {
        self.state.join("pods")
    }

    pub(crate) fn pod(&self, pod: PodId) -> PathBuf {
        self.pods().join(pod.to_string())
    }

    pub(crate) fn containers(&self, pod: PodId) -> PathBuf {
        self.pod(pod).join("containers")
    }

    pub(crate) fn container(&self, pod: PodId, container: ContainerId) -> PathBuf {
        self.containers(pod).join(container.to_string())
    }

    /// The pod's monitor socket, exit records and generated files.
    pub(crate) fn live_pod(&self, pod: PodId) -> PathBuf {
        self.live_pods().join(pod.to_string())
    }

    /// The exit record of a container, which the monitor writes.
    pub(crate) fn exit(&self, pod: PodId, id: wire::Id) -> PathBuf {
        self.live_pod(pod).join("exits").join(id.to_string())
    }

    /// Where the pod's network namespace is pinned.
    pub(crate) fn netns(&self, pod: PodId) -> PathBuf {
        self.netns.join(format!("husk-{pod}"))
    }
}
