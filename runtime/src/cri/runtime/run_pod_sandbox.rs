// SPDX-License-Identifier: Apache-2.0
//! `RunPodSandbox`: returns when the pod is READY. A repetition joins the running operation or gets its result.

use proto::cri::{RunPodSandboxRequest, RunPodSandboxResponse};
use tonic::Status;

use crate::cri::node::failed;
use crate::cri::{Node, parse, refused};

pub(super) async fn answer(node: &Node, request: RunPodSandboxRequest) -> Result<RunPodSandboxResponse, Status> {
    let config = parse::pod_config(&request)?;
    refused::pod(request.config.as_ref(), node.selinux)?;
    let id = node.pods.run(config).await.map_err(failed)?;
    Ok(RunPodSandboxResponse { pod_sandbox_id: id.to_string() })
}
