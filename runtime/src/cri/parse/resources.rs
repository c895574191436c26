// SPDX-License-Identifier: Apache-2.0
//! Resources of a container or a pod: only what is set.

use proto::cri;
use sandbox::config::Resources;

use super::{Field, Refusal, strings};

/// CFS periods that the kernel takes, in microseconds (kernel/sched/core.c).
const PERIOD_US: std::ops::RangeInclusive<i64> = 1_000..=1_000_000;
/// The least CFS quota, in microseconds.
const QUOTA_MIN_US: i64 = 1_000;
/// Weights that the kernel does not round: cpu.shares lies between these.
const SHARES: (u64, u64) = (2, 262_144);
/// `oom_score_adj` (proc_pid_oom_score_adj(5)).
const OOM_SCORE_ADJ: std::ops::RangeInclusive<i64> = -1_000..=1_000;

/// Reads `LinuxContainerResources`; 0 is "not set" for all but `oom_score_adj`.
pub(super) fn resources(field: &Field<'_>, asked: &cri::LinuxContainerResources) -> Result<Resources, Refusal> {
    let period = field.then("cpu_period");
    let cpu_period_us = match positive(&period, asked.cpu_period)? {
        Some(us) if !PERIOD_US.contains(&asked.cpu_period) => {
            return Err(period.invalid(format!("{us} is not between 1000 and 1000000 microseconds")));
        }
        set => set,
    };
    let quota = field.then("cpu_quota");
    let cpu_quota_us = match asked.cpu_quota {
        -1 => None,
        1..QUOTA_MIN_US => return Err(quota.invalid(format!("{} is less than 1000 microseconds", asked.cpu_quota))),
        us => positive(&quota, us)?,
    };
    let score = field.then("oom_score_adj");
    let oom_score_adj = match i32::try_from(asked.oom_score_adj) {
        Ok(adj) if OOM_SCORE_ADJ.contains(&asked.oom_score_adj) => Some(adj),
        _ => return Err(score.invalid(format!("{} is not between -1000 and 1000", asked.oom_score_adj))),
    };
    let memory_limit_bytes = positive(&field.then("memory_limit_in_bytes"), asked.memory_limit_in_bytes)?;
    hugepages(&field.then("hugepage_limits"), &asked.hugepage_limits)?;
    strings::strings(&field.then("unified"), &asked.unified)?;
    Ok(Resources {
        cpu_period_us,
        cpu_quota_us,
        cpu_shares: positive(&field.then("cpu_shares"), asked.cpu_shares)?.map(|n| n.clamp(SHARES.0, SHARES.1)),
        memory_limit_bytes,
        memory_swap_limit_bytes: swap(field, asked.memory_swap_limit_in_bytes, memory_limit_bytes)?,
        oom_score_adj,
        cpuset_cpus: list(&field.then("cpuset_cpus"), &asked.cpuset_cpus)?,
        cpuset_mems: list(&field.then("cpuset_mems"), &asked.cpuset_mems)?,
    })
}

fn positive(field: &Field<'_>, number: i64) -> Result<Option<u64>, Refusal> {
    match u64::try_from(number) {
        Ok(0) => Ok(None),
        Ok(set) => Ok(Some(set)),
        Err(_) => Err(field.invalid(format!("{number} is negative"))),
    }
}

/// Memory and swap together; −1 is no limit, which is what the kernel begins with.
fn swap(field: &Field<'_>, number: i64, memory: Option<u64>) -> Result<Option<u64>, Refusal> {
    let field = field.then("memory_swap_limit_in_bytes");
    let asked = if number == -1 { None } else { positive(&field, number)? };
    match (asked, memory) {
        (Some(_), None) => Err(field.invalid("it needs memory_limit_in_bytes, since it is memory and swap together")),
        (Some(both), Some(memory)) if both < memory => {
            Err(field.invalid(format!("{both} is less than memory_limit_in_bytes, {memory}, which it includes")))
        }
        (asked, _) => Ok(asked),
    }
}

/// Checks `hugepage_limits`, of which a limit other than 0 is refused by name.
fn hugepages(field: &Field<'_>, limits: &[cri::HugepageLimit]) -> Result<(), Refusal> {
    for (index, limit) in limits.iter().enumerate() {
        let number = limit.page_size.strip_suffix("B").and_then(|size| size.strip_suffix(['K', 'M', 'G']));
        let power = number.and_then(|number| number.parse::<u64>().ok()).is_some_and(u64::is_power_of_two);
        if !power {
            let shown: String = limit.page_size.chars().take(20).collect();
            let entry = field.at(index);
            return Err(entry.then("page_size").invalid(format!("{shown:?} is not a page size such as 2MB or 1GB")));
        }
    }
    Ok(())
}

/// A list of CPUs or memory nodes as cpuset(7) writes it: `0-3,8`; empty is not set.
fn list(field: &Field<'_>, text: &str) -> Result<Option<String>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let range = |part: &str| match part.split_once('-') {
        None => number(part).is_some(),
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(first, last)| first <= last),
    };
    if text.len() > 4096 || !text.split(',').all(range) {
        return Err(field.invalid("it is not a list of numbers and ranges such as 0-3,8"));
    }
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Asked = cri::LinuxContainerResources;

    /// A field, and a change that spoils it.
    type Row = (&'static str, Box<dyn Fn(&mut Asked)>);

    fn parse(change: impl FnOnce(&mut Asked)) -> Result<Resources, Refusal> {
        let mut asked = Asked::default();
        change(&mut asked);
        resources(&Field::of_request("r"), &asked)
    }

    #[test]
    fn zero_is_not_set_but_for_the_oom_score() {
        let expected = Resources { oom_score_adj: Some(0), ..Resources::default() };
        assert_eq!(parse(|_| ()), Ok(expected.clone()));
        assert_eq!(parse(|r| (r.cpu_quota, r.memory_swap_limit_in_bytes) = (-1, -1)), Ok(expected));
    }

    #[test]
    fn everything_set() {
        let parsed = parse(|r| {
            (r.cpu_period, r.cpu_quota, r.cpu_shares) = (100_000, 50_000, 1);
            (r.memory_limit_in_bytes, r.memory_swap_limit_in_bytes) = (1 << 20, 1 << 20);
            r.oom_score_adj = -998;
            (r.cpuset_cpus, r.cpuset_mems) = ("0-1,3".into(), "0".into());
            r.hugepage_limits = vec![cri::HugepageLimit { page_size: "2MB".into(), limit: 0 }];
        });
        let expected = Resources {
            cpu_period_us: Some(100_000),
            cpu_quota_us: Some(50_000),
            cpu_shares: Some(2),
            memory_limit_bytes: Some(1 << 20),
            memory_swap_limit_bytes: Some(1 << 20),
            oom_score_adj: Some(-998),
            cpuset_cpus: Some("0-1,3".into()),
            cpuset_mems: Some("0".into()),
        };
        assert_eq!(parsed, Ok(expected));
    }

    #[test]
    fn absurd_values_are_refused_by_field() {
        let hugepage = |size: &str| vec![cri::HugepageLimit { page_size: size.into(), limit: 0 }];
        let table: Vec<Row> = vec![
            ("cpu_period", Box::new(|r| r.cpu_period = -1)),
            ("cpu_period", Box::new(|r| r.cpu_period = 999)),
            ("cpu_period", Box::new(|r| r.cpu_period = 1_000_001)),
            ("cpu_quota", Box::new(|r| r.cpu_quota = -2)),
            ("cpu_quota", Box::new(|r| r.cpu_quota = 999)),
            ("cpu_quota", Box::new(|r| r.cpu_quota = i64::MIN)),
            ("cpu_shares", Box::new(|r| r.cpu_shares = -1)),
            ("memory_limit_in_bytes", Box::new(|r| r.memory_limit_in_bytes = -1)),
            ("memory_swap_limit_in_bytes", Box::new(|r| r.memory_swap_limit_in_bytes = -2)),
            ("memory_swap_limit_in_bytes", Box::new(|r| r.memory_swap_limit_in_bytes = 1)),
            (
                "memory_swap_limit_in_bytes",
                Box::new(|r| (r.memory_limit_in_bytes, r.memory_swap_limit_in_bytes) = (9, 8)),
            ),
            ("oom_score_adj", Box::new(|r| r.oom_score_adj = 1001)),
            ("oom_score_adj", Box::new(|r| r.oom_score_adj = -1001)),
            ("oom_score_adj", Box::new(|r| r.oom_score_adj = i64::MAX)),
            ("cpuset_cpus", Box::new(|r| r.cpuset_cpus = "0-".into())),
            ("cpuset_cpus", Box::new(|r| r.cpuset_cpus = "3-1".into())),
            ("cpuset_cpus", Box::new(|r| r.cpuset_cpus = "0\n1".into())),
            ("cpuset_mems", Box::new(|r| r.cpuset_mems = "+1".into())),
            ("hugepage_limits[0].page_size", Box::new(move |r| r.hugepage_limits = hugepage("3MB"))),
            ("hugepage_limits[0].page_size", Box::new(move |r| r.hugepage_limits = hugepage("../2MB"))),
            ("unified[a]", Box::new(|r| drop(r.unified.insert("a".into(), "\0".into())))),
        ];
        for (name, change) in table {
            let refusal = parse(|r| change(r)).unwrap_err().to_string();
            assert!(refusal.starts_with(&format!("r.{name}: ")), "{refusal}");
        }
    }
}
