// SPDX-License-Identifier: Apache-2.0
//! `PullImage`: a client that goes away ends its pull; finished layers stay for the next. Answers with the image's id,
//! which is the same in all calls.

use image::Progress;
use proto::cri::{PullImageRequest, PullImageResponse};
use tonic::Status;

use crate::cri::parse::Field;
use crate::cri::{Node, parse, status};

pub(super) async fn answer(node: &Node, request: PullImageRequest) -> Result<PullImageResponse, Status> {
    let reference = parse::reference(&Field::of_request("image"), request.image.as_ref())?;
    let credentials = parse::credentials(request.auth.as_ref())?;
    let pulled = node.images.pull(&reference, credentials, Progress::none()).await;
    let image = pulled.map_err(|error| status::image(&error))?;
    Ok(PullImageResponse { image_ref: image.id.to_string() })
}
