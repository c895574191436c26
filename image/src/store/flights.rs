// SPDX-License-Identifier: Apache-2.0
//! Work that several callers want is done once.
//!
//! - An *image flight* is one task for all pulls of the same reference with the same credentials. A caller that goes away cancels nothing for
//!   the others; the last one to go ends the task. All who wait get the same result.
//! - A *layer turn* is a lock for one diff id. Whoever gets it looks first whether the layer came meanwhile; so a waiter takes over, with its
//!   own registry and credentials, when the one before failed or was cancelled. The turn is held by the unpacking thread to its very end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedMutexGuard, watch};

use super::Image;
use crate::digest::DiffId;
use crate::error::Error;
use crate::progress::{Board, Progress};

type Outcome = Result<Arc<Image>, Error>;

/// What makes two pulls the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FlightKey {
    pub(super) reference: String,
    pub(super) credentials: Option<String>,
}

#[derive(Default)]
pub(super) struct ImageFlights(Mutex<HashMap<FlightKey, Weak<Flight>>>);

struct Flight {
    board: Arc<Board>,
    outcome: watch::Receiver<Option<Outcome>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ImageFlights {
    /// Joins the flight of `key`, or starts one with `work`.
    pub(super) async fn join<F>(
        &self,
        key: FlightKey,
        progress: Progress,
        work: impl FnOnce(Arc<Board>) -> F,
    ) -> Outcome
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let flight = self.flight(key, work);
        flight.board.join(progress);
        let mut outcome = flight.outcome.clone();
        let result = match outcome.wait_for(Option::is_some).await {
            Ok(result) => result.clone(),
            // The task panicked or its runtime ended.
            Err(_) => None,
        };
        result.unwrap_or(Err(Error::Interrupted { what: "the pull" }))
    }

    fn flight<F>(&self, key: FlightKey, work: impl FnOnce(Arc<Board>) -> F) -> Arc<Flight>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key).and_then(Weak::upgrade)
            && flight.outcome.borrow().is_none()
            && !flight.task.is_finished()
        {
            return flight;
        }
        flights.retain(|_, flight| flight.strong_count() > 0);
        let board = Arc::new(Board::default());
        let work = work(Arc::clone(&board));
        let (sender, outcome) = watch::channel(None);
        let task = tokio::spawn(async move {
            let result = work.await;
            sender.send_replace(Some(result));
        });
        let flight = Arc::new(Flight { board, outcome, task });
        flights.insert(key, Arc::downgrade(&flight));
        flight
    }
}

#[derive(Default)]
pub(super) struct LayerTurns(Mutex<HashMap<DiffId, Weak<tokio::sync::Mutex<()>>>>);

impl LayerTurns {
    /// Waits for the turn to work on a layer.
    pub(super) async fn take(&self, diff_id: &DiffId) -> OwnedMutexGuard<()> {
        let lock = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match turns.get(diff_id).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    turns.retain(|_, lock| lock.strong_count() > 0);
                    let lock = Arc::new(tokio::sync::Mutex::new(()));
                    turns.insert(diff_id.clone(), Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }
}
