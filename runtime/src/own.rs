// SPDX-License-Identifier: Apache-2.0
//! The service `husk.v1`: what the command line needs beyond the CRI.

mod load_image;
mod pull_image;

use std::pin::Pin;

use proto::husk::husk_server::Husk;
use proto::husk::{LoadImageRequest, LoadImageResponse, PullImageProgress, PullImageRequest, WhyRequest, WhyResponse};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::cri::{Node, guarded, refused_rpc};

/// What a pull tells.
type Progress = Pin<Box<dyn Stream<Item = Result<PullImageProgress, Status>> + Send>>;

#[tonic::async_trait]
impl Husk for Node {
    async fn load_image(&self, request: Request<LoadImageRequest>) -> Result<Response<LoadImageResponse>, Status> {
        guarded("LoadImage", load_image::answer(self, request.into_inner())).await
    }

    type PullImageStream = Progress;

    async fn pull_image(&self, request: Request<PullImageRequest>) -> Result<Response<Progress>, Status> {
        guarded("PullImage", pull_image::answer(self, request.into_inner())).await
    }

    async fn why(&self, _: Request<WhyRequest>) -> Result<Response<WhyResponse>, Status> {
        Err(refused_rpc("Why"))
    }
}
