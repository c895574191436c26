// SPDX-License-Identifier: Apache-2.0
//! `PodSandboxStatus`: from the picture in memory, with the containers and the time that it is of.

use proto::cri::{PodSandboxStatusRequest, PodSandboxStatusResponse};
use tonic::Status;

use crate::cri::{Node, parse, render};

pub(super) async fn answer(node: &Node, request: PodSandboxStatusRequest) -> Result<PodSandboxStatusResponse, Status> {
    // Before the picture: it may be newer than the time that is told, but never older.
    let timestamp = render::now();
    let snapshot = node.pods.snapshot();
    let pod = parse::pod_id(&snapshot, &request.pod_sandbox_id)??;
    let digests = node.digests();
    let statuses = snapshot.containers_of(pod.id).map(|container| render::container_status(container, &digests));
    Ok(PodSandboxStatusResponse {
        status: Some(render::pod_status(&pod)),
        info: render::info(request.verbose.then(|| node.pods.verbose_pod(pod.id))),
        containers_statuses: statuses.collect(),
        timestamp,
    })
}
