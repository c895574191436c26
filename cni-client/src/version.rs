// SPDX-License-Identifier: Apache-2.0
//! Versions of the CNI specification.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A version of the specification that this client speaks, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum SpecVersion {
    /// 0.3.0: lists of plugins and results with interfaces.
    V0_3_0,
    /// 0.3.1: the same, with a misprint corrected.
    V0_3_1,
    /// 0.4.0: CHECK, and the result of ADD handed to DEL.
    V0_4_0,
    /// 1.0.0: no single configurations, no IP version in results.
    V1_0_0,
    /// 1.1.0: STATUS, GC, several versions in one list.
    V1_1_0,
}

const NAMES: [(SpecVersion, &str); 5] = [
    (SpecVersion::V0_3_0, "0.3.0"),
    (SpecVersion::V0_3_1, "0.3.1"),
    (SpecVersion::V0_4_0, "0.4.0"),
    (SpecVersion::V1_0_0, "1.0.0"),
    (SpecVersion::V1_1_0, "1.1.0"),
];

/// A version that this client does not speak.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CNI version {0:?} is not one of 0.3.0, 0.3.1, 0.4.0, 1.0.0 and 1.1.0")]
pub struct UnknownVersion(pub String);

impl SpecVersion {
    /// The version as it is written.
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(version, _)| *version == self).map_or("1.1.0", |(_, name)| name)
    }

    /// Whether plugins of this version know CHECK.
    pub fn has_check(self) -> bool {
        self >= Self::V0_4_0
    }

    /// Whether DEL is given the result of ADD.
    pub fn has_result_at_del(self) -> bool {
        self >= Self::V0_4_0
    }

    /// Whether plugins of this version know STATUS and GC.
    pub fn has_status_and_gc(self) -> bool {
        self >= Self::V1_1_0
    }
}

impl FromStr for SpecVersion {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        NAMES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(version, _)| *version)
            .ok_or_else(|| UnknownVersion(text.chars().take(32).collect()))
    }
}

impl TryFrom<String> for SpecVersion {
    type Error = UnknownVersion;

    fn try_from(text: String) -> Result<Self, UnknownVersion> {
        text.parse()
    }
}

impl From<SpecVersion> for String {
    fn from(version: SpecVersion) -> Self {
        version.as_str().into()
    }
}

impl fmt::Display for SpecVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_reads_what_it_writes_and_they_are_in_order() {
        for (version, name) in NAMES {
            assert_eq!(name.parse(), Ok(version));
            assert_eq!(version.as_str(), name);
        }
        assert!(NAMES.is_sorted());
        for unknown in ["", "0.2.0", "1.0", "1.1.0 ", "2.0.0", "v1.0.0"] {
            assert!(unknown.parse::<SpecVersion>().is_err(), "{unknown}");
        }
    }
}
