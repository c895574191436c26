// SPDX-License-Identifier: Apache-2.0
//! `StartContainer`: returns when the program is executed, or with the step that failed.

use proto::cri::{StartContainerRequest, StartContainerResponse};
use tonic::Status;

use crate::cri::node::failed;
use crate::cri::{Node, parse};

pub(super) async fn answer(node: &Node, request: StartContainerRequest) -> Result<StartContainerResponse, Status> {
    let container = parse::container_id(&node.pods.snapshot(), &request.container_id)??;
    node.pods.start(container.id).await.map_err(failed)?;
    Ok(StartContainerResponse {})
}
