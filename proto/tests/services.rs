// SPDX-License-Identifier: Apache-2.0
//! The generated clients and servers fit together and have the names that the protocol gives them.

use std::pin::Pin;

use husk_proto::husk::husk_client::HuskClient;
use husk_proto::husk::husk_server::{self, Husk, HuskServer};
use husk_proto::husk::pull_image_progress::Event;
use husk_proto::{cri, husk};
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status};

/// Answers so that the test can tell what arrived.
struct Echo;

#[tonic::async_trait]
impl Husk for Echo {
    type PullImageStream = Pin<Box<dyn Stream<Item = Result<husk::PullImageProgress, Status>> + Send>>;

    async fn load_image(
        &self,
        request: Request<husk::LoadImageRequest>,
    ) -> Result<Response<husk::LoadImageResponse>, Status> {
        let request = request.into_inner();
        let image = husk::LoadedImage { image_id: request.path, references: request.tags };
        Ok(Response::new(husk::LoadImageResponse { images: vec![image] }))
    }

    async fn pull_image(
        &self,
        request: Request<husk::PullImageRequest>,
    ) -> Result<Response<Self::PullImageStream>, Status> {
        let request = request.into_inner();
        let layer = Event::Layer(husk::LayerProgress {
            digest: "sha256:1".into(),
            phase: husk::LayerPhase::Downloading.into(),
            downloaded_bytes: 1,
            size_bytes: 2,
        });
        let done = Event::Done(husk::PulledImage {
            image_id: request.auth.unwrap_or_default().password,
            reference: request.reference,
        });
        let events = [layer, done].map(|event| Ok(husk::PullImageProgress { event: Some(event) }));
        Ok(Response::new(Box::pin(tokio_stream::iter(events))))
    }

    async fn why(&self, _: Request<husk::WhyRequest>) -> Result<Response<husk::WhyResponse>, Status> {
        Err(Status::unimplemented("why is not answered here"))
    }
}

#[tokio::test]
async fn a_call_reaches_the_server_and_comes_back() {
    let mut client = HuskClient::new(HuskServer::new(Echo));
    let request = husk::LoadImageRequest { path: "/a.tar".into(), tags: vec!["a:1".into()] };
    let response = client.load_image(request).await.expect("the call succeeds");
    let image = &response.get_ref().images[0];
    assert_eq!(image.image_id, "/a.tar");
    assert_eq!(image.references, ["a:1"]);
}

#[tokio::test]
async fn a_pull_streams_its_events() {
    let mut client = HuskClient::new(HuskServer::new(Echo));
    let request = husk::PullImageRequest {
        reference: "nginx".into(),
        auth: Some(cri::AuthConfig { password: "p".into(), ..Default::default() }),
    };
    let response = client.pull_image(request).await.expect("the call succeeds");
    let items: Vec<_> = response.into_inner().collect().await;
    let events: Vec<_> = items.into_iter().map(|item| item.expect("the stream does not fail").event).collect();
    let [Some(Event::Layer(layer)), Some(Event::Done(done))] = events.as_slice() else {
        panic!("not a layer and an end: {events:?}");
    };
    assert_eq!(layer.phase(), husk::LayerPhase::Downloading);
    assert_eq!((layer.downloaded_bytes, layer.size_bytes), (1, 2));
    assert_eq!(done.reference, "nginx");
    assert_eq!(done.image_id, "p", "the credentials reach the server");
}

#[tokio::test]
async fn a_status_keeps_its_code() {
    let mut client = HuskClient::new(HuskServer::new(Echo));
    let status = client.why(husk::WhyRequest::default()).await.expect_err("the server refuses");
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(status.message(), "why is not answered here");
}

#[test]
fn services_have_their_names_on_the_wire() {
    assert_eq!(husk_server::SERVICE_NAME, "husk.v1.Husk");
    assert_eq!(cri::runtime_service_server::SERVICE_NAME, "runtime.v1.RuntimeService");
    assert_eq!(cri::image_service_server::SERVICE_NAME, "runtime.v1.ImageService");
}
