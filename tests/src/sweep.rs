// SPDX-License-Identifier: Apache-2.0
//! Takes back what test programs left that were killed before they could do it themselves.
//!
//! A world's cgroup and directory carry the pid of its test program. When that pid belongs to nobody,
//! the processes in the cgroup are killed and both are removed. Nothing without such a name is touched.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::cgroup::{self, CgroupParent};
use crate::process::Process;

/// Start of the names of cgroups and directories of worlds.
pub(crate) const PREFIX: &str = "husk-test-";
/// Where the directories of worlds are.
pub(crate) const DIRECTORY: &str = "/tmp";

/// The pid in a world's name, `husk-test-<pid>-<number>` with anything behind it.
fn owner(name: &str) -> Option<u32> {
    let (pid, rest) = name.strip_prefix(PREFIX)?.split_once('-')?;
    rest.starts_with(|first: char| first.is_ascii_digit()).then_some(())?;
    pid.parse().ok()
}

/// Names in a directory that belong to test programs which are gone.
fn orphans(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| owner(name).is_some_and(|pid| Process::read(pid).is_none()))
        .collect()
}

/// Removes the worlds of test programs that are gone.
///
/// # Errors
/// When something of them cannot be removed.
pub fn sweep() -> Result<()> {
    let mut names = BTreeSet::new();
    for hierarchy in cgroup::hierarchies()? {
        names.extend(orphans(&hierarchy.mount));
    }
    for name in names {
        // Making it again fills the gaps of a half-removed one; then all of it goes.
        CgroupParent::new(&name)?.remove()?;
    }
    for name in orphans(Path::new(DIRECTORY)) {
        fs::remove_dir_all(Path::new(DIRECTORY).join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_worlds_have_an_owner() {
        assert_eq!(owner("husk-test-123-0"), Some(123));
        assert_eq!(owner("husk-test-123-4-aB3x"), Some(123));
        for other in ["husk-test-monitor-12", "husk-test-12", "husk-test-12-x", "test-1-2", "husk-test--1"] {
            assert_eq!(owner(other), None, "{other}");
        }
    }

    #[test]
    fn what_a_dead_program_left_is_taken_back() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let name = format!("{PREFIX}{pid}-0");
        let directory = Path::new(DIRECTORY).join(format!("{name}-x"));
        fs::create_dir_all(directory.join("inner")).unwrap();
        let left = CgroupParent::new(&name).unwrap();
        let places: Vec<_> = left.directories().map(Path::to_path_buf).collect();
        // As if the program had been killed: its destructor does not run.
        std::mem::forget(left);
        sweep().unwrap();
        assert!(!directory.exists());
        for place in places {
            assert!(!place.exists(), "{} is left", place.display());
        }
    }
}
