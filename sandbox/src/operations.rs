// SPDX-License-Identifier: Apache-2.0
//! Operations that a repeated request joins.
//!
//! The kubelet repeats a request whose deadline has passed. The first request starts the operation as a task of its
//! own; a repetition with the same key and the same configuration waits for the same outcome. A repetition with
//! another configuration cancels the operation, waits until it is rolled back, and runs the new one. Whoever receives
//! the outcome has *claimed* it; an outcome that nobody claims in time is undone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::error::Error;
use crate::limits;

/// The operations of one kind that are under way or wait to be claimed.
#[derive(Debug)]
pub(crate) struct Operations<K, C, T> {
    running: Arc<Mutex<HashMap<K, Running<C, T>>>>,
}

#[derive(Debug)]
struct Running<C, T> {
    config: Arc<C>,
    outcome: watch::Receiver<Option<Result<T, Error>>>,
    cancel: Arc<watch::Sender<bool>>,
}

/// Ends when the operation shall be given up.
#[derive(Clone, Debug)]
pub(crate) struct Cancelled(watch::Receiver<bool>);

impl Cancelled {
    /// Waits until the operation shall be given up; for ever when that never happens.
    pub(crate) async fn wait(mut self) {
        if self.0.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What to do with a request.
pub(crate) enum Found<T> {
    /// The object is there already: this is the answer.
    Answer(Result<T, Error>),
    /// There is no such object.
    Nothing,
}

impl<K, C, T> Operations<K, C, T>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    C: PartialEq + Send + Sync + 'static,
    T: Copy + Send + Sync + 'static,
{
    pub(crate) fn new() -> Self {
        Self { running: Arc::default() }
    }

    /// Joins the operation of this key and configuration, or answers from what `existing` finds, or starts it.
    ///
    /// `start` makes the operation's future; it must roll back by itself when it fails or is cancelled. `undo` takes
    /// back a success that nobody claimed. `what` names the object in errors.
    pub(crate) async fn join_or_start<F, U>(
        &self,
        key: K,
        config: Arc<C>,
        existing: impl Fn() -> Found<T>,
        start: impl FnOnce(Cancelled) -> F,
        undo: impl FnOnce(T) -> U + Send + 'static,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
        U: Future<Output = ()> + Send + 'static,
    {
        let mut outcome = loop {
            let mut superseded = {
                let mut running = lock(&self.running);
                match running.entry(key.clone()) {
                    Entry::Occupied(entry) if entry.get().config == config => break entry.get().outcome.clone(),
                    Entry::Occupied(entry) => {
                        entry.get().cancel.send_replace(true);
                        entry.get().outcome.clone()
                    }
                    Entry::Vacant(entry) => {
                        if let Found::Answer(answer) = existing() {
                            return answer;
                        }
                        let (cancel, cancelled) = watch::channel(false);
                        let (sender, outcome) = watch::channel(None);
                        let cancel = Arc::new(cancel);
                        entry.insert(Running { config, outcome: outcome.clone(), cancel: Arc::clone(&cancel) });
                        let operation = start(Cancelled(cancelled.clone()));
                        tokio::spawn(drive(
                            operation,
                            undo,
                            Desk { key, running: Arc::clone(&self.running), sender, cancelled: Cancelled(cancelled) },
                        ));
                        break outcome;
                    }
                }
            };
            // The driver drops the sender when the old operation and its rollback are over.
            while superseded.changed().await.is_ok() {}
        };
        let result = match outcome.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Err(Error::Stopping)),
            Err(_) => Err(Error::Fault("an operation ended without an outcome".to_owned())),
        };
        if result.is_ok() {
            // Claimed: it is no longer the business of this table.
            let mut running = lock(&self.running);
            running.retain(|_, entry| !entry.outcome.same_channel(&outcome));
        }
        result
    }
}

/// What the task of an operation holds.
struct Desk<K, C, T> {
    key: K,
    running: Arc<Mutex<HashMap<K, Running<C, T>>>>,
    sender: watch::Sender<Option<Result<T, Error>>>,
    cancelled: Cancelled,
}

async fn drive<K, C, T, U>(
    operation: impl Future<Output = Result<T, Error>>,
    undo: impl FnOnce(T) -> U,
    desk: Desk<K, C, T>,
) where
    K: Eq + Hash,
    T: Copy,
    U: Future<Output = ()>,
{
    // A panic of the operation drops the sender, which the waiters see as a fault; the entry must go all the same.
    let guard = Entered { desk: &desk };
    let result = operation.await;
    let value = result.as_ref().ok().copied();
    desk.sender.send_replace(Some(result));
    let Some(value) = value else { return };
    let claimed_or_late = async {
        tokio::select! {
            () = tokio::time::sleep(limits::UNCLAIMED) => {}
            () = desk.cancelled.clone().wait() => {}
            // A waiter that claims takes the entry out, and with it the last receiver but its own.
            () = desk.sender.closed() => {}
        }
    };
    claimed_or_late.await;
    if guard.still_there() {
        drop(guard);
        undo(value).await;
    }
}

struct Entered<'a, K: Eq + Hash, C, T> {
    desk: &'a Desk<K, C, T>,
}

impl<K: Eq + Hash, C, T> Entered<'_, K, C, T> {
    fn still_there(&self) -> bool {
        lock(&self.desk.running)
            .get(&self.desk.key)
            .is_some_and(|entry| entry.outcome.same_channel(&self.desk.sender.subscribe()))
    }
}

impl<K: Eq + Hash, C, T> Drop for Entered<'_, K, C, T> {
    fn drop(&mut self) {
        if self.still_there() {
            lock(&self.desk.running).remove(&self.desk.key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The table is right after every statement, so a panic elsewhere cannot have left it half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Notify;

    struct Bench {
        operations: Operations<&'static str, u32, u32>,
        started: AtomicU32,
        undone: AtomicU32,
        go: Notify,
    }

    impl Bench {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                operations: Operations::new(),
                started: AtomicU32::new(0),
                undone: AtomicU32::new(0),
                go: Notify::new(),
            })
        }

        async fn ask(self: Arc<Self>, config: u32) -> Result<u32, Error> {
            let (bench, undoing) = (Arc::clone(&self), Arc::clone(&self));
            let start = |cancelled: Cancelled| async move {
                bench.started.fetch_add(1, Ordering::SeqCst);
                tokio::select! {
                    () = bench.go.notified() => Ok(config),
                    () = cancelled.wait() => Err(Error::Superseded { what: "it".into() }),
                }
            };
            let undo = |_| async move {
                undoing.undone.fetch_add(1, Ordering::SeqCst);
            };
            self.operations.join_or_start("key", Arc::new(config), || Found::Nothing, start, undo).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_repetition_joins() {
        let bench = Bench::new();
        let first = tokio::spawn(Arc::clone(&bench).ask(1));
        tokio::task::yield_now().await;
        let second = tokio::spawn(Arc::clone(&bench).ask(1));
        tokio::task::yield_now().await;
        bench.go.notify_one();
        assert_eq!((first.await.unwrap().unwrap(), second.await.unwrap().unwrap()), (1, 1));
        assert_eq!(bench.started.load(Ordering::SeqCst), 1);
        tokio::time::sleep(limits::UNCLAIMED * 2).await;
        assert_eq!(bench.undone.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_client_goes_and_the_next_gets_the_result() {
        let bench = Bench::new();
        let first = tokio::spawn(Arc::clone(&bench).ask(1));
        tokio::task::yield_now().await;
        first.abort();
        bench.go.notify_one();
        tokio::time::sleep(limits::UNCLAIMED / 2).await;
        assert_eq!(Arc::clone(&bench).ask(1).await.unwrap(), 1);
        assert_eq!(bench.started.load(Ordering::SeqCst), 1);
        tokio::time::sleep(limits::UNCLAIMED * 2).await;
        assert_eq!(bench.undone.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_claims_and_it_is_undone() {
        let bench = Bench::new();
        let first = tokio::spawn(Arc::clone(&bench).ask(1));
        tokio::task::yield_now().await;
        first.abort();
        bench.go.notify_one();
        tokio::time::sleep(limits::UNCLAIMED * 2).await;
        assert_eq!(bench.undone.load(Ordering::SeqCst), 1);
        assert!(lock(&bench.operations.running).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn another_configuration_takes_the_place() {
        let bench = Bench::new();
        let first = tokio::spawn(Arc::clone(&bench).ask(1));
        tokio::task::yield_now().await;
        let second = tokio::spawn(Arc::clone(&bench).ask(2));
        assert!(matches!(first.await.unwrap(), Err(Error::Superseded { .. })));
        tokio::task::yield_now().await;
        bench.go.notify_one();
        assert_eq!(second.await.unwrap().unwrap(), 2);
        assert_eq!(bench.started.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unclaimed_success_gives_way_to_another_configuration() {
        let bench = Bench::new();
        let first = tokio::spawn(Arc::clone(&bench).ask(1));
        tokio::task::yield_now().await;
        first.abort();
        bench.go.notify_one();
        tokio::task::yield_now().await;
        let second = tokio::spawn(Arc::clone(&bench).ask(2));
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        bench.go.notify_one();
        assert_eq!(second.await.unwrap().unwrap(), 2);
        assert_eq!(bench.undone.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_a_fault_and_the_key_is_free_again() {
        let bench = Bench::new();
        let start = |_| async { panic!("on purpose") };
        let undo = |_| async {};
        let result = bench.operations.join_or_start("key", Arc::new(1), || Found::Nothing, start, undo).await;
        assert!(matches!(result, Err(Error::Fault(_))), "{result:?}");
        assert!(lock(&bench.operations.running).is_empty());
    }
}
