// SPDX-License-Identifier: Apache-2.0
//! `PullImage` with progress: the stream owns the pull, so that a client that goes away ends it. A slow client holds
//! nothing up: it gets the last word about each layer.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;

use futures_util::stream;
use image::progress::{LayerProgress as Layer, Phase, Snapshot};
use image::{DiffId, Progress};
use proto::cri::ImageSpec;
use proto::husk::pull_image_progress::Event;
use proto::husk::{
    LayerPhase, LayerProgress, PullImageProgress, PullImageRequest, PulledImage, ResolvedImage, ResolvedLayer,
};
use tokio::sync::watch::Receiver;
use tonic::{Response, Status};

use crate::cri::parse::Field;
use crate::cri::{Node, guarded, parse, status};

/// A pull that somebody watches.
type Pull = Pin<Box<dyn Future<Output = Result<PulledImage, Status>> + Send>>;

pub(super) async fn answer(node: &Node, request: PullImageRequest) -> Result<super::Progress, Status> {
    let spec = ImageSpec { image: request.reference, ..ImageSpec::default() };
    let reference = parse::reference(&Field::of_request("reference"), Some(&spec))?;
    let credentials = parse::credentials(request.auth.as_ref())?;
    let (progress, receiver) = Progress::channel();
    let images = node.images.clone();
    let name = reference.canonical();
    let pulled_name = name.clone();
    let pull: Pull = Box::pin(async move {
        let pulled = guarded("PullImage", async {
            images.pull(&reference, credentials, progress).await.map_err(|error| status::image(&error))
        });
        let image = pulled.await.map(Response::into_inner)?;
        Ok(PulledImage { image_id: image.id.to_string(), reference: pulled_name })
    });
    let present = node.images.list().iter().flat_map(|image| image.layers.clone()).collect();
    let watched = Watched::new(name, present, pull, receiver);
    Ok(Box::pin(stream::unfold(watched, Watched::next)))
}

struct Watched {
    /// What is pulled.
    name: String,
    /// Layers that were in the store before.
    present: HashSet<DiffId>,
    /// The pull while it runs.
    pull: Option<Pull>,
    /// Its progress while it has any.
    receiver: Option<Receiver<Snapshot>>,
    /// The layers as they were last told; `None` before they were known.
    told: Option<Vec<LayerProgress>>,
    /// What is to be told next.
    queue: VecDeque<Event>,
    /// How the pull ended, which is told last.
    last: Option<Result<PulledImage, Status>>,
}

impl Watched {
    fn new(name: String, present: HashSet<DiffId>, pull: Pull, receiver: Receiver<Snapshot>) -> Self {
        let (pull, receiver) = (Some(pull), Some(receiver));
        Self { name, present, pull, receiver, told: None, queue: VecDeque::new(), last: None }
    }

    async fn next(mut self) -> Option<(Result<PullImageProgress, Status>, Self)> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some((Ok(PullImageProgress { event: Some(event) }), self));
            }
            if let Some(result) = self.last.take() {
                let told = result.map(|image| PullImageProgress { event: Some(Event::Done(image)) });
                return Some((told, self));
            }
            let pull = self.pull.as_mut()?;
            tokio::select! {
                // What was said comes before how it ended.
                biased;
                () = changed(&mut self.receiver) => self.catch_up(),
                result = pull => {
                    self.pull = None;
                    self.catch_up();
                    self.last = Some(result);
                    if self.told.is_none() && matches!(self.last, Some(Ok(_))) {
                        // The image was here already, so that its layers were never looked at.
                        self.resolved(&[]);
                    }
                }
            }
        }
    }

    /// Queues what has changed since the last time.
    fn catch_up(&mut self) {
        let Some(receiver) = &mut self.receiver else { return };
        let layers = receiver.borrow_and_update().clone();
        if layers.is_empty() {
            return;
        }
        if self.told.is_none() {
            self.resolved(&layers);
        }
        let now: Vec<_> = layers.iter().map(|layer| self.rendered(layer)).collect();
        let told = self.told.replace(now.clone()).unwrap_or_default();
        for (index, layer) in now.into_iter().enumerate() {
            if told.get(index) != Some(&layer) {
                self.queue.push_back(Event::Layer(layer));
            }
        }
    }

    fn resolved(&mut self, layers: &[Layer]) {
        let layers = layers.iter().map(|layer| ResolvedLayer { digest: digest(layer), size_bytes: layer.size_bytes });
        let image = ResolvedImage { image_ref: self.name.clone(), layers: layers.collect() };
        self.queue.push_back(Event::Resolved(image));
        self.told = Some(Vec::new());
    }

    fn rendered(&self, layer: &Layer) -> LayerProgress {
        let phase = match layer.phase {
            Phase::Waiting => LayerPhase::Waiting,
            Phase::Unpacking if layer.done_bytes < layer.size_bytes => LayerPhase::Downloading,
            Phase::Unpacking => LayerPhase::Unpacking,
            Phase::Done if self.present.contains(&layer.diff_id) => LayerPhase::Present,
            Phase::Done => LayerPhase::Done,
        };
        LayerProgress {
            digest: digest(layer),
            phase: phase.into(),
            downloaded_bytes: layer.done_bytes,
            size_bytes: layer.size_bytes,
        }
    }
}

/// What a client knows a layer by.
fn digest(layer: &Layer) -> String {
    layer.blob.as_ref().map_or_else(|| layer.diff_id.to_string(), ToString::to_string)
}

/// Waits for a change; for ever when no more can come.
async fn changed(receiver: &mut Option<Receiver<Snapshot>>) {
    if let Some(open) = receiver
        && open.changed().await.is_ok()
    {
        return;
    }
    // The pull has let go of its end, and its result says the rest. What was said last can still be read.
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures_util::StreamExt as _;
    use image::Digest;
    use tokio::sync::watch;

    use super::*;

    fn layer(name: &str, done_bytes: u64, phase: Phase) -> Layer {
        let diff_id = DiffId::new(Digest::of(name.as_bytes()));
        Layer { blob: None, diff_id, size_bytes: 100, done_bytes, phase }
    }

    fn phases(events: &[Result<Option<Event>, tonic::Code>]) -> Vec<&'static str> {
        let word = |event: &Result<Option<Event>, tonic::Code>| match event {
            Ok(Some(Event::Resolved(_))) => "resolved",
            Ok(Some(Event::Layer(layer))) => layer.phase().as_str_name(),
            Ok(Some(Event::Done(_))) => "done",
            _ => "failed",
        };
        events.iter().map(word).collect()
    }

    async fn told(
        snapshots: Vec<Snapshot>,
        present: &[&str],
        result: Result<PulledImage, Status>,
    ) -> Vec<Result<Option<Event>, tonic::Code>> {
        let (sender, receiver) = watch::channel(Snapshot::new());
        let pull: Pull = Box::pin(async move {
            for snapshot in snapshots {
                sender.send_replace(snapshot);
                tokio::task::yield_now().await;
            }
            result
        });
        let present = present.iter().map(|name| layer(name, 0, Phase::Done).diff_id).collect();
        let watched = Watched::new("r.io/a:1".into(), present, pull, receiver);
        let all: Vec<_> = stream::unfold(watched, Watched::next).collect().await;
        all.into_iter().map(|one| one.map(|message| message.event).map_err(|status| status.code())).collect()
    }

    fn done() -> PulledImage {
        PulledImage { image_id: "i".into(), reference: "r".into() }
    }

    #[tokio::test]
    async fn layers_are_told_as_they_change_and_the_result_last() {
        let snapshots = vec![
            vec![layer("a", 0, Phase::Waiting), layer("b", 0, Phase::Waiting)],
            vec![layer("a", 10, Phase::Unpacking), layer("b", 0, Phase::Waiting)],
            vec![layer("a", 100, Phase::Unpacking), layer("b", 100, Phase::Done)],
            vec![layer("a", 100, Phase::Done), layer("b", 100, Phase::Done)],
        ];
        let events = told(snapshots, &["b"], Ok(done())).await;
        let expected = [
            "resolved",
            "LAYER_PHASE_WAITING",
            "LAYER_PHASE_WAITING",
            "LAYER_PHASE_DOWNLOADING",
            "LAYER_PHASE_UNPACKING",
            "LAYER_PHASE_PRESENT",
            "LAYER_PHASE_DONE",
            "done",
        ];
        assert_eq!(phases(&events), expected);
        let Ok(Some(Event::Resolved(image))) = &events[0] else { panic!("{events:?}") };
        assert_eq!((image.image_ref.as_str(), image.layers.len(), image.layers[0].size_bytes), ("r.io/a:1", 2, 100));
        assert_eq!(events.last(), Some(&Ok(Some(Event::Done(done())))));
    }

    #[tokio::test]
    async fn an_image_that_is_here_and_a_pull_that_fails() {
        assert_eq!(phases(&told(Vec::new(), &[], Ok(done())).await), ["resolved", "done"]);
        let failed = told(Vec::new(), &[], Err(Status::not_found("no"))).await;
        assert_eq!(failed, [Err(tonic::Code::NotFound)]);
        let late = told(vec![vec![layer("a", 0, Phase::Waiting)]], &[], Err(Status::unavailable("no"))).await;
        assert_eq!(phases(&late), ["resolved", "LAYER_PHASE_WAITING", "failed"]);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_ends_the_pull() {
        struct Dropped(Arc<AtomicBool>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let ended = Arc::new(AtomicBool::new(false));
        let guard = Dropped(Arc::clone(&ended));
        let (sender, receiver) = watch::channel(vec![layer("a", 1, Phase::Unpacking)]);
        let pull: Pull = Box::pin(async move {
            let _guard = guard;
            sender.send_modify(|_| ());
            std::future::pending().await
        });
        let mut watched =
            Box::pin(stream::unfold(Watched::new("n".into(), HashSet::new(), pull, receiver), Watched::next));
        assert!(watched.next().await.is_some());
        assert!(!ended.load(Ordering::SeqCst));
        drop(watched);
        assert!(ended.load(Ordering::SeqCst));
    }
}
