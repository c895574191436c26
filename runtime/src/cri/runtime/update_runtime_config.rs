// SPDX-License-Identifier: Apache-2.0
//! `UpdateRuntimeConfig`: the node's pod network, which husk has no use for, since CNI configurations come from the
//! network's own installer. Taking it and doing nothing is what the CRI allows.

use proto::cri::{UpdateRuntimeConfigRequest, UpdateRuntimeConfigResponse};
use tonic::Status;

use crate::cri::{Node, parse};

pub(super) async fn answer(
    _: &Node,
    request: UpdateRuntimeConfigRequest,
) -> Result<UpdateRuntimeConfigResponse, Status> {
    parse::pod_cidrs(&request)?;
    Ok(UpdateRuntimeConfigResponse {})
}
