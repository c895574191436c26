// SPDX-License-Identifier: Apache-2.0
//! `ListImages`: one item for each id with all its names, from memory.

use proto::cri::{ListImagesRequest, ListImagesResponse};
use tonic::Status;

use crate::cri::{Node, parse, render, status};

pub(super) async fn answer(node: &Node, request: ListImagesRequest) -> Result<ListImagesResponse, Status> {
    let images = match parse::wanted_image(request.filter.as_ref())? {
        None => node.images.list().iter().map(|image| render::image(image)).collect(),
        Some(name) => {
            let found = node.images.find(&name).map_err(|error| status::image(&error))?;
            found.iter().map(|image| render::image(image)).collect()
        }
    };
    Ok(ListImagesResponse { images })
}
