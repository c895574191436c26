// SPDX-License-Identifier: Apache-2.0
//! `RemovePodSandbox`: removes the pod with its containers, by force if need be. An unknown id is a pod that is
//! removed already. The log directory is the kubelet's and stays.

use proto::cri::{RemovePodSandboxRequest, RemovePodSandboxResponse};
use tonic::Status;

use crate::cri::node::failed;
use crate::cri::{Node, parse};

pub(super) async fn answer(node: &Node, request: RemovePodSandboxRequest) -> Result<RemovePodSandboxResponse, Status> {
    if let Ok(pod) = parse::pod_id(&node.pods.snapshot(), &request.pod_sandbox_id)? {
        node.pods.remove_pod(pod.id).await.map_err(failed)?;
    }
    Ok(RemovePodSandboxResponse {})
}
