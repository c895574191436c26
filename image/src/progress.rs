// SPDX-License-Identifier: Apache-2.0
//! How far a pull is, for whoever wants to watch. Watching never slows the pull: a slow watcher sees fewer, newer states.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::digest::{DiffId, Digest};

/// Bytes between two states of one layer that are published.
const STEP_BYTES: u64 = 256 << 10;

/// What a layer is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It waits for its turn, or another pull unpacks it.
    Waiting,
    /// It is fetched, verified and unpacked in one stream.
    Unpacking,
    /// It is there.
    Done,
}

/// One layer of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerProgress {
    /// Digest of the compressed bytes; none for layers of a `docker save` archive.
    pub blob: Option<Digest>,
    /// Digest of the uncompressed bytes.
    pub diff_id: DiffId,
    /// Compressed bytes in all.
    pub size_bytes: u64,
    /// Compressed bytes that are fetched and unpacked.
    pub done_bytes: u64,
    /// What it is doing.
    pub phase: Phase,
}

/// All layers, base first; empty until the manifest is known.
pub type Snapshot = Vec<LayerProgress>;

/// Where a pull reports to.
#[derive(Debug, Clone, Default)]
pub struct Progress(Option<watch::Sender<Snapshot>>);

impl Progress {
    /// Nobody watches.
    pub fn none() -> Progress {
        Progress(None)
    }

    /// A sink and its watcher. The watcher's channel closes when the pull has ended.
    pub fn channel() -> (Progress, watch::Receiver<Snapshot>) {
        let (sender, receiver) = watch::channel(Snapshot::new());
        (Progress(Some(sender)), receiver)
    }
}

/// The state of one pull, shared by all who joined it.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    layers: Snapshot,
    watchers: Vec<watch::Sender<Snapshot>>,
    unpublished_bytes: u64,
}

impl Board {
    pub(crate) fn join(&self, progress: Progress) {
        let Some(sender) = progress.0 else { return };
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sender.send_replace(inner.layers.clone());
        inner.watchers.push(sender);
    }

    pub(crate) fn resolved(&self, layers: Snapshot) {
        self.change(|inner| {
            inner.layers = layers;
            true
        });
    }

    pub(crate) fn phase(&self, layer: usize, phase: Phase) {
        self.change(|inner| {
            if let Some(layer) = inner.layers.get_mut(layer) {
                layer.phase = phase;
                layer.done_bytes = match phase {
                    Phase::Done => layer.size_bytes,
                    Phase::Waiting | Phase::Unpacking => 0,
                };
            }
            true
        });
    }

    pub(crate) fn add(&self, layer: usize, bytes: u64) {
        self.change(|inner| {
            if let Some(layer) = inner.layers.get_mut(layer) {
                layer.done_bytes += bytes;
            }
            inner.unpublished_bytes += bytes;
            inner.unpublished_bytes >= STEP_BYTES
        });
    }

    /// Applies a change and publishes if it says so.
    fn change(&self, change: impl FnOnce(&mut Inner) -> bool) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut inner) {
            inner.unpublished_bytes = 0;
            for watcher in &inner.watchers {
                watcher.send_replace(inner.layers.clone());
            }
        }
    }
}

/// One layer's place on a board.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) board: Arc<Board>,
    pub(crate) layer: usize,
}

impl Line {
    pub(crate) fn phase(&self, phase: Phase) {
        self.board.phase(self.layer, phase);
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.board.add(self.layer, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_see_steps_and_the_end() {
        let board = Board::default();
        let (progress, mut watcher) = Progress::channel();
        board.join(progress);
        board.join(Progress::none());
        let diff_id = DiffId::new(Digest::of(b"x"));
        board.resolved(vec![LayerProgress {
            blob: None,
            diff_id,
            size_bytes: 1 << 20,
            done_bytes: 0,
            phase: Phase::Waiting,
        }]);
        assert_eq!(watcher.borrow_and_update().len(), 1);
        board.add(0, 10);
        assert!(!watcher.has_changed().unwrap(), "small steps are not published");
        board.add(0, STEP_BYTES);
        assert_eq!(watcher.borrow_and_update()[0].done_bytes, STEP_BYTES + 10);
        board.phase(0, Phase::Done);
        assert_eq!(watcher.borrow_and_update()[0].done_bytes, 1 << 20);
        drop(board);
        assert!(watcher.has_changed().is_err());
    }
}
