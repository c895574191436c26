// SPDX-License-Identifier: Apache-2.0
//! The one error type of the crate. Each text is a whole sentence with thing, cause and way out, so nothing has to be chained to it.
//!
//! It is `Clone`, because all callers that joined one pull get the same answer, and it can't hold a URL with a query or a secret:
//! hosts are `host:port`, and words of a registry pass through `secret::printable`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a caller may decide on. gRPC codes are made from it in the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No such image, tag, digest or platform.
    NotFound,
    /// The request itself or the configuration is wrong.
    InvalidInput,
    /// The registry wants other credentials.
    Unauthorized,
    /// The registry can't be reached or says that it can't serve now.
    Unavailable,
    /// What was fetched or read isn't what was promised.
    Corrupt,
    /// A limit of ours or the disk is exhausted.
    Exhausted,
    /// Nothing came in time.
    Timeout,
    /// Valid, but not done here.
    Unsupported,
    /// The machine refused something that it normally grants.
    Internal,
}

/// Why an operation on references, registries, layers or the store failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// An image name that doesn't follow the reference grammar.
    #[error("image reference \"{reference}\" is invalid: {reason}")]
    InvalidReference {
        /// The text, cleaned.
        reference: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A digest that isn't strict.
    #[error("digest \"{text}\" is invalid: {reason}")]
    InvalidDigest {
        /// The text, cleaned.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An `AuthConfig` that contradicts itself.
    #[error("the credentials of this pull are invalid: {reason}")]
    InvalidCredentials {
        /// What is wrong; never the value.
        reason: &'static str,
    },
    /// A `hosts.toml` that can't be used.
    #[error("{path}:{line}: {reason}", path = path.display())]
    InvalidHosts {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// An id prefix that fits several images.
    #[error("image id \"{prefix}\" fits {count} images; give more digits")]
    AmbiguousId {
        /// The prefix as given.
        prefix: String,
        /// How many images it fits.
        count: usize,
    },
    /// The registry, or the store, has no such image.
    #[error("image {reference} not found{place}")]
    NotFound {
        /// The image as asked for.
        reference: String,
        /// Where it was looked for, with a leading space, or nothing for the local store.
        place: String,
    },
    /// No manifest of the index fits this machine.
    #[error("image {reference} not found for {wanted}; it has {available}")]
    NoPlatform {
        /// The image as asked for.
        reference: String,
        /// This machine's platform.
        wanted: String,
        /// What the index offers.
        available: String,
    },
    /// 401 or 403, or a token server that refuses.
    #[error("registry {host} refuses {repository}: {reason}; check the image pull secret")]
    Unauthorized {
        /// Host and port.
        host: String,
        /// Repository or token server.
        repository: String,
        /// The registry's words or ours.
        reason: String,
    },
    /// No usable answer. The first word is what the kubelet looks for (cri-api `pkg/errors`).
    #[error("RegistryUnavailable: registry {host} cannot serve {what}: {cause}")]
    Unavailable {
        /// Host and port.
        host: String,
        /// What was asked for.
        what: String,
        /// The reason.
        cause: String,
    },
    /// No bytes within the progress timeout.
    #[error("RegistryUnavailable: registry {host} sent nothing of {what} for {} s", after.as_secs_f32())]
    Stalled {
        /// Host and port.
        host: String,
        /// What was asked for.
        what: String,
        /// The progress timeout.
        after: Duration,
    },
    /// An answer that this client can't use.
    #[error("registry {host} answers {what} with {answer}")]
    Protocol {
        /// Host and port.
        host: String,
        /// What was asked for.
        what: String,
        /// Status or what else is wrong.
        answer: String,
    },
    /// Content that isn't what its digest, size or type says.
    #[error("{what} is corrupt: {reason}")]
    Corrupt {
        /// Blob, manifest, layer or record.
        what: String,
        /// How it differs.
        reason: String,
    },
    /// An entry of a layer that can't be applied safely.
    #[error("layer entry \"{entry}\" is refused: {reason}")]
    Entry {
        /// Path in the archive, cleaned.
        entry: String,
        /// Why.
        reason: String,
    },
    /// A bound of [`crate::limits`] was passed.
    #[error("{what} exceeds the limit of {limit}")]
    Limit {
        /// What grew too large.
        what: String,
        /// The bound with its unit.
        limit: String,
    },
    /// No space, no inodes or over quota.
    #[error("no space left for {what} below {path}; free some or move the root", path = path.display())]
    NoSpace {
        /// What was being written.
        what: String,
        /// Directory of the file system.
        path: PathBuf,
    },
    /// Valid, but not supported.
    #[error("{what} is not supported: {reason}")]
    Unsupported {
        /// The thing.
        what: String,
        /// Why, or what to do.
        reason: String,
    },
    /// An archive that `load` can't use.
    #[error("archive {path} cannot be loaded: {reason}", path = path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A system call on a file of the store failed.
    #[error("{operation} {path}: {source}", path = path.display())]
    Io {
        /// What was tried, a verb.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The errno.
        source: Arc<io::Error>,
    },
    /// The work was given up because nobody waits for it any more, or its thread ended early.
    #[error("{what} was interrupted before it was complete; try again")]
    Interrupted {
        /// What was under way.
        what: &'static str,
    },
}

impl Error {
    /// The class of the error, for decisions.
    pub fn kind(&self) -> Kind {
        match self {
            Error::InvalidReference { .. }
            | Error::InvalidDigest { .. }
            | Error::InvalidCredentials { .. }
            | Error::InvalidHosts { .. }
            | Error::AmbiguousId { .. }
            | Error::Archive { .. } => Kind::InvalidInput,
            Error::NotFound { .. } | Error::NoPlatform { .. } => Kind::NotFound,
            Error::Unauthorized { .. } => Kind::Unauthorized,
            Error::Unavailable { .. } => Kind::Unavailable,
            Error::Stalled { .. } => Kind::Timeout,
            Error::Protocol { .. } | Error::Corrupt { .. } | Error::Entry { .. } => Kind::Corrupt,
            Error::Limit { .. } | Error::NoSpace { .. } => Kind::Exhausted,
            Error::Unsupported { .. } => Kind::Unsupported,
            Error::Io { .. } | Error::Interrupted { .. } => Kind::Internal,
        }
    }

    /// A failed file operation; a full disk or quota becomes [`Error::NoSpace`].
    pub fn io(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Error {
        let source = source.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::NoSpace { what: operation.to_owned(), path: path.to_owned() }
            }
            _ => Error::Io { operation, path: path.to_owned(), source: Arc::new(source) },
        }
    }

    /// Content that differs from its promise.
    pub fn corrupt(what: impl Into<String>, reason: impl Into<String>) -> Error {
        Error::Corrupt { what: what.into(), reason: reason.into() }
    }

    /// Whether the same request may succeed in a moment.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind(), Kind::Unavailable | Kind::Timeout)
    }
}
