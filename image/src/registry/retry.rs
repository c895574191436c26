// SPDX-License-Identifier: Apache-2.0
//! When to try again: exponential pauses with jitter, and `Retry-After` (RFC 9110, 10.2.3) up to a cap.

use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::failure::Again;
use crate::limits;

/// How often and how patiently a registry is asked again.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Tries that bring nothing new before giving up.
    pub attempts: u32,
    /// The first pause; it doubles with each try.
    pub base: Duration,
    /// The longest pause, whatever `Retry-After` says.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy { attempts: limits::ATTEMPTS, base: limits::BACKOFF_BASE, cap: limits::BACKOFF_CAP }
    }
}

impl RetryPolicy {
    /// The pause before the try after `fruitless` ones. The registry's own wish counts in full, ours varies between half and all, so that
    /// a fleet of nodes doesn't come back in step.
    pub(super) fn pause(&self, fruitless: u32, again: Again) -> Duration {
        match again {
            Again::After(wish) => wish.min(self.cap),
            Again::Soon | Again::Never => {
                let full = self.base.saturating_mul(1 << fruitless.min(16)).min(self.cap);
                full.mul_f64(0.5 + 0.5 * random_fraction())
            }
        }
    }
}

/// A number in 0..1. The standard library seeds each `RandomState` anew; jitter needs no more.
fn random_fraction() -> f64 {
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    (random >> 11) as f64 / (1u64 << 53) as f64
}

/// Reads a `Retry-After` value: seconds, or a date (whose pause is zero when it is past).
pub(super) fn parse_retry_after(value: &str) -> Option<Duration> {
    parse_at(value.trim(), SystemTime::now())
}

fn parse_at(value: &str, now: SystemTime) -> Option<Duration> {
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let at = UNIX_EPOCH + Duration::from_secs(parse_date(value)?);
    Some(at.duration_since(now).unwrap_or(Duration::ZERO))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7, IMF-fixdate) as seconds since 1970.
fn parse_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.strip_suffix(" GMT")?.split(' ');
    let day: u64 = parts.next()?.parse().ok()?;
    let month_name = parts.next()?;
    let month = MONTHS.iter().position(|name| *name == month_name)? as u64 + 1;
    let year: u64 = parts.next()?.parse().ok()?;
    let mut clock = parts.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let extra = parts.next().is_some() || clock.next().is_some();
    if extra || !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days from civil: years begin in March, so that the leap day comes last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_forms() {
        assert_eq!(parse_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse_date("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        for (value, pause) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 +0000", None),
            ("Sun, 06 Nov 1994", None),
            ("Sun, 06 Foo 1994 08:49:37 GMT", None),
            ("Sat, 05 Nov 1994 08:49:37 GMT", Some(0)),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(parse_at(value, now), pause.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn pauses_grow_and_are_capped() {
        let policy = RetryPolicy { attempts: 9, base: Duration::from_millis(100), cap: Duration::from_secs(1) };
        let first = policy.pause(0, Again::Soon);
        assert!((50..=100).contains(&first.as_millis()), "{first:?}");
        let late = policy.pause(40, Again::Soon);
        assert!((500..=1000).contains(&late.as_millis()), "{late:?}");
        assert_eq!(policy.pause(0, Again::After(Duration::from_secs(3600))), policy.cap);
    }
}
