// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with a network.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::names::{ContainerId, InvalidName, NetworkName, PluginType};

/// What a plugin is asked to do (CNI "Parameters", CNI_COMMAND).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Attach.
    Add,
    /// Take away what ADD made.
    Del,
    /// Compare what is with the result of ADD.
    Check,
    /// Say whether ADD would work.
    Status,
    /// Take away what belongs to no attachment of the given list.
    Gc,
    /// Say which versions of the specification the plugin speaks.
    Version,
}

impl Verb {
    /// The value of CNI_COMMAND.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Status => "STATUS",
            Self::Gc => "GC",
            Self::Version => "VERSION",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An operation on a network failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no usable configuration.
    #[error("no CNI network is configured in {}: {why}", dir.display())]
    NotConfigured {
        /// The configuration directory.
        dir: PathBuf,
        /// What was found there instead.
        why: String,
    },
    /// A request that no plugin is ever asked about.
    #[error("{what} of the network request is not valid: {why}")]
    InvalidInput {
        /// The part of the request.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A name in the request is not valid.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// The container id is attached already.
    #[error("{container_id} is attached to network {network} already; DEL it before another ADD")]
    AlreadyAttached {
        /// The id.
        container_id: ContainerId,
        /// The network of the attachment.
        network: NetworkName,
    },
    /// No directory has an executable file of that name.
    #[error("the CNI plugin {plugin} cannot do {verb}: {why}; install it or name its directory in [cni] bin_dirs")]
    PluginMissing {
        /// The plugin.
        plugin: PluginType,
        /// What it was wanted for.
        verb: Verb,
        /// Where it was looked for and what was found.
        why: String,
    },
    /// The plugin said that it failed, or died.
    #[error("the CNI plugin {plugin} failed at {verb}: {message}")]
    PluginFailed {
        /// The plugin.
        plugin: PluginType,
        /// What it was to do.
        verb: Verb,
        /// Its own words, made one line.
        message: String,
        /// Its error code (CNI "Error", `code`): 11 means "try again later", 50 "not available".
        code: Option<u64>,
    },
    /// The plugin claims success, but what it answered cannot be used.
    #[error("the answer of the CNI plugin {plugin} to {verb} cannot be used: {why}")]
    BadAnswer {
        /// The plugin.
        plugin: PluginType,
        /// What it was to do.
        verb: Verb,
        /// What is wrong with the answer.
        why: String,
    },
    /// The plugin, and all that it started in its process group, was killed.
    #[error("the CNI plugin {plugin} did not finish {verb} within {} seconds and was killed", allowed.as_secs_f32())]
    Timeout {
        /// The plugin.
        plugin: PluginType,
        /// What it was to do.
        verb: Verb,
        /// What the whole list was allowed.
        allowed: Duration,
    },
    /// The plugin could not be started.
    #[error("the CNI plugin {plugin} cannot be started for {verb} from {}", path.display())]
    Start {
        /// The plugin.
        plugin: PluginType,
        /// What it was to do.
        verb: Verb,
        /// Its binary.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The plugin was started, but its end or its output could not be waited for; it was killed.
    #[error("the CNI plugin {plugin} cannot be followed through {verb}")]
    Lost {
        /// The plugin.
        plugin: PluginType,
        /// What it was to do.
        verb: Verb,
        /// Why.
        source: io::Error,
    },
    /// The ledger could not be read or written.
    #[error("{call} of the attachment ledger at {}", path.display())]
    Ledger {
        /// What was tried.
        call: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Reading the kernel's state failed.
    #[error("{call}")]
    Call {
        /// The call, as strace would name it.
        call: &'static str,
        /// The errno.
        source: io::Error,
    },
}

/// What a caller can decide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// No valid configuration: the node's network is not ready.
    NotConfigured,
    /// The request is at fault.
    InvalidInput,
    /// A plugin's binary is not there or not executable.
    PluginMissing,
    /// A plugin failed or answered nonsense.
    PluginFailed,
    /// A plugin was killed at its deadline.
    Timeout,
    /// Disk, memory, descriptors, processes.
    Internal,
}

impl Error {
    /// What a caller can decide by.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotConfigured { .. } => Kind::NotConfigured,
            Self::InvalidInput { .. } | Self::InvalidName(_) | Self::AlreadyAttached { .. } => Kind::InvalidInput,
            Self::PluginMissing { .. } => Kind::PluginMissing,
            Self::PluginFailed { .. } | Self::BadAnswer { .. } => Kind::PluginFailed,
            Self::Timeout { .. } => Kind::Timeout,
            Self::Start { .. } | Self::Lost { .. } | Self::Ledger { .. } | Self::Call { .. } => Kind::Internal,
        }
    }

    /// The whole chain of causes as one line, for records and conditions.
    pub fn to_line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line
    }

    pub(crate) fn call(call: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Call { call, source: source.into() }
    }
}
