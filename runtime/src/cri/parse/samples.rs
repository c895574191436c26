// SPDX-License-Identifier: Apache-2.0
//! Requests and pictures that the tests of this crate begin with.

use std::sync::Arc;

use proto::cri;
use sandbox::config::{ContainerConfig, PodConfig, Signal};
use sandbox::{ContainerPhase, ContainerState, ContainerView, PodState, PodView, Snapshot};

use super::{container_config as parse_container, pod_config as parse_pod};

/// A right `RunPodSandbox`.
pub(crate) fn run_pod_sandbox() -> cri::RunPodSandboxRequest {
    let metadata =
        cri::PodSandboxMetadata { name: "web".into(), uid: "u-1".into(), namespace: "default".into(), attempt: 0 };
    let config = cri::PodSandboxConfig { metadata: Some(metadata), ..Default::default() };
    cri::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() }
}

/// The pod that it makes.
pub(crate) fn pod_config() -> PodConfig {
    parse_pod(&run_pod_sandbox()).unwrap()
}

/// A right `ContainerConfig`.
pub(crate) fn container_config() -> cri::ContainerConfig {
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: "app".into(), attempt: 0 }),
        image: Some(cri::ImageSpec { image: "busybox".into(), ..Default::default() }),
        ..Default::default()
    }
}

/// The container that it makes.
pub(crate) fn container() -> ContainerConfig {
    parse_container(Some(&container_config()), &pod_config()).unwrap()
}

/// A ready pod with an id that begins so.
pub(crate) fn pod_view(id: &str) -> PodView {
    PodView {
        id: format!("{id:0<64}").parse().unwrap(),
        config: Arc::new(pod_config()),
        state: PodState::Ready,
        created_at_ns: 1_000,
        ips: vec!["10.88.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
        netns: Some("/run/netns/husk-1".into()),
        pause_pid: 10,
        monitor_pid: 9,
        reason: None,
    }
}

/// A container of a pod in a phase.
pub(crate) fn container_view(id: &str, pod: &PodView, state: ContainerState, phase: ContainerPhase) -> ContainerView {
    ContainerView {
        id: format!("{id:0<64}").parse().unwrap(),
        pod: pod.id,
        config: Arc::new(container()),
        image_id: "sha256:abc".into(),
        image_reference: "docker.io/library/busybox:latest".into(),
        created_at_ns: 2_000,
        state,
        phase,
        log_path: Some("/var/log/pods/web/app/0.log".into()),
        stop_signal: Signal::TERM,
        user: (1000, 100, vec![5, 6]),
    }
}

/// A picture with pods whose ids begin so.
pub(crate) fn snapshot(ids: &[&str]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for id in ids {
        let view = pod_view(id);
        snapshot.pods.insert(view.id, Arc::new(view));
    }
    snapshot
}
