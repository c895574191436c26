// SPDX-License-Identifier: Apache-2.0
//! What keeps layers on the disk beside images: containers, and pulls under way.

use std::path::PathBuf;
use std::sync::Arc;

use super::layers::TREE;
use super::{Inner, State, Store};
use crate::digest::{DiffId, ImageId};
use crate::error::Error;

/// The layers of an image, held for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Lower directories for overlayfs, topmost first, each once.
    pub directories: Vec<PathBuf>,
    /// The same layers, to be recorded and given to [`Store::hold_layers`] after a restart.
    pub layers: Vec<DiffId>,
}

impl Store {
    /// Keeps the layers of an image on the disk until [`Store::release`], whatever happens to the image. Holding again with the same holder
    /// adds to what it holds.
    ///
    /// # Errors
    /// `NotFound` if there is no such image.
    pub fn hold(&self, holder: &str, image: &ImageId) -> Result<Held, Error> {
        let mut state = self.0.state();
        let stored = state.images.get(image);
        let stored = stored.ok_or_else(|| Error::NotFound { reference: image.to_string(), place: String::new() })?;
        let layers = stacked(&state, &stored.record.layers);
        add(&mut state, holder, &layers);
        let directories = layers.iter().map(|layer| self.0.layout.layer(layer).join(TREE)).collect();
        Ok(Held { directories, layers })
    }

    /// Holds layers that a container of an earlier run uses, known from its record.
    pub fn hold_layers(&self, holder: &str, layers: &[DiffId]) {
        add(&mut self.0.state(), holder, layers);
    }

    /// Where the given layers are, in the order given, for a container that is started again.
    pub fn directories(&self, layers: &[DiffId]) -> Vec<PathBuf> {
        layers.iter().map(|layer| self.0.layout.layer(layer).join(TREE)).collect()
    }

    /// Ends what `holder` holds. Layers that nobody needs any more go at the next [`Store::collect_garbage`].
    pub fn release(&self, holder: &str) {
        self.0.state().holds.remove(holder);
    }
}

/// Topmost first, each once, down to the first that hides everything below. Of a layer that occurs twice the upper one shows all that the
/// lower one would (overlayfs refuses the same directory twice).
fn stacked(state: &State, base_first: &[DiffId]) -> Vec<DiffId> {
    let mut layers: Vec<DiffId> = Vec::new();
    for layer in base_first.iter().rev() {
        if !layers.contains(layer) {
            layers.push(layer.clone());
        }
        if state.layers.get(layer).is_some_and(|known| known.hides_lower) {
            break;
        }
    }
    layers
}

fn add(state: &mut State, holder: &str, layers: &[DiffId]) {
    let held = state.holds.entry(holder.to_owned()).or_default();
    for layer in layers {
        if !held.contains(layer) {
            held.push(layer.clone());
        }
    }
}

/// Layers that a pull needs until its image is registered.
pub(super) struct Pins {
    inner: Arc<Inner>,
    layers: Vec<DiffId>,
}

impl Pins {
    pub(super) fn new(inner: &Arc<Inner>, layers: &[DiffId]) -> Pins {
        let mut state = inner.state();
        for layer in layers {
            *state.pins.entry(layer.clone()).or_insert(0) += 1;
        }
        drop(state);
        Pins { inner: Arc::clone(inner), layers: layers.to_vec() }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        for layer in &self.layers {
            if let Some(count) = state.pins.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    state.pins.remove(layer);
                }
            }
        }
    }
}
