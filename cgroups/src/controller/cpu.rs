// SPDX-License-Identifier: Apache-2.0
//! CPU time: shares (v1) or weight (v2), quota and period.

use rustix::io::Errno;

use crate::cgroup::{Opened, Place};
use crate::controller::Controller;
use crate::dir::{Dir, FileName};
use crate::error::Error;
use crate::journal::Journal;
use crate::resources::{Ceiling, Limits};

pub(super) const SHARES: FileName<'static> = FileName::fixed("cpu.shares");
pub(super) const WEIGHT: FileName<'static> = FileName::fixed("cpu.weight");
const QUOTA: FileName<'static> = FileName::fixed("cpu.cfs_quota_us");
const PERIOD: FileName<'static> = FileName::fixed("cpu.cfs_period_us");
const MAX: FileName<'static> = FileName::fixed("cpu.max");

/// The kernel's range of v1 shares (`MIN_SHARES` and `MAX_SHARES` of kernel/sched).
const SHARES_RANGE: (u64, u64) = (2, 262_144);

pub(super) fn apply<'d>(cgroup: &'d Opened, limits: &'d Limits, journal: &mut Journal<'d>) -> Result<(), Error> {
    if limits.cpu_shares.is_none() && limits.cpu_quota_us.is_none() && limits.cpu_period_us.is_none() {
        return Ok(());
    }
    match cgroup.place(Controller::Cpu)? {
        Place::V1(dir) => v1(cgroup, dir, limits, journal),
        Place::V2(dir) => v2(cgroup, dir, limits, journal),
    }
}

fn v1<'d>(cgroup: &Opened, dir: &'d Dir, limits: &Limits, journal: &mut Journal<'d>) -> Result<(), Error> {
    let mut set = |file: FileName<'static>, value: &str| match journal.set(dir, file, value) {
        Ok(true) => Ok(()),
        Ok(false) => Err(cgroup.without(Controller::Cpu)),
        Err(error) => Err(error),
    };
    if let Some(shares) = limits.cpu_shares {
        // The kernel clamps too, but then the file reads differently from what was written, and every repetition
        // would write it again.
        set(SHARES, &shares.clamp(SHARES_RANGE.0, SHARES_RANGE.1).to_string())?;
    }
    let quota = limits.cpu_quota_us.map(Ceiling::v1);
    let mut period = limits.cpu_period_us.map(|period| period.to_string());
    // On v1 no child may have a greater part of the time than its parent, also not between the two writes. Whichever
    // order is right depends on the old values, so when the new period does not fit the old quota the quota goes first.
    if let Some(value) = &period {
        match set(PERIOD, value) {
            Ok(()) => period = None,
            Err(Error::Write { cause: Errno::INVAL, .. }) if quota.is_some() => {}
            Err(error) => return Err(error),
        }
    }
    if let Some(value) = &quota {
        set(QUOTA, value)?;
    }
    match &period {
        Some(value) => set(PERIOD, value),
        None => Ok(()),
    }
}

fn v2<'d>(cgroup: &Opened, dir: &'d Dir, limits: &Limits, journal: &mut Journal<'d>) -> Result<(), Error> {
    if let Some(shares) = limits.cpu_shares
        && !journal.set(dir, WEIGHT, &cpu_weight_of_shares(shares).to_string())?
    {
        return Err(cgroup.without(Controller::Cpu));
    }
    if limits.cpu_quota_us.is_none() && limits.cpu_period_us.is_none() {
        return Ok(());
    }
    let Some(old) = dir.read(MAX)? else {
        return Err(cgroup.without(Controller::Cpu));
    };
    let value = max_value(&old, limits).ok_or_else(|| dir.odd_content(MAX, &old))?;
    journal.set(dir, MAX, &value)?;
    Ok(())
}

/// The new content of `cpu.max`, "$MAX $PERIOD", from the old one and what is to change.
fn max_value(old: &str, limits: &Limits) -> Option<String> {
    let (old_quota, old_period) = old.trim_end().split_once(' ')?;
    let quota = limits.cpu_quota_us.map_or_else(|| old_quota.to_owned(), Ceiling::v2);
    let period = limits.cpu_period_us.map_or_else(|| old_period.to_owned(), |period| period.to_string());
    Some(format!("{quota} {period}"))
}

/// The v2 weight (1 to 10000, by default 100) for v1 shares (2 to 262144, by default 1024).
///
/// The linear formula of KEP-2254, `1 + (shares - 2) * 9999 / 262142`, maps the least and the greatest values onto each
/// other, but the default 1024 onto 39: a pod that asks for one CPU then loses against every system service at its
/// default of 100, and small requests all become 1 or 2 (kubernetes/kubernetes#131216). Since 2025 runc (1.3.2,
/// opencontainers/cgroups#20), crun (1.23) and so the nodes' tools use a curve through all three points: with
/// `l = log2(shares)`, the exponent `(l² + 125 l) / 612 - 7/34` is 0 for l = 1, 2 for l = 10 and 4 for l = 18, and the
/// weight is ten to that power, rounded up. It is monotonic, so the order of two containers never changes.
/// The kubelet reads the weight back and expects one of these two formulas.
pub fn cpu_weight_of_shares(shares: u64) -> u64 {
    let (least, most) = SHARES_RANGE;
    if shares <= least {
        return 1;
    }
    if shares >= most {
        return 10_000;
    }
    let l = (shares as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    // The C libraries differ in the last bit of `pow`, and 100.00000000000001 must not become 101. No other number of
    // shares comes that close to a whole weight.
    (10f64.powf(exponent) - 1e-9).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights() {
        // The values of the tests and documents of runc, crun and the kubelet.
        for (shares, weight) in [
            (0, 1),
            (1, 1),
            (2, 1),
            (256, 35),
            (1000, 99),
            (1024, 100),
            (2000, 170),
            (262_143, 10_000),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(cpu_weight_of_shares(shares), weight, "{shares} shares");
        }
    }

    #[test]
    fn more_shares_never_weigh_less() {
        let mut last = 0;
        for shares in 0..=262_145 {
            let weight = cpu_weight_of_shares(shares);
            assert!((last..=10_000).contains(&weight) && weight >= 1, "{shares} shares weigh {weight} after {last}");
            last = weight;
        }
    }

    #[test]
    fn quota_and_period_change_apart() {
        let with = |quota, period| Limits { cpu_quota_us: quota, cpu_period_us: period, ..Limits::default() };
        let at = |most| Some(Ceiling::At(most));
        for (old, limits, new) in [
            ("max 100000\n", with(at(50_000), None), Some("50000 100000")),
            ("max 100000\n", with(None, Some(20_000)), Some("max 20000")),
            ("50000 100000\n", with(Some(Ceiling::Unlimited), Some(20_000)), Some("max 20000")),
            ("50000 100000\n", with(at(7), Some(9)), Some("7 9")),
            ("max\n", with(at(7), None), None),
            ("", with(at(7), Some(9)), None),
        ] {
            assert_eq!(max_value(old, &limits).as_deref(), new, "{old:?}");
        }
    }
}
