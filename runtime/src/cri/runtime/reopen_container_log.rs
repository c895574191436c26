// SPDX-License-Identifier: Apache-2.0
//! `ReopenContainerLog`: the kubelet has renamed the file and wants a new one, which is there when this returns.

use proto::cri::{ReopenContainerLogRequest, ReopenContainerLogResponse};
use tonic::Status;

use crate::cri::node::failed;
use crate::cri::{Node, parse};

pub(super) async fn answer(
    node: &Node,
    request: ReopenContainerLogRequest,
) -> Result<ReopenContainerLogResponse, Status> {
    let container = parse::container_id(&node.pods.snapshot(), &request.container_id)??;
    node.pods.reopen_log(container.id).await.map_err(failed)?;
    Ok(ReopenContainerLogResponse {})
}
