// SPDX-License-Identifier: Apache-2.0
//! How a process ended. The monitor writes one such record to `exits/<id>` before it tells anybody.

use minicbor::{Decode, Encode};

use crate::frame::{FrameError, decode_exactly, encode};

/// How a process ended, as `wait(2)` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ExitStatus {
    /// It called `exit` with this code.
    #[n(0)]
    Code(#[n(0)] u8),
    /// This signal ended it.
    #[n(1)]
    Signal(#[n(0)] u8),
}

impl ExitStatus {
    /// The code that a shell and the CRI show: the exit code, or 128 plus the signal.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => i32::from(code),
            Self::Signal(signal) => 128 + i32::from(signal),
        }
    }
}

/// The end of a container's main process or of pause: what the record file `exits/<id>` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Exit {
    /// How it ended.
    #[n(0)]
    pub status: ExitStatus,
    /// When it started, in nanoseconds since the epoch; 0 when it never did.
    #[n(1)]
    pub started_at_ns: u64,
    /// When it ended, in nanoseconds since the epoch; never before `started_at_ns`, whatever the clock did.
    #[n(2)]
    pub finished_at_ns: u64,
    /// The kernel killed a process of its cgroup for memory, counted over the life of the container.
    #[n(3)]
    pub oom_kills: u64,
    /// The main process itself was among the killed: it died of SIGKILL while the counter moved.
    #[n(4)]
    pub oom_killed: bool,
}

impl Exit {
    /// The bytes of the record file.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads the bytes of a record file.
    ///
    /// # Errors
    /// When the bytes are not exactly one record.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrameError> {
        decode_exactly(bytes)
    }
}
