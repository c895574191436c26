// SPDX-License-Identifier: Apache-2.0
//! Unpacked layers: made aside, present by one rename, durable later.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::layout::{DEAD, Layout, names};
use super::usage::{Measure, measure};
use super::{Inner, State};
use crate::digest::{DiffId, Digest};
use crate::error::Error;
use crate::progress::Line;
use crate::unpack::{self, Applied, Expected, Observer};
use crate::{atomic_file, limits};

const VERSION: u32 = 1;
const DESCRIPTION: &str = "layer.json";
const DURABLE: &str = "durable";
/// NUL-separated paths that wait for the first image, see `adopt`.
pub(super) const IMPLICIT: &str = "implicit";
/// The tree that overlayfs gets.
pub(super) const TREE: &str = "fs";

/// A layer that is present.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layer {
    pub(super) measure: Measure,
    pub(super) hides_lower: bool,
    pub(super) durability: Durability,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    OnDisk,
    InPageCache,
}

impl Layer {
    /// The mark is an empty file: one more inode, no bytes.
    fn mark_durable(&mut self) {
        if self.durability == Durability::InPageCache {
            self.durability = Durability::OnDisk;
            self.measure.inodes += 1;
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    version: u32,
    diff_id: DiffId,
    boot_id: String,
    entries: u64,
    hides_lower: bool,
    measure: Measure,
}

/// Finds the layers of a store. What isn't a complete and durable layer of this or an earlier boot becomes garbage.
pub(super) fn load(layout: &Layout) -> Result<HashMap<DiffId, Layer>, Error> {
    let mut layers = HashMap::new();
    for name in names(&layout.layers())? {
        if name.starts_with(DEAD) {
            continue;
        }
        let path = layout.layers().join(&name);
        let loaded = Digest::from_hex(&name).map(DiffId::new).and_then(|id| Some((read(layout, &path, &id)?, id)));
        match loaded {
            Some((layer, id)) => {
                layers.insert(id, layer);
            }
            None => {
                if !name.starts_with(atomic_file::TEMPORARY) {
                    tracing::warn!(layer = %path.display(), "drop a layer that is incomplete or was not yet on disk before the reboot");
                }
                if let Err(error) = std::fs::rename(&path, layout.dead_layer()) {
                    tracing::warn!(layer = %path.display(), %error, "leave something that is no layer");
                }
            }
        }
    }
    Ok(layers)
}

fn read(layout: &Layout, path: &Path, id: &DiffId) -> Option<Layer> {
    let bytes = atomic_file::read(&path.join(DESCRIPTION), limits::RECORD_BYTES).ok()??;
    let description: Description = serde_json::from_slice(&bytes).ok()?;
    let durable = path.join(DURABLE).exists();
    let usable = durable || description.boot_id == layout.boot_id();
    if description.version != VERSION || description.diff_id != *id || !usable || !path.join(TREE).is_dir() {
        return None;
    }
    let mut layer = Layer {
        measure: description.measure,
        hides_lower: description.hides_lower,
        durability: Durability::InPageCache,
    };
    if durable {
        layer.mark_durable();
    }
    Some(layer)
}

/// Removes its tree unless the layer was finished.
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = std::fs::remove_dir_all(&path)
        {
            tracing::warn!(path = %path.display(), %error, "leave an unfinished layer to the next collection");
        }
    }
}

/// Counts for the progress and for the disk usage; the latter is taken back when the layer is finished or given up.
struct Gauge<'a> {
    line: &'a Line,
    total: &'a AtomicU64,
    mine: AtomicU64,
}

impl Observer for Gauge<'_> {
    fn compressed(&self, bytes: u64) {
        self.line.add(bytes);
    }

    fn plain(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
        self.mine.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.total.fetch_sub(self.mine.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Inner {
    pub(super) fn has_layer(&self, diff_id: &DiffId) -> bool {
        self.state().layers.contains_key(diff_id)
    }

    /// Unpacks a layer from its bytes and makes it present. Blocking; the caller has the layer's turn.
    pub(super) fn unpack_layer(&self, source: impl Read, expected: &Expected, line: &Line) -> Result<(), Error> {
        let temporary = atomic_file::temporary(&self.layout.layers());
        let tree = temporary.join(TREE);
        let mut unfinished = Unfinished(Some(temporary.clone()));
        std::fs::DirBuilder::new().mode(0o700).create(&temporary).map_err(|e| Error::io("create", &temporary, e))?;
        std::fs::DirBuilder::new().mode(0o755).create(&tree).map_err(|e| Error::io("create", &tree, e))?;
        // The umask must not decide what containers see.
        let open =
            std::fs::set_permissions(&tree, std::fs::Permissions::from_mode(0o755)).and_then(|()| File::open(&tree));
        let root = open.map_err(|e| Error::io("open", &tree, e))?;
        let gauge = Gauge { line, total: &self.unpacking_bytes, mine: AtomicU64::new(0) };
        let applied = unpack::stream(source, expected, root.as_fd(), &self.options.unpack, &gauge)?;
        let layer = self.describe(&temporary, &expected.diff_id, &applied)?;
        let place = self.layout.layer(&expected.diff_id);
        let mut state = self.state();
        std::fs::rename(&temporary, &place).map_err(|e| Error::io("rename to", &place, e))?;
        unfinished.0 = None;
        state.layers.insert(expected.diff_id.clone(), layer);
        drop(gauge);
        Ok(())
    }

    fn describe(&self, directory: &Path, diff_id: &DiffId, applied: &Applied) -> Result<Layer, Error> {
        let mut description = Description {
            version: VERSION,
            diff_id: diff_id.clone(),
            boot_id: self.layout.boot_id().to_owned(),
            entries: applied.entries,
            hides_lower: applied.hides_lower,
            measure: Measure::default(),
        };
        let path = directory.join(DESCRIPTION);
        let write = |description: &Description| {
            let bytes =
                serde_json::to_vec(description).map_err(|e| Error::corrupt("a layer description", e.to_string()))?;
            atomic_file::replace(&path, &bytes)
        };
        // Written twice: the first one is measured with the rest, and the second takes the same block.
        write(&description)?;
        description.measure = measure(directory)?;
        write(&description)?;
        // Not measured: it goes when the first image is registered.
        if !applied.implicit.is_empty() {
            let list = applied.implicit.join(&0);
            atomic_file::replace(&directory.join(IMPLICIT), &list)?;
        }
        Ok(Layer {
            measure: description.measure,
            hides_lower: applied.hides_lower,
            durability: Durability::InPageCache,
        })
    }

    /// Brings layers to the disk in the background and marks them. One run at a time; what arrives during it gets another.
    pub(super) fn sync_soon(self: &Arc<Inner>) {
        let mut phase = self.sync.0.lock().unwrap_or_else(PoisonError::into_inner);
        *phase = match *phase {
            SyncPhase::Idle => {
                let inner = Arc::clone(self);
                tokio::task::spawn_blocking(move || inner.sync_until_idle());
                SyncPhase::Running
            }
            SyncPhase::Running | SyncPhase::RunningStale => SyncPhase::RunningStale,
        };
    }

    fn sync_until_idle(&self) {
        loop {
            if let Err(error) = self.sync_once() {
                tracing::warn!(%error, "leave layers unmarked; they will be fetched again after a reboot");
            }
            let mut phase = self.sync.0.lock().unwrap_or_else(PoisonError::into_inner);
            *phase = match *phase {
                SyncPhase::RunningStale => SyncPhase::Running,
                SyncPhase::Running | SyncPhase::Idle => SyncPhase::Idle,
            };
            if *phase == SyncPhase::Idle {
                return;
            }
        }
    }

    /// Marks the layers that were present before a `syncfs`. Blocking.
    pub(super) fn sync_once(&self) -> Result<(), Error> {
        let unmarked = |state: &State| -> Vec<DiffId> {
            let open = state.layers.iter().filter(|(_, layer)| layer.durability == Durability::InPageCache);
            open.map(|(id, _)| id.clone()).collect()
        };
        let waiting = unmarked(&self.state());
        // Records are new even where all layers were here before.
        let root = self.layout.root();
        let directory = File::open(root).map_err(|e| Error::io("open", root, e))?;
        rustix::fs::syncfs(&directory).map_err(|errno| Error::io("sync", root, errno))?;
        for diff_id in waiting {
            let mark = self.layout.layer(&diff_id).join(DURABLE);
            match File::create(&mark) {
                Ok(_) => {}
                // It was collected meanwhile.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io("create", &mark, e)),
            }
            if let Some(layer) = self.state().layers.get_mut(&diff_id) {
                layer.mark_durable();
            }
        }
        Ok(())
    }
}

/// Whether a background sync runs, and whether it missed something.
#[derive(Default)]
pub(super) struct SyncState(Mutex<SyncPhase>);

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum SyncPhase {
    #[default]
    Idle,
    Running,
    RunningStale,
}
