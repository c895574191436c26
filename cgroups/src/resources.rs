// SPDX-License-Identifier: Apache-2.0
//! What a cgroup may use.

use std::fmt;

use crate::controller::DeviceRule;
use crate::error::{Error, shortened};
use crate::limits;
use crate::unified_key::UnifiedKey;

/// An upper bound, or the wish for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ceiling {
    /// No bound at this level; those of the parents stay.
    Unlimited,
    /// At most so many, in the unit of the field.
    At(u64),
}

impl From<u64> for Ceiling {
    fn from(most: u64) -> Self {
        Self::At(most)
    }
}

impl Ceiling {
    /// The bound as a number; the largest for none.
    pub(crate) fn or_most(self) -> u64 {
        match self {
            Self::Unlimited => u64::MAX,
            Self::At(most) => most,
        }
    }

    /// As v1 wants it.
    pub(crate) fn v1(self) -> String {
        match self {
            Self::Unlimited => "-1".to_owned(),
            Self::At(most) => most.to_string(),
        }
    }

    /// As v2 (and `pids.max` everywhere) wants it.
    pub(crate) fn v2(self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("max"),
            Self::At(most) => write!(f, "{most}"),
        }
    }
}

/// The limits of one cgroup. Only what is set is written; everything else keeps its value.
///
/// CRI: `LinuxContainerResources`; OCI runtime-spec, "config-linux#control-groups".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Relative share of CPU time in v1 terms, 2 to 262144; on v2 written as [`crate::cpu_weight_of_shares`].
    pub cpu_shares: Option<u64>,
    /// CPU time per period, in microseconds.
    pub cpu_quota_us: Option<Ceiling>,
    /// The period that the quota is for, in microseconds; the kernel takes 1000 to 1000000.
    pub cpu_period_us: Option<u64>,
    /// Memory, in bytes.
    pub memory_limit_bytes: Option<Ceiling>,
    /// Memory and swap together, in bytes (the v1 meaning; on v2 the memory limit is subtracted).
    pub memory_swap_limit_bytes: Option<Ceiling>,
    /// Processes and threads.
    pub pids_limit: Option<Ceiling>,
    /// The CPUs that may be used, as `0-3,8`.
    pub cpuset_cpus: Option<String>,
    /// The memory nodes that may be used, as `0,1`.
    pub cpuset_mems: Option<String>,
    /// All devices that may be used; every other is denied. `None` leaves the parent's rules. v1 only so far.
    pub devices: Option<Vec<DeviceRule>>,
    /// Settings by file name, written after all others in this order. v2 only.
    pub unified: Vec<(UnifiedKey, String)>,
}

impl Limits {
    /// Checks what is wrong on every machine, so that nothing is written before it is found.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_list("cpuset_cpus", self.cpuset_cpus.as_deref())?;
        check_list("cpuset_mems", self.cpuset_mems.as_deref())?;
        if let (Some(memory), Some(swap)) = (self.memory_limit_bytes, self.memory_swap_limit_bytes)
            && swap.or_most() < memory.or_most()
        {
            return Err(Error::Value {
                field: "memory_swap_limit_bytes",
                value: swap.to_string(),
                wanted: "at least the memory limit, because it counts memory and swap together",
            });
        }
        if self.devices.as_ref().is_some_and(|rules| rules.len() > limits::MAX_DEVICE_RULES) {
            return Err(Error::Value {
                field: "devices",
                value: format!("{} rules", self.devices.as_ref().map_or(0, Vec::len)),
                wanted: "at most 1024 rules",
            });
        }
        self.check_unified()
    }

    fn check_unified(&self) -> Result<(), Error> {
        let refused = |value: String, wanted| Err(Error::Value { field: "unified", value, wanted });
        if self.unified.len() > limits::MAX_UNIFIED {
            return refused(format!("{} settings", self.unified.len()), "at most 64 settings");
        }
        for (key, value) in &self.unified {
            if value.is_empty() || value.len() > limits::MAX_VALUE_BYTES || value.contains('\0') {
                let shown = format!("{key}={}", shortened(value));
                return refused(shown, "1 to 4095 bytes without NUL as each value");
            }
        }
        Ok(())
    }
}

/// A list as in cpuset(7), "List format": numbers and ranges with commas between them. Not empty: v1 refuses that for a
/// cgroup with processes, and in the OCI and CRI forms an empty string means that nothing is asked for.
fn check_list(field: &'static str, list: Option<&str>) -> Result<(), Error> {
    let Some(list) = list else {
        return Ok(());
    };
    let number = |text: &str| {
        if text.is_empty() || text.len() > 5 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        text.parse::<u32>().ok()
    };
    let valid = list.len() <= limits::MAX_CPU_LIST_BYTES
        && list.split(',').all(|part| match part.split_once('-') {
            None => number(part).is_some(),
            Some((from, to)) => {
                matches!((number(from), number(to)), (Some(from), Some(to)) if from <= to)
            }
        });
    if valid {
        return Ok(());
    }
    Err(Error::Value { field, value: shortened(list), wanted: "numbers and ranges such as 0-3,8" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for good in ["0", "0-3", "0,2,4", "0-3,8,10-11", "65535"] {
            assert!(check_list("cpuset_cpus", Some(good)).is_ok(), "{good:?}");
        }
        for bad in
            ["", ",", "0,", "-", "3-", "-3", "3-1", "a", "0 1", "0\n", "0-3-5", "1000000", "0-3:1/2", "all", "+1", "٣"]
        {
            let error = check_list("cpuset_cpus", Some(bad)).unwrap_err();
            assert_eq!(error.kind(), crate::Kind::InvalidInput, "{bad:?}");
        }
        assert!(check_list("cpuset_cpus", Some(&"0,".repeat(4000))).is_err());
    }

    #[test]
    fn swap_counts_memory_too() {
        let check = |memory: Option<Ceiling>, swap: Option<Ceiling>| {
            Limits { memory_limit_bytes: memory, memory_swap_limit_bytes: swap, ..Limits::default() }.check().is_ok()
        };
        let at = |most| Some(Ceiling::At(most));
        assert!(check(at(5), at(5)));
        assert!(check(at(5), at(6)));
        assert!(check(at(5), Some(Ceiling::Unlimited)));
        assert!(check(Some(Ceiling::Unlimited), Some(Ceiling::Unlimited)));
        assert!(check(None, at(5)));
        assert!(check(at(5), None));
        assert!(!check(at(5), at(4)));
        assert!(!check(Some(Ceiling::Unlimited), at(4)));
    }

    #[test]
    fn settings_by_name_are_bounded() {
        let check = |count: usize, value: &str| {
            let key = UnifiedKey::parse("memory.high").unwrap();
            Limits { unified: vec![(key, value.to_owned()); count], ..Limits::default() }.check().is_ok()
        };
        assert!(check(64, "1"));
        assert!(!check(65, "1"));
        assert!(!check(1, ""));
        assert!(!check(1, "a\0b"));
        assert!(check(1, &"x".repeat(4095)));
        assert!(!check(1, &"x".repeat(4096)));
    }
}
