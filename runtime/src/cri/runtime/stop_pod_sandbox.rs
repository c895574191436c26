// SPDX-License-Identifier: Apache-2.0
//! `StopPodSandbox`: ends the containers with no grace, then the pod, and gives its network back. An unknown id is a
//! pod that is stopped already.

use proto::cri::{StopPodSandboxRequest, StopPodSandboxResponse};
use tonic::Status;

use crate::cri::node::failed;
use crate::cri::{Node, parse};

pub(super) async fn answer(node: &Node, request: StopPodSandboxRequest) -> Result<StopPodSandboxResponse, Status> {
    if let Ok(pod) = parse::pod_id(&node.pods.snapshot(), &request.pod_sandbox_id)? {
        node.pods.stop_pod(pod.id).await.map_err(failed)?;
    }
    Ok(StopPodSandboxResponse {})
}
