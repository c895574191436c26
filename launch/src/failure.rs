// SPDX-License-Identifier: Apache-2.0
//! From errors of the kernel to failures that name the step, the cause and the call.

use rustix::io::Errno;
use wire::{Failure, FailureKind};

/// What a part of a launch ends with.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// An error that has a number of the kernel.
pub(crate) trait Number {
    /// The number, and the call when the error knows it.
    fn split(self) -> (Errno, Option<String>);
}

impl Number for Errno {
    fn split(self) -> (Errno, Option<String>) {
        (self, None)
    }
}

impl Number for sys::Error {
    fn split(self) -> (Errno, Option<String>) {
        (self.errno(), Some(self.call().to_owned()))
    }
}

impl Number for std::io::Error {
    fn split(self) -> (Errno, Option<String>) {
        (Errno::from_io_error(&self).unwrap_or(Errno::IO), None)
    }
}

/// Turns a refused call into a failure.
pub(crate) trait Because<T> {
    /// Says what was tried: the call with its arguments, or the thing and the way out.
    fn because(self, what: impl FnOnce() -> String) -> Result<T>;

    /// Lets the error say itself what was tried.
    fn or_fail(self) -> Result<T>;
}

impl<T, E: Number> Because<T> for std::result::Result<T, E> {
    fn because(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let (errno, _) = error.split();
            from_errno(errno, Some(what()))
        })
    }

    fn or_fail(self) -> Result<T> {
        self.map_err(|error| {
            let (errno, call) = error.split();
            from_errno(errno, call)
        })
    }
}

/// Puts the name of a step on a failure that has none.
pub(crate) trait Named<T> {
    /// The name is what [`Failure::step`] holds: verb first, the thing, the place.
    fn step(self, name: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Named<T> for Result<T> {
    fn step(self, name: impl FnOnce() -> String) -> Self {
        self.map_err(|mut failure| {
            failure.step.get_or_insert_with(name);
            failure
        })
    }
}

/// A failure that the kernel caused.
pub(crate) fn from_errno(errno: Errno, detail: Option<String>) -> Failure {
    let kind = match errno {
        Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE => FailureKind::Exhausted,
        _ => FailureKind::Launch,
    };
    Failure { kind, step: None, errno: Some(errno.raw_os_error()), detail }
}

/// A failure that this crate decided on, without the kernel.
pub(crate) fn refuse(detail: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Launch, detail)
}
