// SPDX-License-Identifier: Apache-2.0
//! Resource limits.

use rustix::io::Errno;
use rustix::process::Resource;
use wire::Rlimit;

use crate::failure::{Because, Named, Result, refuse};

/// Sets the limits. A hard limit that may not be raised (that needs CAP_SYS_RESOURCE) stays as it is, and the soft one
/// goes as far as it allows.
pub(super) fn set(limits: &[Rlimit]) -> Result<()> {
    limits.iter().try_for_each(|limit| set_one(limit).step(|| format!("set resource limit {}", limit.resource)))
}

fn set_one(limit: &Rlimit) -> Result<()> {
    let resource = resource(limit.resource).ok_or_else(|| refuse("Linux has no such limit"))?;
    let wanted = rustix::process::Rlimit { current: finite(limit.soft), maximum: finite(limit.hard) };
    match rustix::process::setrlimit(resource, wanted) {
        Err(Errno::PERM) => {
            let now = rustix::process::getrlimit(resource);
            let maximum = lower(now.maximum, wanted.maximum);
            let allowed = rustix::process::Rlimit { current: lower(wanted.current, maximum), maximum };
            rustix::process::setrlimit(resource, allowed)
        }
        other => other,
    }
    .because(|| format!("setrlimit({resource:?}, {}, {})", limit.soft, limit.hard))
}

fn finite(value: u64) -> Option<u64> {
    (value != u64::MAX).then_some(value)
}

/// The lower of two limits, `None` being none.
fn lower(left: Option<u64>, right: Option<u64>) -> Option<u64> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (one, other) => one.or(other),
    }
}

/// The limit with the kernel's number (`asm-generic/resource.h`).
fn resource(number: u32) -> Option<Resource> {
    const BY_NUMBER: [Resource; 16] = [
        Resource::Cpu,
        Resource::Fsize,
        Resource::Data,
        Resource::Stack,
        Resource::Core,
        Resource::Rss,
        Resource::Nproc,
        Resource::Nofile,
        Resource::Memlock,
        Resource::As,
        Resource::Locks,
        Resource::Sigpending,
        Resource::Msgqueue,
        Resource::Nice,
        Resource::Rtprio,
        Resource::Rttime,
    ];
    BY_NUMBER.get(usize::try_from(number).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for number in 0..16 {
            assert_eq!(resource(number).unwrap() as u32, number);
        }
        assert!(resource(16).is_none());
        assert!(set(&[Rlimit { resource: 16, soft: 1, hard: 1 }]).is_err());
    }

    #[test]
    fn the_lower_limit_wins() {
        assert_eq!(lower(None, None), None);
        assert_eq!(lower(Some(3), None), Some(3));
        assert_eq!(lower(None, Some(4)), Some(4));
        assert_eq!(lower(Some(3), Some(4)), Some(3));
        assert_eq!((finite(u64::MAX), finite(0)), (None, Some(0)));
    }
}
