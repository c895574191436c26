// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with a network namespace.

use std::io;
use std::path::PathBuf;

/// An operation on a network namespace failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pin's path is relative, or has no parent directory.
    #[error("the pin {} is not an absolute path of a file", pin.display())]
    InvalidPin {
        /// The path as it was given.
        pin: PathBuf,
    },
    /// Something is already at the pin's path.
    #[error("the pin {} exists already; remove it before a namespace is made there", pin.display())]
    AlreadyExists {
        /// The path of the pin.
        pin: PathBuf,
    },
    /// Nothing is at the pin's path.
    #[error("no network namespace is pinned at {}", pin.display())]
    NotFound {
        /// The path of the pin.
        pin: PathBuf,
    },
    /// Something that is no network namespace is at the pin's path.
    #[error("{} is not a network namespace, so it is left alone", pin.display())]
    NotANamespace {
        /// The path of the pin.
        pin: PathBuf,
    },
    /// The namespace has no interface of this name.
    #[error("the namespace {} has no interface {interface:?}", pin.display())]
    NoInterface {
        /// The path of the pin.
        pin: PathBuf,
        /// The name that was asked for.
        interface: String,
    },
    /// A system call on a path failed.
    #[error("{call}({})", path.display())]
    Path {
        /// The call, with its flags, as strace would name it.
        call: &'static str,
        /// What it was applied to.
        path: PathBuf,
        /// The errno.
        source: io::Error,
    },
    /// A system call on the namespace as such failed.
    #[error("{call}")]
    Call {
        /// The call, with its arguments, as strace would name it.
        call: &'static str,
        /// The errno.
        source: io::Error,
    },
    /// The kernel answered a netlink request with something that cannot be understood.
    #[error("the kernel's answer to {request} is unusable: {why}")]
    Netlink {
        /// The request, by its rtnetlink(7) name.
        request: &'static str,
        /// What is wrong with the answer.
        why: String,
    },
    /// The closure given to [`crate::Netns::run`] panicked.
    #[error("the code that ran inside the namespace {} panicked", pin.display())]
    Panicked {
        /// The path of the pin.
        pin: PathBuf,
    },
}

/// What a caller can decide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// There is no such pin or interface.
    NotFound,
    /// There is a pin already.
    AlreadyExists,
    /// The path is not one that a namespace can be pinned at, or is something else.
    InvalidInput,
    /// The kernel's limit of namespaces, threads, mounts, memory or disk is reached.
    Exhausted,
    /// Anything else.
    Internal,
}

impl Error {
    /// What a caller can decide by.
    pub fn kind(&self) -> Kind {
        match self {
            Self::InvalidPin { .. } | Self::NotANamespace { .. } => Kind::InvalidInput,
            Self::AlreadyExists { .. } => Kind::AlreadyExists,
            Self::NotFound { .. } | Self::NoInterface { .. } => Kind::NotFound,
            Self::Path { source, .. } | Self::Call { source, .. } => of_errno(source),
            Self::Netlink { .. } | Self::Panicked { .. } => Kind::Internal,
        }
    }

    pub(crate) fn call(call: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Call { call, source: source.into() }
    }

    pub(crate) fn path(call: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Path { call, path: path.into(), source: source.into() }
    }
}

fn of_errno(source: &io::Error) -> Kind {
    use rustix::io::Errno;

    // ENOSPC: user.max_net_namespaces or fs.mount-max; EAGAIN: no more threads.
    match Errno::from_io_error(source) {
        Some(Errno::NOSPC | Errno::NOMEM | Errno::AGAIN | Errno::MFILE | Errno::NFILE) => Kind::Exhausted,
        Some(Errno::DQUOT) => Kind::Exhausted,
        _ => Kind::Internal,
    }
}
