// SPDX-License-Identifier: Apache-2.0
//! `RemoveContainer`: by force if it runs. An unknown id is a container that is removed already. The log file is the
//! kubelet's and stays.

use proto::cri::{RemoveContainerRequest, RemoveContainerResponse};
use tonic::Status;

use crate::cri::node::failed;
use crate::cri::{Node, parse};

pub(super) async fn answer(node: &Node, request: RemoveContainerRequest) -> Result<RemoveContainerResponse, Status> {
    if let Ok(container) = parse::container_id(&node.pods.snapshot(), &request.container_id)? {
        node.pods.remove(container.id).await.map_err(failed)?;
    }
    Ok(RemoveContainerResponse {})
}
