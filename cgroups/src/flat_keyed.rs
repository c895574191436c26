// SPDX-License-Identifier: Apache-2.0
//! Reads the kernel's text formats: flat keyed files, single numbers and lists of pids.

use std::num::NonZeroI32;

/// The number behind `key` in a flat keyed file (`memory.events`, `cgroup.events`, v1 `memory.oom_control`).
///
/// A line without its newline is not complete and does not count: half of `oom_kill 123` would read as 12.
/// A number beyond 64 bits counts as the largest.
pub(crate) fn value_of(text: &str, key: &str) -> Option<u64> {
    complete_lines(text).find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        if name == key { number(value) } else { None }
    })
}

/// A single number with white space around it; saturates.
pub(crate) fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

/// The pids of a `cgroup.procs`. A 0 stands for a process that this pid namespace cannot see, and is left out.
pub(crate) fn pids(text: &str) -> impl Iterator<Item = NonZeroI32> {
    complete_lines(text).filter_map(|line| line.parse().ok()).filter(|raw| *raw > 0).filter_map(NonZeroI32::new)
}

fn complete_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 123\noom_group_kill 1\n";

    #[test]
    fn values() {
        assert_eq!(value_of(EVENTS, "oom_kill"), Some(123));
        assert_eq!(value_of(EVENTS, "oom"), Some(3));
        assert_eq!(value_of(EVENTS, "oom_"), None);
        assert_eq!(value_of(EVENTS, ""), None);
        assert_eq!(value_of("oom_kill 99999999999999999999999\n", "oom_kill"), Some(u64::MAX));
        for bad in ["oom_kill\n", "oom_kill \n", "oom_kill -1\n", "oom_kill x\n", "oom_kill 1 2\n", "\n\n", ""] {
            assert_eq!(value_of(bad, "oom_kill"), None, "{bad:?}");
        }
    }

    #[test]
    fn a_truncated_file_gives_the_right_value_or_none() {
        for end in 0..=EVENTS.len() {
            let value = value_of(&EVENTS[..end], "oom_kill");
            assert!(matches!(value, None | Some(123)), "{end}: {value:?}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(number(" 9223372036854771712\n"), Some(9_223_372_036_854_771_712));
        assert_eq!(number("max"), None);
        assert_eq!(number("-1"), None);
        assert_eq!(number("+1"), None);
        assert_eq!(number(""), None);
    }

    #[test]
    fn pid_lists() {
        let of = |text| pids(text).map(|pid| pid.get()).collect::<Vec<_>>();
        assert_eq!(of("1\n22\n333\n"), [1, 22, 333]);
        assert_eq!(of("1\n22\n33"), [1, 22]);
        assert_eq!(of("0\n7\n-3\nx\n99999999999\n\n8\n"), [7, 8]);
        assert_eq!(of(""), [0; 0]);
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "[a-z_0-9 \\n-]{0,64}") {
            let _ = value_of(&text, "oom_kill");
            let _ = number(&text);
            let _ = pids(&text).count();
        }
    }
}
