// SPDX-License-Identifier: Apache-2.0
//! The one place where work that waits for the disk leaves the async threads.

use tokio::sync::Semaphore;

use crate::error::Error;
use crate::limits;

/// A bounded number of blocking calls at a time.
#[derive(Debug)]
pub(crate) struct Blocking {
    permits: Semaphore,
}

impl Blocking {
    pub(crate) fn new() -> Self {
        Self { permits: Semaphore::new(limits::BLOCKING_THREADS) }
    }

    /// Runs `f` on a thread that may wait. Only husk's own files, cgroups and namespaces are touched there, never a
    /// path that a kubelet gave.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _permit = self.permits.acquire().await.map_err(|_| Error::Stopping)?;
        tokio::task::spawn_blocking(f).await.map_err(|error| Error::Fault(error.to_string()))?
    }
}
