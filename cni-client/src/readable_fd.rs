// SPDX-License-Identifier: Apache-2.0
//! A descriptor that the runtime's event loop watches for being readable.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Hands the descriptor to the event loop. Only for types that own one descriptor and never change it.
pub(crate) fn watch<T: AsFd + AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    #[expect(
        deprecated,
        reason = "its successor is an unsafe function, which this crate may not call; the types given here own their descriptor for life, which is all that it asks for"
    )]
    AsyncFd::with_interest(owner, Interest::READABLE)
}
