// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with a pod or a container, and of which kind it is.

use std::path::PathBuf;
use std::time::Duration;

use crate::ids::{ContainerId, PodId};

/// What a failure means to the caller; gRPC codes are made from it, in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The pod, container or image does not exist.
    NotFound,
    /// The request cannot be right, whatever the state.
    InvalidInput,
    /// The request is right but not in this state.
    WrongState,
    /// This version does not do it.
    Unsupported,
    /// A deadline passed.
    Timeout,
    /// A limit of the machine or of husk was hit.
    Exhausted,
    /// Something outside (a plugin, the monitor) is not there or does not answer; trying again may help.
    Unavailable,
    /// Anything else: a fault of husk or of the machine.
    Internal,
}

/// A failed operation on a pod or a container. One sentence: the thing, the cause, the way out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No such pod.
    #[error("pod sandbox {0} does not exist")]
    NoPod(PodId),
    /// No such container.
    #[error("container {0} does not exist")]
    NoContainer(ContainerId),
    /// No such image on this node.
    #[error("image {0:?} is not on this node; pull it first")]
    NoImage(String),
    /// A field of the request cannot be right.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field, as the CRI names it.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// Something that this version does not do yet.
    #[error("{field}: {reason}")]
    Unsupported {
        /// The field, as the CRI or the image names it.
        field: &'static str,
        /// What is not done, and what to do instead.
        reason: String,
    },
    /// The pod's state does not allow it.
    #[error("pod sandbox {pod} is {state}; {way_out}")]
    PodState {
        /// Which pod.
        pod: PodId,
        /// Its state, in words.
        state: &'static str,
        /// What to do instead.
        way_out: &'static str,
    },
    /// The container's state does not allow it.
    #[error("container {container} is {state}; {way_out}")]
    ContainerState {
        /// Which container.
        container: ContainerId,
        /// Its state, in words.
        state: &'static str,
        /// What to do instead.
        way_out: &'static str,
    },
    /// The same metadata names an object that was made from another configuration.
    #[error("{what} exists already as {id} with another configuration ({difference}); remove it or raise the attempt")]
    Differs {
        /// `pod sandbox default/web` or `container app`.
        what: String,
        /// The id of the object that is there.
        id: String,
        /// Which fields differ.
        difference: String,
    },
    /// A repetition with another configuration took the place of this operation.
    #[error("{what} was asked for again with another configuration, which took the place of this request")]
    Superseded {
        /// What was being made.
        what: String,
    },
    /// The monitor refused or failed.
    #[error("{doing}: {failure}")]
    Monitor {
        /// What was being done (`start container 12ab…`).
        doing: String,
        /// What the monitor says.
        failure: wire::Failure,
    },
    /// The monitor cannot be reached.
    #[error(
        "the monitor of pod sandbox {pod} does not answer ({cause}); its containers are ended and the pod can be stopped"
    )]
    MonitorLost {
        /// Which pod.
        pod: PodId,
        /// What was seen.
        cause: String,
    },
    /// An exec took longer than it was allowed to.
    #[error("the command in container {container} did not end within {timeout:?} and was killed")]
    ExecTimeout {
        /// In which container.
        container: ContainerId,
        /// What was allowed.
        timeout: Duration,
    },
    /// A container did not die.
    #[error("container {container} still runs {waited:?} after SIGKILL ({details}); the stop can be repeated")]
    WontDie {
        /// Which container.
        container: ContainerId,
        /// How long it was waited for.
        waited: Duration,
        /// Which processes, and what they wait for.
        details: String,
    },
    /// The network could not be set up or given back.
    #[error("network of pod sandbox {pod}: {message}")]
    Network {
        /// Which pod.
        pod: PodId,
        /// What kind it is.
        kind: Kind,
        /// The sentence of the network's own error.
        message: String,
    },
    /// The image store failed.
    #[error("image {image:?}: {message}")]
    Image {
        /// Which image.
        image: String,
        /// What kind it is.
        kind: Kind,
        /// The sentence of the image store's own error.
        message: String,
    },
    /// A network namespace could not be made or removed.
    #[error(transparent)]
    Netns(#[from] std::sync::Arc<netns::Error>),
    /// A cgroup could not be made, limited or removed.
    #[error(transparent)]
    Cgroup(#[from] std::sync::Arc<cgroups::Error>),
    /// The launch cannot be planned.
    #[error("plan the launch of container {container}: {message}")]
    Plan {
        /// Which container.
        container: ContainerId,
        /// Why.
        message: String,
    },
    /// A file of husk's own could not be read or written.
    #[error("{doing} {}: {error}", path.display())]
    File {
        /// `write`, `read`, `remove` …
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the kernel says.
        error: std::sync::Arc<std::io::Error>,
    },
    /// Several things went wrong while something was taken down; everything else was taken down.
    #[error("taking down {what} left something behind, and can be repeated: {}", join(errors))]
    Teardown {
        /// `pod sandbox 12ab…`.
        what: String,
        /// Each failure.
        errors: Vec<Error>,
    },
    /// The daemon is ending.
    #[error("husk is stopping; the request can be repeated when it is back")]
    Stopping,
    /// A task of the daemon panicked; its message is in the log.
    #[error("a fault of husk itself ended the operation: {0}")]
    Fault(String),
}

impl Error {
    /// What the failure means to the caller.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoPod(_) | Self::NoContainer(_) | Self::NoImage(_) => Kind::NotFound,
            Self::Invalid { .. } => Kind::InvalidInput,
            Self::Unsupported { .. } => Kind::Unsupported,
            Self::PodState { .. } | Self::ContainerState { .. } | Self::Differs { .. } => Kind::WrongState,
            Self::Superseded { .. } | Self::MonitorLost { .. } | Self::Stopping => Kind::Unavailable,
            Self::Monitor { failure, .. } => kind_of_failure(failure.kind),
            Self::ExecTimeout { .. } | Self::WontDie { .. } => Kind::Timeout,
            Self::Network { kind, .. } | Self::Image { kind, .. } => *kind,
            Self::File { error, .. } => kind_of_io(error.kind()),
            Self::Teardown { errors, .. } => errors.first().map_or(Kind::Internal, Self::kind),
            Self::Netns(_) | Self::Cgroup(_) | Self::Plan { .. } | Self::Fault(_) => Kind::Internal,
        }
    }

    /// A file operation of ours that failed.
    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>, error: std::io::Error) -> Self {
        Self::File { doing, path: path.into(), error: std::sync::Arc::new(error) }
    }
}

impl From<netns::Error> for Error {
    fn from(error: netns::Error) -> Self {
        Self::Netns(std::sync::Arc::new(error))
    }
}

impl From<cgroups::Error> for Error {
    fn from(error: cgroups::Error) -> Self {
        Self::Cgroup(std::sync::Arc::new(error))
    }
}

fn kind_of_failure(kind: wire::FailureKind) -> Kind {
    match kind {
        wire::FailureKind::UnknownContainer => Kind::NotFound,
        wire::FailureKind::WrongState => Kind::WrongState,
        wire::FailureKind::Exhausted => Kind::Exhausted,
        wire::FailureKind::TimedOut => Kind::Timeout,
        wire::FailureKind::Unsupported => Kind::Unsupported,
        // A program that is not there is the caller's mistake, but in the image and not in the request.
        wire::FailureKind::Launch
        | wire::FailureKind::ProgramMissing
        | wire::FailureKind::ProgramRefused
        | wire::FailureKind::Internal => Kind::Internal,
    }
}

fn kind_of_io(kind: std::io::ErrorKind) -> Kind {
    match kind {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::Exhausted,
        _ => Kind::Internal,
    }
}

fn join(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
