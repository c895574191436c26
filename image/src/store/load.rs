// SPDX-License-Identifier: Apache-2.0
//! Loading archives into the store: the same turns, threads and registration as a pull.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt;

use super::holds::Pins;
use super::names::Arrival;
use super::{Image, Inner, Store, blocking};
use crate::error::Error;
use crate::load::{self, Loaded, Planned, PlannedLayer};
use crate::progress::{Board, Line};
use crate::reference::Reference;
use crate::unpack::Expected;

impl Store {
    /// Makes the images of an archive present: an OCI image layout or a `docker save` archive in a tar file, also with gzip or zstd.
    ///
    /// # Errors
    /// `Archive` for a file that is none, or that holds several images when `names` are given, which take the place of
    /// the names in it; everything else as for a pull. Images before the failing one are loaded.
    pub async fn load(&self, archive: PathBuf, names: &[Reference]) -> Result<Vec<Loaded>, Error> {
        let (inner, path) = (Arc::clone(&self.0), archive.clone());
        let mut planned = blocking("the load", move || {
            load::plan(&path, inner.layout.root(), inner.options.unpack.bytes, &inner.options.platform)
        })
        .await?;
        match planned.as_mut_slice() {
            _ if names.is_empty() => {}
            [one] => one.tags = names.iter().map(Reference::canonical).collect(),
            several => {
                let reason = format!("holds {} images, and names can be given to one alone", several.len());
                return Err(Error::Archive { path: archive, reason });
            }
        }
        let mut loaded = Vec::with_capacity(planned.len());
        for image in planned {
            let names = image.tags.clone();
            loaded.push(Loaded { image: self.0.load_image(image).await?, names });
        }
        Ok(loaded)
    }
}

impl Inner {
    async fn load_image(self: &Arc<Inner>, planned: Planned) -> Result<Arc<Image>, Error> {
        let _pins = Pins::new(self, &planned.parsed.diff_ids);
        let work = planned.layers.into_iter().map(|layer| self.load_layer(layer));
        // All are awaited, also after a failure: a thread that reads a file can't be cancelled, and nothing half-made may be left at return.
        let parallel = self.options.max_parallel_layers.max(1);
        let results: Vec<Result<(), Error>> =
            futures_util::stream::iter(work).buffer_unordered(parallel).collect().await;
        results.into_iter().collect::<Result<(), Error>>()?;
        let arrival = Arrival {
            id: planned.id,
            config: planned.parsed.config,
            layers: planned.parsed.diff_ids,
            tags: planned.tags,
            digests: planned.digests,
            documents: planned.documents,
        };
        let registrar = Arc::clone(self);
        let image = blocking("the load", move || registrar.register(arrival)).await?;
        tracing::info!(image = %image.id, tags = ?image.repo_tags, bytes = image.size_bytes, "loaded an image");
        Ok(image)
    }

    async fn load_layer(self: &Arc<Inner>, layer: PlannedLayer) -> Result<(), Error> {
        let turn = self.layer_turns.take(&layer.diff_id).await;
        if self.has_layer(&layer.diff_id) {
            return Ok(());
        }
        let permit = Arc::clone(&self.layer_permits)
            .acquire_owned()
            .await
            .map_err(|_| Error::Interrupted { what: "the load" })?;
        let inner = Arc::clone(self);
        blocking("the load", move || {
            let _keep = (turn, permit);
            let line = Line { board: Arc::new(Board::default()), layer: 0 };
            inner.unpack_layer(layer.section, &Expected { blob: layer.blob, diff_id: layer.diff_id }, &line)
        })
        .await
    }
}
