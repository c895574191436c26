// SPDX-License-Identifier: Apache-2.0
//! `ListPodSandbox`: the kubelet asks once a second; the answer is a copy from memory.

use proto::cri::{ListPodSandboxRequest, ListPodSandboxResponse};
use tonic::Status;

use crate::cri::parse::PodSelection;
use crate::cri::{Node, render};

pub(super) async fn answer(node: &Node, request: ListPodSandboxRequest) -> Result<ListPodSandboxResponse, Status> {
    let selection = PodSelection::parse(request.filter)?;
    let snapshot = node.pods.snapshot();
    let selected = snapshot.pods.values().filter(|pod| selection.selects(pod));
    Ok(ListPodSandboxResponse { items: selected.map(|pod| render::pod(pod)).collect() })
}
