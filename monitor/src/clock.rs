// SPDX-License-Identifier: Apache-2.0
//! The two clocks of the monitor: wall time for records and logs, boot time for deadlines.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment on `CLOCK_BOOTTIME`, in nanoseconds: it is never set, goes on during suspend, and means the same to the
/// program that takes over after a re-execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    /// Now.
    pub(crate) fn now() -> Self {
        Self(read(ClockId::Boottime))
    }

    /// This much later.
    pub(crate) fn after(self, time: Duration) -> Self {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanoseconds))
    }

    /// The moment as the handover encodes it.
    pub(crate) fn as_nanoseconds(self) -> u64 {
        self.0
    }

    /// The moment that [`Moment::as_nanoseconds`] gave.
    pub(crate) const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }
}

/// Wall time in nanoseconds since the epoch; 0 for a clock before 1970.
pub(crate) fn wall_ns() -> u64 {
    read(ClockId::Realtime)
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_is_later_and_never_wraps() {
        let now = Moment::now();
        assert!(now.after(Duration::from_nanos(1)) > now);
        assert_eq!(now.after(Duration::MAX), Moment::from_nanoseconds(u64::MAX));
        assert_eq!(Moment::from_nanoseconds(now.as_nanoseconds()), now);
        assert!(Moment::now() >= now);
    }

    #[test]
    fn wall_time_is_this_century() {
        assert!(wall_ns() > 1_577_836_800_000_000_000);
    }
}
