// SPDX-License-Identifier: Apache-2.0
//! The images of this node: what is there, what uses it, and how it comes and goes.
//!
//! ```text
//! <root>/oci-layout                      as OCI image layouts have it
//!        blobs/<algorithm>/<hex>         manifests, indexes and configurations (small); layers are kept unpacked only
//!        records/<image id hex>.json     one image: its names and its layers
//!        layers/<diff id hex>/fs         one unpacked layer, ready for overlayfs
//!                            /layer.json what it is, /durable once it is on the disk, /implicit directories that wait for their owner
//!        layers/.tmp-…, layers/.dead-…   being made, being removed
//!        partial/<boot id>/<blob hex>    beginnings of layers whose download broke off
//!        quarantine/                     records that can't be read
//! ```
//! Everything is present at once by a rename. A layer is durable after a background `syncfs`; one that isn't marked so is dropped after a
//! reboot, and with it the images that need it. Lists and look-ups read a snapshot and touch neither lock nor disk.
//!
//! Locks: `change` (one writer of records at a time, only on blocking threads) before `state` (memory, never held over a slow call).

mod adopt;
mod find;
mod flights;
mod gc;
mod holds;
mod layers;
mod layout;
mod load;
mod names;
mod options;
mod partial;
mod pull;
mod records;
mod remove;
mod resolve;
mod usage;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use crate::config::ImageConfig;
use crate::digest::{DiffId, Digest, ImageId};
use crate::error::Error;
use crate::registry::{Registry, Settings};

pub use gc::Collected;
pub use holds::Held;
pub use options::{Options, RetryPolicy};
pub use remove::Removed;
pub use usage::Usage;

use flights::{ImageFlights, LayerTurns};
use layers::Layer;
use layout::Layout;
use records::Record;
use usage::Measure;

/// An image that is complete on this node (CRI `Image`).
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The configuration's digest.
    pub id: ImageId,
    /// `docker.io/library/busybox:1.36`, sorted.
    pub repo_tags: Vec<String>,
    /// `docker.io/library/busybox@sha256:…`, sorted.
    pub repo_digests: Vec<String>,
    /// What its layers and documents take on the disk. Shared layers count in full for each image.
    pub size_bytes: u64,
    /// What it asks of containers.
    pub config: ImageConfig,
    /// Layers, base first, as the configuration lists them (one may occur twice).
    pub layers: Vec<DiffId>,
    /// The kubelet must not collect it.
    pub pinned: bool,
}

/// The image store. Clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

pub(crate) struct Inner {
    layout: Layout,
    options: Options,
    registry: Arc<Registry>,
    state: Mutex<State>,
    snapshot: ArcSwap<Vec<Arc<Image>>>,
    change: Mutex<()>,
    image_flights: ImageFlights,
    layer_turns: LayerTurns,
    layer_permits: Arc<Semaphore>,
    /// Orders the moments at which images got their tags.
    sequence: AtomicU64,
    /// Uncompressed bytes of layers that are being unpacked.
    unpacking_bytes: AtomicU64,
    partials_in_use: Mutex<HashSet<Digest>>,
    sync: layers::SyncState,
}

#[derive(Default)]
struct State {
    images: BTreeMap<ImageId, Stored>,
    layers: HashMap<DiffId, Layer>,
    holds: HashMap<String, Vec<DiffId>>,
    pins: HashMap<DiffId, u32>,
    /// Everything that is no complete layer.
    rest: Measure,
}

struct Stored {
    image: Arc<Image>,
    record: Record,
}

impl Store {
    /// Opens the store below `root`, made if absent. A record that can't be read is put aside; one that lost a layer is dropped. Leftovers
    /// of a crash are removed by [`Store::collect_garbage`].
    ///
    /// # Errors
    /// `Io` and `NoSpace` for directories that can't be made or listed; never for what is in them.
    pub fn open(root: &Path, options: Options) -> Result<Store, Error> {
        let boot_id = layout::boot_id()?;
        Store::open_in_boot(root, options, &boot_id)
    }

    fn open_in_boot(root: &Path, options: Options, boot_id: &str) -> Result<Store, Error> {
        let layout = Layout::create(root, boot_id)?;
        let mut state = State { layers: layers::load(&layout)?, ..State::default() };
        let records = records::load(&layout)?;
        let sequence = records.iter().flat_map(|(record, _)| &record.tags).map(|tag| tag.sequence).max().unwrap_or(0);
        for (record, parsed) in records::without_stale_tags(records) {
            if let Some(missing) = record.layers.iter().find(|layer| !state.layers.contains_key(*layer)) {
                tracing::warn!(image = %record.id, layer = %missing, "drop an image that lost a layer");
                if let Err(error) = records::remove(&layout, &record.id) {
                    tracing::warn!(%error, "leave the record of an image that is not whole");
                }
                continue;
            }
            let image = Arc::new(names::image(&record, parsed.config, &state.layers, &options));
            state.images.insert(record.id.clone(), Stored { image, record });
        }
        state.rest = usage::measure_rest(&layout)?;
        let registry = Registry::new(Settings {
            hosts: options.registry_config.clone(),
            progress_timeout: options.progress_timeout,
            retry: options.retry.clone(),
        });
        let inner = Inner {
            snapshot: ArcSwap::from_pointee(state.images.values().map(|stored| Arc::clone(&stored.image)).collect()),
            layer_permits: Arc::new(Semaphore::new(options.max_parallel_layers.max(1))),
            registry: Arc::new(registry),
            state: Mutex::new(state),
            change: Mutex::new(()),
            image_flights: ImageFlights::default(),
            layer_turns: LayerTurns::default(),
            sequence: AtomicU64::new(sequence + 1),
            unpacking_bytes: AtomicU64::new(0),
            partials_in_use: Mutex::default(),
            sync: layers::SyncState::default(),
            layout,
            options,
        };
        Ok(Store(Arc::new(inner)))
    }

    /// All images, in the order of their ids. An immutable snapshot.
    pub fn list(&self) -> Arc<Vec<Arc<Image>>> {
        self.0.snapshot.load_full()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held left plain data, each change of which is complete in itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// Publishes what `state` holds.
    fn publish(&self, state: &State) {
        self.snapshot.store(Arc::new(state.images.values().map(|stored| Arc::clone(&stored.image)).collect()));
    }
}

/// Runs a blocking piece of work to its end, also when the caller goes away.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // It panicked, or the runtime is shutting down.
        Err(_) => Err(Error::Interrupted { what }),
    }
}
