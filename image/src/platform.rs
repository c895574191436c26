// SPDX-License-Identifier: Apache-2.0
//! Which manifest of an index fits this machine (image-spec, "image-index#platform-variants").

use std::fmt;

use serde::Deserialize;

/// Operating system, architecture and variant, in Go's names as images use them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// `linux` for everything that can run here.
    #[serde(default)]
    pub os: String,
    /// `amd64`, `arm64`, …
    #[serde(default)]
    pub architecture: String,
    /// `v7` and `v8` for ARM, `v2` to `v4` for amd64.
    #[serde(default)]
    pub variant: Option<String>,
}

impl Platform {
    /// The machine that this program runs on.
    pub fn host() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", amd64_level().map(|level| format!("v{level}"))),
            "aarch64" => ("arm64", Some("v8".to_owned())),
            "arm" => ("arm", Some("v7".to_owned())),
            "x86" => ("386", None),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Platform { os: "linux".to_owned(), architecture: architecture.to_owned(), variant }
    }

    /// How well `candidate` suits this machine: nothing if it can't run, and the higher the better.
    pub fn fitness(&self, candidate: &Platform) -> Option<u32> {
        if candidate.os != self.os || candidate.architecture != self.architecture {
            return None;
        }
        let offered = candidate.variant.as_deref().filter(|v| !v.is_empty());
        let level = |variant: Option<&str>, default: u32| match variant {
            None => Some(default),
            Some(v) => v.strip_prefix('v').and_then(|digits| digits.parse().ok()),
        };
        // An image without a variant is for the lowest level of amd64, for v8 of arm64 and for v7 of arm, as containerd reads it.
        let default = match self.architecture.as_str() {
            "amd64" => 1,
            "arm64" => 8,
            "arm" => 7,
            _ => return (offered == self.variant.as_deref().filter(|v| !v.is_empty())).then_some(1),
        };
        let offered = level(offered, default)?;
        (offered <= level(self.variant.as_deref(), default)?).then_some(offered)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

/// The x86-64 microarchitecture level of the psABI; nothing stands for the base level.
#[cfg(target_arch = "x86_64")]
fn amd64_level() -> Option<u32> {
    use std::arch::is_x86_feature_detected as has;
    let v2 = has!("sse3") && has!("ssse3") && has!("sse4.1") && has!("sse4.2") && has!("popcnt") && has!("cmpxchg16b");
    let v3 = v2
        && has!("avx")
        && has!("avx2")
        && has!("bmi1")
        && has!("bmi2")
        && has!("f16c")
        && has!("fma")
        && has!("lzcnt")
        && has!("movbe");
    let v4 = v3 && has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    [(v4, 4), (v3, 3), (v2, 2)].into_iter().find_map(|(has, level)| has.then_some(level))
}

#[cfg(not(target_arch = "x86_64"))]
fn amd64_level() -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/');
        let mut next = || parts.next().map(str::to_owned);
        Platform { os: next().unwrap(), architecture: next().unwrap(), variant: next() }
    }

    #[test]
    fn fitness_by_variant() {
        let table = [
            ("linux/amd64/v3", "linux/amd64", Some(1)),
            ("linux/amd64/v3", "linux/amd64/v2", Some(2)),
            ("linux/amd64/v3", "linux/amd64/v4", None),
            ("linux/amd64", "linux/amd64/v2", None),
            ("linux/amd64", "linux/386", None),
            ("linux/amd64", "windows/amd64", None),
            ("linux/arm64/v8", "linux/arm64", Some(8)),
            ("linux/arm64/v8", "linux/arm64/v8", Some(8)),
            ("linux/arm64/v8", "linux/arm64/v9", None),
            ("linux/arm/v7", "linux/arm/v6", Some(6)),
            ("linux/arm/v7", "linux/arm", Some(7)),
            ("linux/arm/v6", "linux/arm/v7", None),
            ("linux/arm/v7", "linux/arm/x", None),
            ("linux/riscv64", "linux/riscv64", Some(1)),
            ("linux/amd64", "unknown/unknown", None),
        ];
        for (host, candidate, expected) in table {
            assert_eq!(platform(host).fitness(&platform(candidate)), expected, "{candidate} on {host}");
        }
        assert_eq!(Platform::host().os, "linux");
    }
}
