// SPDX-License-Identifier: Apache-2.0
//! `StopContainer`: the stop signal, the grace time, then SIGKILL. An unknown id is a container that is stopped
//! already; the stop goes on when the client does not wait for it.

use proto::cri::{StopContainerRequest, StopContainerResponse};
use tonic::Status;

use crate::cri::node::failed;
use crate::cri::{Node, parse};

pub(super) async fn answer(node: &Node, request: StopContainerRequest) -> Result<StopContainerResponse, Status> {
    let grace = parse::stop_grace(&request)?;
    if let Ok(container) = parse::container_id(&node.pods.snapshot(), &request.container_id)? {
        node.pods.stop(container.id, grace).await.map_err(failed)?;
    }
    Ok(StopContainerResponse {})
}
