// SPDX-License-Identifier: Apache-2.0
//! `ImageStatus`: an image that is not here is an answer without one, not an error.

use proto::cri::{ImageStatusRequest, ImageStatusResponse};
use serde_json::{Value, json};
use tonic::Status;

use crate::cri::parse::Field;
use crate::cri::{Node, parse, render, status};

pub(super) async fn answer(node: &Node, request: ImageStatusRequest) -> Result<ImageStatusResponse, Status> {
    let name = parse::image_name(&Field::of_request("image"), request.image.as_ref())?;
    let Some(image) = node.images.find(&name).map_err(|error| status::image(&error))? else {
        return Ok(ImageStatusResponse::default());
    };
    let facts = || {
        let layers: Vec<String> = image.layers.iter().map(ToString::to_string).collect();
        // The author's document as it is; it was JSON when the image was taken in.
        let document = serde_json::from_str::<Value>(&image.config.raw).unwrap_or_default();
        json!({"imageSpec": document, "layers": layers})
    };
    Ok(ImageStatusResponse { image: Some(render::image(&image)), info: render::info(request.verbose.then(facts)) })
}
