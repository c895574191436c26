// SPDX-License-Identifier: Apache-2.0
//! Pulling: one flight per image, one turn per layer, one stream from network to disk.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use super::flights::FlightKey;
use super::holds::Pins;
use super::names::Arrival;
use super::partial::{Partial, Stream};
use super::{Image, Inner, Store, blocking};
use crate::credentials::Credentials;
use crate::digest::DiffId;
use crate::error::{Error, Kind};
use crate::limits;
use crate::manifest::Descriptor;
use crate::progress::{Board, LayerProgress, Line, Phase, Progress};
use crate::reference::Reference;
use crate::registry::{Piece, Session, Sink};
use crate::unpack::Expected;

impl Store {
    /// Makes an image present (CRI `PullImage`). Dropping the future cancels this caller only; layers that are complete stay for the next
    /// try, and large unfinished ones go on where they broke off.
    ///
    /// # Errors
    /// Every kind; the text of an unreachable registry begins with `RegistryUnavailable`.
    pub async fn pull(
        &self,
        reference: &Reference,
        credentials: Option<Credentials>,
        progress: Progress,
    ) -> Result<Arc<Image>, Error> {
        let key = FlightKey {
            reference: reference.canonical(),
            credentials: credentials.as_ref().map(Credentials::fingerprint),
        };
        let inner = Arc::clone(&self.0);
        let reference = reference.clone();
        self.0.image_flights.join(key, progress, |board| pull(inner, reference, credentials, board)).await
    }
}

async fn pull(
    inner: Arc<Inner>,
    reference: Reference,
    credentials: Option<Credentials>,
    board: Arc<Board>,
) -> Result<Arc<Image>, Error> {
    let session = inner.registry.session(&reference, credentials)?;
    if let Some(image) = inner.unchanged(&session, &reference).await {
        return Ok(image);
    }
    let resolved = inner.resolve(&session, &reference).await?;
    let _pins = Pins::new(&inner, &resolved.parsed.diff_ids);
    let layers: Vec<(Descriptor, DiffId)> =
        resolved.blobs.iter().cloned().zip(resolved.parsed.diff_ids.iter().cloned()).collect();
    let start = |(blob, diff_id): &(Descriptor, DiffId)| LayerProgress {
        blob: Some(blob.digest.clone()),
        diff_id: diff_id.clone(),
        size_bytes: blob.size,
        done_bytes: 0,
        phase: Phase::Waiting,
    };
    board.resolved(layers.iter().map(start).collect());
    let work = layers.into_iter().enumerate().map(|(layer, (blob, diff_id))| {
        let line = Line { board: Arc::clone(&board), layer };
        inner.fetch_layer(&session, blob, diff_id, line)
    });
    futures_util::stream::iter(work)
        .buffer_unordered(inner.options.max_parallel_layers.max(1))
        .try_collect::<()>()
        .await?;
    let arrival = Arrival {
        id: resolved.id,
        config: resolved.parsed.config,
        layers: resolved.parsed.diff_ids,
        tags: reference.tag().map(|_| reference.canonical()).into_iter().collect(),
        digests: vec![reference.with_digest(resolved.top).canonical()],
        documents: resolved.documents,
    };
    let registrar = Arc::clone(&inner);
    let image = blocking("the pull", move || registrar.register(arrival)).await?;
    tracing::info!(image = %image.id, reference = %reference, bytes = image.size_bytes, "pulled an image");
    Ok(image)
}

impl Inner {
    /// The image that has the tag already, if the registry says that the tag still means it: one small request that rate limits don't count.
    async fn unchanged(self: &Arc<Inner>, session: &Session, reference: &Reference) -> Option<Arc<Image>> {
        reference.tag()?;
        let name = reference.canonical();
        let known = self
            .state()
            .images
            .values()
            .find(|stored| stored.record.has_tag(&name))
            .map(|stored| Arc::clone(&stored.image))?;
        let digest = session.digest_of_tag().await?;
        known.repo_digests.contains(&reference.with_digest(digest).canonical()).then_some(())?;
        // It may have been removed or have lost the tag while the registry was asked.
        let still = self.state().images.get(&known.id).is_some_and(|stored| stored.record.has_tag(&name));
        still.then_some(known)
    }

    /// Makes a layer present. Bytes that an earlier try left are used; if they turn out wrong, it is fetched anew once.
    async fn fetch_layer(
        self: &Arc<Inner>,
        session: &Session,
        blob: Descriptor,
        diff_id: DiffId,
        line: Line,
    ) -> Result<(), Error> {
        loop {
            let turn = self.layer_turns.take(&diff_id).await;
            if self.has_layer(&diff_id) {
                line.phase(Phase::Done);
                return Ok(());
            }
            let permit = Arc::clone(&self.layer_permits)
                .acquire_owned()
                .await
                .map_err(|_| Error::Interrupted { what: "the pull" })?;
            line.phase(Phase::Unpacking);
            let partial = Partial::claim(self, &blob.digest, blob.size);
            let had = partial.as_ref().map_or(0, Partial::length);
            match self.stream_layer(session, (&blob, &diff_id), partial, (line.clone(), turn, permit)).await {
                Err(error) if had > 0 && error.kind() == Kind::Corrupt => {
                    tracing::debug!(blob = %blob.digest, %error, "drop a partial download and start over");
                }
                other => return other,
            }
        }
    }

    /// One stream from the network through this task and a blocking thread to the disk. `keep` is what that thread must hold to its end.
    async fn stream_layer<K: Send + 'static>(
        self: &Arc<Inner>,
        session: &Session,
        (blob, diff_id): (&Descriptor, &DiffId),
        partial: Option<Partial>,
        keep: (Line, tokio::sync::OwnedMutexGuard<()>, K),
    ) -> Result<(), Error> {
        let start = partial.as_ref().map_or(0, Partial::length);
        let (sender, receiver) = mpsc::channel(limits::CHANNEL_CHUNKS);
        let expected = Expected { blob: Some((blob.digest.clone(), blob.size)), diff_id: diff_id.clone() };
        let inner = Arc::clone(self);
        let worker = tokio::task::spawn_blocking(move || {
            // Dropped in reverse: the file is free before the turn is.
            let (line, _turn, _permit) = keep;
            let mut partial = partial;
            let result =
                Stream::new(partial.as_ref(), receiver).and_then(|stream| inner.unpack_layer(stream, &expected, &line));
            if let Some(partial) = &mut partial {
                partial.settle(&result);
            }
            if result.is_ok() {
                line.phase(Phase::Done);
            }
            result
        });
        let last = match session.blob(blob, start, Sink::Channel(&sender)).await {
            Ok(()) => Piece::End,
            Err(error) => Piece::Failed(error),
        };
        // A thread that no longer listens has ended with an error of its own. Either way its result is the one that counts.
        let _ended_early = sender.send(last).await;
        drop(sender);
        worker.await.unwrap_or(Err(Error::Interrupted { what: "a layer" }))
    }
}
