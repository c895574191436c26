// SPDX-License-Identifier: Apache-2.0
//! Removing what nothing refers to: layers without image, holder and pull; documents without record; leftovers of crashes; downloads that
//! nobody continued.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use super::layout::{DEAD, names};
use super::usage::{Measure, measure, measure_rest};
use super::{Inner, State, Store, blocking};
use crate::atomic_file::TEMPORARY;
use crate::digest::{DiffId, Digest};
use crate::error::Error;

/// What a collection gave back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Layers that nothing needed.
    pub layers: u64,
    /// Partial downloads that nobody continued.
    pub partials: u64,
    /// Allocated bytes of all.
    pub bytes: u64,
}

impl Store {
    /// Removes everything that nothing refers to. To be called once all holders are known (after recovery), and whenever something was
    /// released.
    ///
    /// # Errors
    /// The first failed removal, after all others were tried.
    pub async fn collect_garbage(&self) -> Result<Collected, Error> {
        let inner = Arc::clone(&self.0);
        blocking("the collection", move || inner.collect_unused()).await
    }
}

impl Inner {
    /// As [`Store::collect_garbage`]. Blocking.
    pub(super) fn collect_unused(&self) -> Result<Collected, Error> {
        let _change = self.change();
        let mut first_error = None;
        let mut collected = Collected { layers: self.bury_layers()?, ..Collected::default() };
        let mut note = |result: Result<Measure, Error>| match result {
            Ok(freed) => collected.bytes += freed.bytes,
            Err(error) => {
                first_error.get_or_insert(error);
            }
        };
        for name in names(&self.layout.layers())? {
            if name.starts_with(DEAD) {
                note(remove_tree(&self.layout.layers().join(name)));
            }
        }
        for path in self.dead_documents()? {
            note(remove_tree(&path));
        }
        let partials = self.dead_partials()?;
        let count = partials.len() as u64;
        for path in partials {
            note(remove_tree(&path));
        }
        collected.partials = count;
        let rest = measure_rest(&self.layout)?;
        self.state().rest = rest;
        match first_error {
            Some(error) => Err(error),
            None => Ok(collected),
        }
    }

    /// Takes unneeded layers out of the store: from here on a pull unpacks them anew.
    fn bury_layers(&self) -> Result<u64, Error> {
        let mut state = self.state();
        let needed = needed(&state);
        let unneeded: Vec<DiffId> = state.layers.keys().filter(|layer| !needed.contains(*layer)).cloned().collect();
        for layer in &unneeded {
            let path = self.layout.layer(layer);
            std::fs::rename(&path, self.layout.dead_layer()).map_err(|e| Error::io("rename", &path, e))?;
            state.layers.remove(layer);
        }
        Ok(unneeded.len() as u64)
    }

    /// Documents that no record names, and unfinished files. No pull writes any while `change` is held.
    fn dead_documents(&self) -> Result<Vec<PathBuf>, Error> {
        let mut named: HashSet<Digest> = HashSet::new();
        for stored in self.state().images.values() {
            named.insert(stored.record.id.digest().clone());
            named.extend(stored.record.documents.iter().cloned());
        }
        let mut dead = Vec::new();
        for directory in self.layout.blob_directories() {
            for name in names(&directory)? {
                if !Digest::from_hex(&name).is_some_and(|digest| named.contains(&digest)) {
                    dead.push(directory.join(name));
                }
            }
        }
        for directory in [self.layout.records(), self.layout.root().to_owned()] {
            let unfinished = names(&directory)?.into_iter().filter(|name| name.starts_with(TEMPORARY));
            dead.extend(unfinished.map(|name| directory.join(name)));
        }
        Ok(dead)
    }

    /// Beginnings of downloads from an earlier boot, and those of this one that waited too long.
    fn dead_partials(&self) -> Result<Vec<PathBuf>, Error> {
        let all = self.layout.all_partials();
        let mut dead: Vec<PathBuf> = Vec::new();
        for name in names(&all)? {
            if name != self.layout.boot_id() {
                dead.push(all.join(name));
            }
        }
        let in_use = self.partials_in_use.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for name in names(&self.layout.partials())? {
            let path = self.layout.partials().join(&name);
            let used = Digest::from_hex(&name).is_some_and(|digest| in_use.contains(&digest));
            if !used && age(&path) >= self.options.partial_life {
                dead.push(path);
            }
        }
        Ok(dead)
    }
}

/// How long ago a file was written; a clock that went backwards makes it new.
fn age(path: &Path) -> std::time::Duration {
    let written = std::fs::metadata(path).and_then(|stat| stat.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    SystemTime::now().duration_since(written).unwrap_or_default()
}

fn needed(state: &State) -> HashSet<DiffId> {
    let by_images = state.images.values().flat_map(|stored| &stored.record.layers);
    let by_holders = state.holds.values().flatten();
    by_images.chain(by_holders).chain(state.pins.keys()).cloned().collect()
}

/// Removes a file or tree and says what it took. Links in it are removed, not followed.
fn remove_tree(path: &Path) -> Result<Measure, Error> {
    let taken = measure(path)?;
    let is_directory = std::fs::symlink_metadata(path).is_ok_and(|stat| stat.is_dir());
    let result = if is_directory { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match result {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => Ok(taken),
    }
}
