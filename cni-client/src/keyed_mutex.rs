// SPDX-License-Identifier: Apache-2.0
//! One lock for each container id: the specification forbids parallel operations on one container and
//! allows them on different ones, so different ids never wait for each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::names::ContainerId;

/// The locks of the ids that are being worked on.
#[derive(Debug, Default)]
pub(crate) struct KeyedMutex {
    locks: Mutex<HashMap<ContainerId, Weak<AsyncMutex<()>>>>,
}

/// The right to work on one id. It ends with its last clone: a write to the disk keeps one, so that the
/// next in turn sees its effect also when the future that ordered it was dropped.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    _held: Arc<OwnedMutexGuard<()>>,
}

impl KeyedMutex {
    /// Waits until nothing else works on this id. Waiters are served in order.
    pub(crate) async fn lock(&self, id: &ContainerId) -> Turn {
        let held = self.lock_of(id).lock_owned().await;
        Turn { _held: Arc::new(held) }
    }

    fn lock_of(&self, id: &ContainerId) -> Arc<AsyncMutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(id).and_then(Weak::upgrade) {
            return lock;
        }
        // What nobody holds or waits for is forgotten, so that the map has the size of the work.
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(AsyncMutex::new(()));
        locks.insert(id.clone(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_id_is_serialised_and_others_are_free() {
        let mutex = Arc::new(KeyedMutex::default());
        let (a, b) = (ContainerId::parse("a").unwrap(), ContainerId::parse("b").unwrap());
        let held = mutex.lock(&a).await;
        drop(mutex.lock(&b).await);
        let waiter = tokio::spawn({
            let (mutex, a) = (Arc::clone(&mutex), a.clone());
            async move { drop(mutex.lock(&a).await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        drop(held);
        waiter.await.unwrap();
        drop(mutex.lock(&b).await);
        assert_eq!(mutex.locks.lock().unwrap().len(), 1);
    }
}
