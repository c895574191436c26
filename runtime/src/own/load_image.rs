// SPDX-License-Identifier: Apache-2.0
//! `LoadImage`: the images of an archive into the store, as if they had been pulled.

use std::path::PathBuf;

use image::Reference;
use proto::husk::{LoadImageRequest, LoadImageResponse, LoadedImage};
use tonic::Status;

use crate::cri::parse::{self, Field};
use crate::cri::{Node, status};

pub(super) async fn answer(node: &Node, request: LoadImageRequest) -> Result<LoadImageResponse, Status> {
    let path = parse::absolute_path(&Field::of_request("path"), &request.path)?;
    let names = request.tags.iter().map(|tag| Reference::parse(tag)).collect::<Result<Vec<_>, _>>();
    let names = names.map_err(|error| status::image(&error))?;
    let loaded = node.images.load(PathBuf::from(path), &names).await.map_err(|error| status::image(&error))?;
    let images = loaded
        .into_iter()
        .map(|loaded| LoadedImage { image_id: loaded.image.id.to_string(), references: loaded.names });
    Ok(LoadImageResponse { images: images.collect() })
}
