// SPDX-License-Identifier: Apache-2.0
//! The calls of `ImageService`, each to its file, and the one that this version does not have.

use proto::cri::image_service_server::ImageService;
use proto::cri::*;
use tokio_stream::Empty;
use tonic::{Request, Response, Status};

use super::super::{Node, guarded, refused};
use super::{image_fs_info, image_status, list_images, pull_image, remove_image};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ImageService for Node {
    async fn list_images(&self, request: Request<ListImagesRequest>) -> Answer<ListImagesResponse> {
        guarded("ListImages", list_images::answer(self, request.into_inner())).await
    }

    type StreamImagesStream = Empty<Result<StreamImagesResponse, Status>>;

    async fn stream_images(&self, _: Request<StreamImagesRequest>) -> Answer<Self::StreamImagesStream> {
        Err(refused::rpc("StreamImages"))
    }

    async fn image_status(&self, request: Request<ImageStatusRequest>) -> Answer<ImageStatusResponse> {
        guarded("ImageStatus", image_status::answer(self, request.into_inner())).await
    }

    async fn pull_image(&self, request: Request<PullImageRequest>) -> Answer<PullImageResponse> {
        guarded("PullImage", pull_image::answer(self, request.into_inner())).await
    }

    async fn remove_image(&self, request: Request<RemoveImageRequest>) -> Answer<RemoveImageResponse> {
        guarded("RemoveImage", remove_image::answer(self, request.into_inner())).await
    }

    async fn image_fs_info(&self, request: Request<ImageFsInfoRequest>) -> Answer<ImageFsInfoResponse> {
        guarded("ImageFsInfo", image_fs_info::answer(self, request.into_inner())).await
    }
}
