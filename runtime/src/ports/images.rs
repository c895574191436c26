// SPDX-License-Identifier: Apache-2.0
//! Containers' images by the image store.

use image::{DiffId, Error, Image, ImageId, Kind, Store};
use sandbox::ContainerId;
use sandbox::ports::{HeldLayers, ImageFacts, Images, PortError};
use tokio::sync::Notify;

/// The images of this node.
pub(crate) struct StoredImages {
    store: Store,
    /// Told when layers may have lost their last user.
    released: Notify,
}

impl StoredImages {
    /// Those of a store.
    pub(crate) fn new(store: Store) -> Self {
        Self { store, released: Notify::new() }
    }

    /// Takes away what interrupted pulls left, and then, for ever, the layers that containers let go of. One
    /// collection serves all who let go while the one before was at work.
    pub(crate) async fn collect_garbage(&self) {
        loop {
            match self.store.collect_garbage().await {
                Ok(collected) if collected.bytes > 0 => {
                    let (layers, partials, bytes) = (collected.layers, collected.partials, collected.bytes);
                    tracing::info!(layers, partials, bytes, "collect garbage of the image store");
                }
                Ok(_) => {}
                // What could not be removed is tried again the next time.
                Err(error) => tracing::warn!(%error, "collect garbage of the image store"),
            }
            self.released.notified().await;
        }
    }
}

impl Images for StoredImages {
    fn find(&self, image: &str) -> Result<Option<ImageFacts>, PortError> {
        let found = self.store.find(image).map_err(|error| failed(&error))?;
        Ok(found.map(|image| facts(&image)))
    }

    fn hold(&self, container: ContainerId, image_id: &str) -> Result<HeldLayers, PortError> {
        let id = ImageId::parse(image_id).map_err(|error| failed(&error))?;
        let held = self.store.hold(&container.to_string(), &id).map_err(|error| failed(&error))?;
        Ok(HeldLayers {
            diff_ids: held.layers.iter().map(ToString::to_string).collect(),
            directories: held.directories,
        })
    }

    fn hold_again(&self, container: ContainerId, layers: &HeldLayers) {
        // What is not a diff id was never held by this store, and cannot be now.
        let ids: Vec<DiffId> = layers.diff_ids.iter().filter_map(|text| DiffId::parse(text).ok()).collect();
        self.store.hold_layers(&container.to_string(), &ids);
    }

    fn release(&self, container: ContainerId) {
        self.store.release(&container.to_string());
        self.released.notify_one();
    }
}

/// Labels stay behind on purpose: nothing may branch on them (CVE-2026-53488).
fn facts(image: &Image) -> ImageFacts {
    let names = image.repo_tags.first().or(image.repo_digests.first());
    ImageFacts {
        id: image.id.to_string(),
        reference: names.cloned().unwrap_or_else(|| image.id.to_string()),
        user: image.config.user.clone(),
        env: image.config.env.clone(),
        entrypoint: image.config.entrypoint.clone(),
        cmd: image.config.cmd.clone(),
        working_dir: image.config.working_dir.clone(),
        stop_signal: image.config.stop_signal.clone(),
        volumes: image.config.volumes.clone(),
    }
}

fn failed(error: &Error) -> PortError {
    let kind = match error.kind() {
        Kind::NotFound => sandbox::Kind::NotFound,
        Kind::InvalidInput => sandbox::Kind::InvalidInput,
        Kind::Unavailable => sandbox::Kind::Unavailable,
        Kind::Exhausted => sandbox::Kind::Exhausted,
        Kind::Timeout => sandbox::Kind::Timeout,
        Kind::Unsupported => sandbox::Kind::Unsupported,
        Kind::Unauthorized | Kind::Corrupt | Kind::Internal => sandbox::Kind::Internal,
    };
    PortError { kind, message: error.to_string() }
}
