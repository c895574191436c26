// SPDX-License-Identifier: Apache-2.0
//! `ContainerStatus`: from the picture in memory.

use proto::cri::{ContainerStatusRequest, ContainerStatusResponse};
use tonic::Status;

use crate::cri::node::failed;
use crate::cri::{Node, parse, render};

pub(super) async fn answer(node: &Node, request: ContainerStatusRequest) -> Result<ContainerStatusResponse, Status> {
    let container = parse::container_id(&node.pods.snapshot(), &request.container_id)??;
    // Only the verbose answer reads a file, and nothing waits for it but this call.
    let facts = match request.verbose {
        true => Some(node.pods.verbose_container(container.id).await.map_err(failed)?),
        false => None,
    };
    Ok(ContainerStatusResponse {
        status: Some(render::container_status(&container, &node.digests())),
        info: render::info(facts),
    })
}
