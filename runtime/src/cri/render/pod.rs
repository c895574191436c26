// SPDX-License-Identifier: Apache-2.0
//! Pods.

use proto::cri;
use proto::cri::NamespaceMode;
use sandbox::config::{NetworkMode, PidMode, PodConfig, PodKey, Sharing};
use sandbox::{PodState, PodView};

use super::nanoseconds;

/// READY is a pod that is up; every other is NOTREADY.
pub(crate) fn pod_state(state: PodState) -> cri::PodSandboxState {
    match state {
        PodState::Ready => cri::PodSandboxState::SandboxReady,
        PodState::Opening | PodState::Dead | PodState::Stopping | PodState::Stopped | PodState::Removing => {
            cri::PodSandboxState::SandboxNotready
        }
    }
}

/// An item of ListPodSandbox.
pub(crate) fn pod(view: &PodView) -> cri::PodSandbox {
    cri::PodSandbox {
        id: view.id.to_string(),
        metadata: Some(metadata(&view.config.key)),
        state: pod_state(view.state).into(),
        created_at: nanoseconds(view.created_at_ns),
        labels: view.config.labels.clone().into_iter().collect(),
        annotations: view.config.annotations.clone().into_iter().collect(),
        runtime_handler: view.config.runtime_handler.clone(),
    }
}

/// The status of PodSandboxStatus.
pub(crate) fn pod_status(view: &PodView) -> cri::PodSandboxStatus {
    // A pod on the host's network has no address of its own: the kubelet fills in the node's.
    let mut ips = view.ips.iter().map(ToString::to_string);
    let network = cri::PodSandboxNetworkStatus {
        ip: ips.next().unwrap_or_default(),
        additional_ips: ips.map(|ip| cri::PodIp { ip }).collect(),
    };
    let namespaces = cri::Namespace { options: Some(namespaces(&view.config)) };
    cri::PodSandboxStatus {
        id: view.id.to_string(),
        metadata: Some(metadata(&view.config.key)),
        state: pod_state(view.state).into(),
        created_at: nanoseconds(view.created_at_ns),
        network: Some(network),
        linux: Some(cri::LinuxPodSandboxStatus { namespaces: Some(namespaces) }),
        labels: view.config.labels.clone().into_iter().collect(),
        annotations: view.config.annotations.clone().into_iter().collect(),
        runtime_handler: view.config.runtime_handler.clone(),
    }
}

fn metadata(key: &PodKey) -> cri::PodSandboxMetadata {
    cri::PodSandboxMetadata {
        name: key.name.clone(),
        uid: key.uid.clone(),
        namespace: key.namespace.clone(),
        attempt: key.attempt,
    }
}

fn namespaces(config: &PodConfig) -> cri::NamespaceOption {
    let network = match config.network {
        NetworkMode::Pod => NamespaceMode::Pod,
        NetworkMode::Node => NamespaceMode::Node,
    };
    let pid = match config.pid {
        PidMode::Pod => NamespaceMode::Pod,
        PidMode::Container => NamespaceMode::Container,
        PidMode::Node => NamespaceMode::Node,
    };
    let ipc = match config.ipc {
        Sharing::Pod => NamespaceMode::Pod,
        Sharing::Node => NamespaceMode::Node,
    };
    cri::NamespaceOption { network: network.into(), pid: pid.into(), ipc: ipc.into(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::parse::samples;

    #[test]
    fn only_ready_is_ready() {
        for state in PodState::ALL {
            let ready = pod_state(state) == cri::PodSandboxState::SandboxReady;
            assert_eq!(ready, state == PodState::Ready, "{state:?}");
        }
    }

    #[test]
    fn the_first_address_is_the_pods() {
        let view = samples::pod_view("ab");
        let status = pod_status(&view);
        let network = status.network.unwrap();
        assert_eq!((network.ip.as_str(), network.additional_ips[0].ip.as_str()), ("10.88.0.2", "fd00::2"));
        assert_eq!((status.id.len(), status.created_at, status.state), (64, 1_000, 0));
        assert_eq!(status.metadata, samples::run_pod_sandbox().config.unwrap().metadata);
        assert_eq!(pod(&view).metadata, status.metadata);
    }

    #[test]
    fn namespaces_come_back_as_asked() {
        let mut request = samples::run_pod_sandbox();
        let asked = cri::NamespaceOption { network: 2, pid: 1, ipc: 2, ..Default::default() };
        let linux = request.config.as_mut().unwrap().linux.get_or_insert_default();
        linux.security_context.get_or_insert_default().namespace_options = Some(asked.clone());
        let config = crate::cri::parse::pod_config(&request).unwrap();
        let view = PodView { config: config.into(), ips: Vec::new(), ..samples::pod_view("ab") };
        let status = pod_status(&view);
        assert_eq!(status.linux.unwrap().namespaces.unwrap().options, Some(asked));
        assert_eq!(status.network, Some(cri::PodSandboxNetworkStatus::default()));
    }
}
