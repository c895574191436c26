// SPDX-License-Identifier: Apache-2.0
//! Creation times that never go backwards.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Hands out times of day that strictly increase, whatever the machine's clock does: a newer attempt of a pod is
/// always seen as newer.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    last_ns: AtomicU64,
}

impl Clock {
    /// The time of day in nanoseconds since the epoch, or one more than the last one given.
    pub(crate) fn now_ns(&self) -> u64 {
        let now = wall_ns();
        let last = self.last_ns.fetch_max(now, Ordering::Relaxed);
        if now > last { now } else { self.last_ns.fetch_add(1, Ordering::Relaxed) + 1 }
    }

    /// Makes every later time greater than one that is on record.
    pub(crate) fn seen(&self, ns: u64) {
        self.last_ns.fetch_max(ns, Ordering::Relaxed);
    }
}

/// The time of day in nanoseconds since the epoch; 1 for a clock before the epoch, since 0 means "never" in the CRI.
pub(crate) fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_the_same_and_never_back() {
        let clock = Clock::default();
        let future = wall_ns() + 1_000_000_000_000;
        clock.seen(future);
        let times: Vec<_> = (0..100).map(|_| clock.now_ns()).collect();
        assert!(times[0] > future);
        assert!(times.is_sorted_by(|a, b| a < b));
    }
}
