// SPDX-License-Identifier: Apache-2.0
//! Why an OCI config does not compile.

/// A config that this version cannot carry out exactly as it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A part is missing without which nothing can be launched.
    #[error("the OCI config has no {0}")]
    Missing(&'static str),
    /// A part holds something that this version does not carry out.
    #[error("{part} of the OCI config: {value:?} is not supported")]
    Unsupported {
        /// Which part (`mounts[3].options`).
        part: String,
        /// What stands there.
        value: String,
    },
    /// A path is not absolute, not text, or climbs.
    #[error("{part} of the OCI config: {path:?} is not an absolute path without `..`")]
    BadPath {
        /// Which part.
        part: String,
        /// What stands there.
        path: String,
    },
    /// More bind mounts than a plan has slots for.
    #[error("the OCI config has more than {} bind mounts", u16::MAX)]
    TooManyMounts,
}

impl Error {
    pub(crate) fn unsupported(part: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Unsupported { part: part.into(), value: value.into() }
    }
}
