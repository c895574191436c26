// SPDX-License-Identifier: Apache-2.0
//! The name of a controller's setting on v2, as a caller may give it.

use std::fmt;

use crate::dir::FileName;
use crate::error::{Error, shortened};
use crate::limits;

/// A file name such as `memory.high`: lower case, with a dot, and never one of `cgroup.*`.
///
/// OCI runtime-spec, "config-linux#unified"; CRI: `LinuxContainerResources.unified`. The type is the defence against a
/// key such as `../../other/memory.max` (GHSA-5g49-rx9x-qfc6): it cannot hold a slash, and the core files, through
/// which one could move processes, are no settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnifiedKey(String);

impl UnifiedKey {
    /// Parses a key: `[a-z0-9_]+`, a dot, `[a-z0-9_.]+`, at most 64 bytes, not beginning with `cgroup.`.
    ///
    /// # Errors
    /// [`Error::Key`] for everything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let valid = text.len() <= limits::MAX_KEY_BYTES
            && text.split_once('.').is_some_and(|(controller, rest)| {
                controller != "cgroup"
                    && !controller.is_empty()
                    && controller.bytes().all(word)
                    && !rest.is_empty()
                    && rest.bytes().all(|byte| word(byte) || byte == b'.')
            });
        if valid { Ok(Self(text.to_owned())) } else { Err(Error::Key { key: shortened(text) }) }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The controller that the setting belongs to: what stands before the first dot.
    pub fn controller(&self) -> &str {
        self.0.split('.').next().unwrap_or(&self.0)
    }

    pub(crate) fn file_name(&self) -> FileName<'_> {
        FileName::of_key(&self.0)
    }
}

impl fmt::Display for UnifiedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for good in ["memory.high", "cpuset.cpus.partition", "io.bfq.weight", "a.b", "a_1.b_2"] {
            assert_eq!(UnifiedKey::parse(good).unwrap().as_str(), good);
        }
        assert_eq!(UnifiedKey::parse("cpuset.cpus.partition").unwrap().controller(), "cpuset");
        for bad in [
            "",
            ".",
            "..",
            "memory",
            "memory.",
            ".high",
            "../x.y",
            "memory.high/../x",
            "/memory.high",
            "memory.high\n",
            "memory.high\0",
            "Memory.high",
            "memory high.x",
            "cgroup.procs",
            "cgroup.kill",
            "cgroup.subtree_control",
            "mémory.high",
        ] {
            assert!(UnifiedKey::parse(bad).is_err(), "{bad:?}");
        }
        assert!(UnifiedKey::parse(&format!("m.{}", "x".repeat(62))).is_ok());
        assert!(UnifiedKey::parse(&format!("m.{}", "x".repeat(63))).is_err());
    }
}
