// SPDX-License-Identifier: Apache-2.0
//! Why a request is not carried out.

use sandbox::Kind;
use tonic::Status;

use crate::cri::status;

/// Why a request is not carried out. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// A field cannot be right, whatever the state.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field, as the proto names it.
        field: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// A field is right, but not on a node that is set up like this one.
    #[error("{field}: {reason}")]
    Misfit {
        /// The field, as the proto names it.
        field: String,
        /// What does not fit, and what would.
        reason: String,
    },
    /// A field asks for something that this version does not do.
    #[error("{field} is not supported by this version of husk: {why}")]
    Unsupported {
        /// The field, as the proto names it.
        field: String,
        /// What it would do, and what to ask for instead.
        why: &'static str,
    },
    /// An id that nothing has.
    #[error("{what} {id:?} does not exist")]
    Unknown {
        /// `pod sandbox` or `container`.
        what: &'static str,
        /// The id as given.
        id: String,
    },
}

impl Refusal {
    /// What it means to the caller.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Invalid { .. } => Kind::InvalidInput,
            Self::Misfit { .. } => Kind::WrongState,
            Self::Unsupported { .. } => Kind::Unsupported,
            Self::Unknown { .. } => Kind::NotFound,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        status::of(status::code(refusal.kind()), &refusal.to_string())
    }
}
