// SPDX-License-Identifier: Apache-2.0
//! Containers.

use proto::cri;
use sandbox::config::{ContainerKey, MountRequest};
use sandbox::{ContainerPhase, ContainerView};

use super::{Digests, nanoseconds, resources};
use crate::cri::parse;

/// The state that clients see: what belongs to it (times, code) is there exactly when it is.
pub(crate) fn container_state(view: &ContainerView) -> cri::ContainerState {
    match view.phase {
        ContainerPhase::Created => cri::ContainerState::ContainerCreated,
        ContainerPhase::Running { .. } => cri::ContainerState::ContainerRunning,
        ContainerPhase::Exited { .. } => cri::ContainerState::ContainerExited,
    }
}

/// An item of ListContainers.
pub(crate) fn container(view: &ContainerView, digests: &Digests) -> cri::Container {
    cri::Container {
        id: view.id.to_string(),
        pod_sandbox_id: view.pod.to_string(),
        metadata: Some(metadata(&view.config.key)),
        image: Some(image_spec(view)),
        image_ref: digests.reference(&view.image_id),
        state: container_state(view).into(),
        created_at: nanoseconds(view.created_at_ns),
        labels: view.config.labels.clone().into_iter().collect(),
        annotations: view.config.annotations.clone().into_iter().collect(),
        image_id: view.image_id.clone(),
    }
}

/// The status of ContainerStatus.
pub(crate) fn container_status(view: &ContainerView, digests: &Digests) -> cri::ContainerStatus {
    let mut status = cri::ContainerStatus {
        id: view.id.to_string(),
        metadata: Some(metadata(&view.config.key)),
        state: container_state(view).into(),
        created_at: nanoseconds(view.created_at_ns),
        image: Some(image_spec(view)),
        image_ref: digests.reference(&view.image_id),
        labels: view.config.labels.clone().into_iter().collect(),
        annotations: view.config.annotations.clone().into_iter().collect(),
        // The kubelet finds the termination log's host path here.
        mounts: view.config.mounts.iter().map(mount).collect(),
        // The full path: the kubelet rotates this very file.
        log_path: view.log_path.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
        resources: resources::resources(&view.config.resources),
        image_id: view.image_id.clone(),
        user: Some(user(&view.user)),
        stop_signal: parse::number_in_cri(view.stop_signal).into(),
        ..Default::default()
    };
    match &view.phase {
        ContainerPhase::Created => {}
        ContainerPhase::Running { started_at_ns, .. } => status.started_at = nanoseconds(*started_at_ns),
        ContainerPhase::Exited { started_at_ns, finished_at_ns, exit_code, reason, message } => {
            status.started_at = nanoseconds(*started_at_ns);
            status.finished_at = nanoseconds(*finished_at_ns);
            status.exit_code = *exit_code;
            status.reason = (*reason).to_owned();
            status.message.clone_from(message);
        }
    }
    status
}

fn metadata(key: &ContainerKey) -> cri::ContainerMetadata {
    cri::ContainerMetadata { name: key.name.clone(), attempt: key.attempt }
}

/// The image as a person names it; the id is in `image_id`.
fn image_spec(view: &ContainerView) -> cri::ImageSpec {
    cri::ImageSpec {
        image: view.image_reference.clone(),
        annotations: view.config.image.annotations.clone().into_iter().collect(),
        user_specified_image: view.config.image.user_specified.clone(),
        ..Default::default()
    }
}

fn mount(request: &MountRequest) -> cri::Mount {
    cri::Mount {
        container_path: request.container_path.clone(),
        host_path: request.host_path.to_string_lossy().into_owned(),
        readonly: request.readonly,
        ..Default::default()
    }
}

fn user((uid, gid, groups): &(u32, u32, Vec<u32>)) -> cri::ContainerUser {
    let linux = cri::LinuxContainerUser {
        uid: i64::from(*uid),
        gid: i64::from(*gid),
        supplemental_groups: groups.iter().map(|group| i64::from(*group)).collect(),
    };
    cri::ContainerUser { linux: Some(linux) }
}

#[cfg(test)]
mod tests {
    use sandbox::ContainerState;
    use sandbox::config::Resources;

    use super::*;
    use crate::cri::parse::samples;

    fn view(state: ContainerState, phase: ContainerPhase) -> ContainerView {
        samples::container_view("c1", &samples::pod_view("ab"), state, phase)
    }

    #[test]
    fn each_phase_has_its_own_facts() {
        let digests = Digests::default();
        let created = container_status(&view(ContainerState::Starting, ContainerPhase::Created), &digests);
        assert_eq!((created.state, created.started_at, created.finished_at), (0, 0, 0));
        let running = ContainerPhase::Running { pid: 7, started_at_ns: 3_000 };
        let running = container_status(&view(ContainerState::Running, running), &digests);
        assert_eq!((running.state, running.started_at, running.finished_at), (1, 3_000, 0));
        let exited = ContainerPhase::Exited {
            started_at_ns: 3_000,
            finished_at_ns: 4_000,
            exit_code: 137,
            reason: "OOMKilled",
            message: "m".into(),
        };
        let exited = container_status(&view(ContainerState::Exited, exited), &digests);
        assert_eq!((exited.state, exited.started_at, exited.finished_at), (2, 3_000, 4_000));
        assert_eq!((exited.exit_code, exited.reason.as_str(), exited.message.as_str()), (137, "OOMKilled", "m"));
    }

    #[test]
    fn what_the_kubelet_reads_is_there() {
        let digests = Digests::default();
        let mut view = view(ContainerState::Created, ContainerPhase::Created);
        let mut config = samples::container_config();
        config.mounts.push(cri::Mount {
            container_path: "/dev/termination-log".into(),
            host_path: "/var/lib/kubelet/t".into(),
            readonly: true,
            ..Default::default()
        });
        config.image.as_mut().unwrap().user_specified_image = "busybox:1".into();
        view.config = parse::container_config(Some(&config), &samples::pod_config()).unwrap().into();
        let status = container_status(&view, &digests);
        assert_eq!(status.mounts, config.mounts);
        assert_eq!(status.log_path, "/var/log/pods/web/app/0.log");
        assert_eq!((status.image_id.as_str(), status.image_ref.as_str()), ("sha256:abc", "sha256:abc"));
        assert_eq!(status.stop_signal, cri::Signal::Sigterm as i32);
        let user = status.user.unwrap().linux.unwrap();
        assert_eq!((user.uid, user.gid, user.supplemental_groups), (1000, 100, vec![5, 6]));
        let image = status.image.unwrap();
        assert_eq!(image.image, "docker.io/library/busybox:latest");
        assert_eq!(image.user_specified_image, "busybox:1");
        let item = container(&view, &digests);
        assert_eq!((item.image_id, item.image_ref), (status.image_id, status.image_ref));
        assert_eq!(item.pod_sandbox_id.len(), 64);
    }

    #[test]
    fn resources_that_are_set_come_back() {
        assert_eq!(resources::resources(&Resources::default()), None);
        let set = Resources { cpu_quota_us: Some(5), oom_score_adj: Some(-1), ..Resources::default() };
        let linux = resources::resources(&set).unwrap().linux.unwrap();
        assert_eq!((linux.cpu_quota, linux.oom_score_adj, linux.cpu_period), (5, -1, 0));
    }
}
