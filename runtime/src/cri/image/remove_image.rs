// SPDX-License-Identifier: Apache-2.0
//! `RemoveImage`: by name that name, by id all of them. An image that is not here is removed already; layers that a
//! container stands on stay until it is gone.

use proto::cri::{RemoveImageRequest, RemoveImageResponse};
use tonic::Status;

use crate::cri::parse::Field;
use crate::cri::{Node, parse, status};

pub(super) async fn answer(node: &Node, request: RemoveImageRequest) -> Result<RemoveImageResponse, Status> {
    let name = parse::image_name(&Field::of_request("image"), request.image.as_ref())?;
    node.images.remove(&name).await.map_err(|error| status::image(&error))?;
    Ok(RemoveImageResponse {})
}
