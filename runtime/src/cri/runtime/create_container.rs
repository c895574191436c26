// SPDX-License-Identifier: Apache-2.0
//! `CreateContainer`: finds everything that can be wrong; nothing of the container runs yet. A repetition joins the
//! running operation or gets its result.

use proto::cri::{CreateContainerRequest, CreateContainerResponse};
use tonic::Status;

use crate::cri::node::failed;
use crate::cri::{Node, parse, refused};

pub(super) async fn answer(node: &Node, request: CreateContainerRequest) -> Result<CreateContainerResponse, Status> {
    let pod = parse::pod_id(&node.pods.snapshot(), &request.pod_sandbox_id)??;
    let config = parse::container_config(request.config.as_ref(), &pod.config)?;
    refused::container(request.config.as_ref(), node.selinux)?;
    let id = node.pods.create(pod.id, config).await.map_err(failed)?;
    Ok(CreateContainerResponse { container_id: id.to_string() })
}
