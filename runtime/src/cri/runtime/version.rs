// SPDX-License-Identifier: Apache-2.0
//! `Version`: who answers. Every kubelet asks at its start and now and then.

use proto::cri::{VersionRequest, VersionResponse};
use tonic::Status;

use crate::cri::Node;

/// The kubelet's own version of the runtime API, which has been this one since the beginning.
const KUBELET_API: &str = "0.1.0";
/// The prefix of container ids in a pod's status (`husk://…`), which tools parse: it never changes.
const RUNTIME_NAME: &str = "husk";
/// The package of the CRI that is served.
const CRI_API: &str = "v1";

pub(super) async fn answer(_: &Node, _: VersionRequest) -> Result<VersionResponse, Status> {
    Ok(VersionResponse {
        version: KUBELET_API.to_owned(),
        runtime_name: RUNTIME_NAME.to_owned(),
        runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
        runtime_api_version: CRI_API.to_owned(),
    })
}
