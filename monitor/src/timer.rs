// SPDX-License-Identifier: Apache-2.0
//! One timer for all deadlines.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::clock::Moment;

const NEVER: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// A timer on `CLOCK_BOOTTIME` that is set to the earliest deadline.
#[derive(Debug)]
pub(crate) struct Timer {
    fd: OwnedFd,
    armed: Option<Moment>,
}

impl Timer {
    /// A timer that is not set.
    pub(crate) fn new() -> Result<Self, Errno> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self { fd: timerfd_create(TimerfdClockId::Boottime, flags)?, armed: None })
    }

    /// Sets it to fire at this moment, at once when that has passed, or never.
    pub(crate) fn set(&mut self, at: Option<Moment>) -> Result<(), Errno> {
        if at == self.armed {
            return Ok(());
        }
        let value = at.map_or(NEVER, |moment| {
            // Zero would mean never; the first nanosecond after boot has passed long ago.
            let nanoseconds = moment.as_nanoseconds().max(1);
            Timespec {
                tv_sec: i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX),
                tv_nsec: (nanoseconds % 1_000_000_000) as _,
            }
        });
        let time = Itimerspec { it_interval: NEVER, it_value: value };
        timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &time)?;
        self.armed = at;
        Ok(())
    }

    /// It fired: makes it silent until it is set again.
    pub(crate) fn acknowledge(&mut self) {
        // Not having fired is fine, and there is no other failure.
        rustix::io::read(&self.fd, &mut [0_u8; 8]).ok();
        self.armed = None;
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::{Event, Interest, Poll};

    #[test]
    fn fires_once_also_for_the_past() {
        let mut timer = Timer::new().unwrap();
        let mut poll = Poll::new().unwrap();
        poll.add(&timer, Event::Timer, Interest::Read).unwrap();
        let now = Moment::now();
        for at in [now.after(Duration::from_millis(1)), now, Moment::from_nanoseconds(0)] {
            timer.set(Some(at)).unwrap();
            assert_eq!(poll.wait().unwrap(), [Event::Timer]);
            assert!(Moment::now() >= at);
            timer.acknowledge();
            assert_eq!(rustix::io::read(&timer.fd, &mut [0_u8; 8]), Err(Errno::AGAIN));
        }
    }

    #[test]
    fn can_be_unset() {
        let mut timer = Timer::new().unwrap();
        timer.set(Some(Moment::from_nanoseconds(1))).unwrap();
        timer.set(None).unwrap();
        assert_eq!(rustix::io::read(&timer.fd, &mut [0_u8; 8]), Err(Errno::AGAIN));
    }
}
