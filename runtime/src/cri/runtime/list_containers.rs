// SPDX-License-Identifier: Apache-2.0
//! `ListContainers`: the kubelet asks once a second; the answer is a copy from memory.

use proto::cri::{ListContainersRequest, ListContainersResponse};
use tonic::Status;

use crate::cri::parse::ContainerSelection;
use crate::cri::{Node, render};

pub(super) async fn answer(node: &Node, request: ListContainersRequest) -> Result<ListContainersResponse, Status> {
    let selection = ContainerSelection::parse(request.filter)?;
    let snapshot = node.pods.snapshot();
    let digests = node.digests();
    let selected = snapshot.containers.values().filter(|container| selection.selects(container));
    let containers = selected.map(|container| render::container(container, &digests)).collect();
    Ok(ListContainersResponse { containers })
}
