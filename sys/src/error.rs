// SPDX-License-Identifier: Apache-2.0
//! Failures of system calls, printed the way strace prints them.

use std::{fmt, io};

use rustix::io::Errno;

/// What a function of this crate fails with.
pub type Result<T> = std::result::Result<T, Error>;

/// A system call that the kernel refused, or whose result breaks a promise that this crate makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    call: String,
    errno: Errno,
}

impl Error {
    /// The failure of `call`, written as strace writes it: name, arguments in parentheses.
    pub(crate) fn new(call: impl Into<String>, errno: Errno) -> Self {
        Self { call: call.into(), errno }
    }

    /// The failure of `call` by the C library's `errno` of this thread.
    pub(crate) fn last(call: impl Into<String>) -> Self {
        let number = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        Self::new(call, Errno::from_raw_os_error(number))
    }

    /// The call alone, without its result.
    pub fn call(&self) -> &str {
        &self.call
    }

    /// The kernel's error number.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// What kind of failure it is, for decisions.
    pub fn kind(&self) -> io::ErrorKind {
        self.errno.kind()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, io::Error::from(self.errno))
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    /// Keeps the number, so that `kind` and `raw_os_error` stay true; the call's text is lost.
    fn from(error: Error) -> Self {
        error.errno.into()
    }
}
