// SPDX-License-Identifier: Apache-2.0
//! Why the monitor could not do what it was asked.

use std::fmt;

use minicbor::{Decode, Encode};

/// What kind of failure it is; decisions are made on this, never on the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum FailureKind {
    /// A step of the launch failed in the child; `step` names it.
    #[n(0)]
    Launch,
    /// The program itself is missing (`ENOENT` of execve).
    #[n(1)]
    ProgramMissing,
    /// The program cannot be executed (`EACCES`, `ENOEXEC`, a directory …).
    #[n(2)]
    ProgramRefused,
    /// The monitor knows no such container.
    #[n(3)]
    UnknownContainer,
    /// The container is not in a state that allows the request.
    #[n(4)]
    WrongState,
    /// A limit of the machine or of the cgroup was hit (`EAGAIN` of clone, `EMFILE` …).
    #[n(5)]
    Exhausted,
    /// The deadline passed; `step` names what it waited for.
    #[n(6)]
    TimedOut,
    /// The request is not one that this version understands.
    #[n(7)]
    Unsupported,
    /// Anything else: a fault of husk or of the machine.
    #[n(8)]
    Internal,
}

/// A refusal or a failure, as data: the text is made from it by [`fmt::Display`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Failure {
    /// What kind it is.
    #[n(0)]
    pub kind: FailureKind,
    /// The step of the launch that failed, as [`crate::Step`] prints itself (`mount proc at /proc`).
    #[n(1)]
    pub step: Option<String>,
    /// The error number of the kernel, when it was the kernel that refused.
    #[n(2)]
    pub errno: Option<i32>,
    /// The cause and the way out, as a half sentence, when the number alone does not tell.
    #[n(3)]
    pub detail: Option<String>,
}

impl Failure {
    /// A failure that no system call caused.
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, step: None, errno: None, detail: Some(detail.into()) }
    }
}

impl fmt::Display for Failure {
    /// Prints `step: cause: detail`, without the parts that are not there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = self.errno.map(|number| std::io::Error::from_raw_os_error(number).to_string());
        let parts = [self.step.as_deref(), cause.as_deref(), self.detail.as_deref()];
        let mut first = true;
        for part in parts.into_iter().flatten() {
            if !first {
                f.write_str(": ")?;
            }
            first = false;
            f.write_str(part)?;
        }
        if first {
            write!(f, "{:?}", self.kind)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sentence() {
        let mut failure = Failure::new(FailureKind::Launch, "is a directory expected there?");
        failure.step = Some("mount proc at /proc".into());
        failure.errno = Some(1);
        assert_eq!(
            failure.to_string(),
            "mount proc at /proc: Operation not permitted (os error 1): is a directory expected there?"
        );
        failure = Failure { kind: FailureKind::Internal, step: None, errno: None, detail: None };
        assert_eq!(failure.to_string(), "Internal");
    }
}
