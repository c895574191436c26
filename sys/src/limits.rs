// SPDX-License-Identifier: Apache-2.0
//! Bounds, each with its reason.

/// Most descriptors that one datagram may carry. Our protocols never send more than four; the rest is room for a later
/// version. A datagram with more is refused.
pub(crate) const DATAGRAM_FDS: usize = 8;

/// Connections that may wait to be accepted. One daemon connects to a monitor, and the command line now and then.
pub(crate) const BACKLOG: i32 = 16;

/// Highest signal number of Linux (`SIGRTMAX`).
pub(crate) const SIGNAL_MAX: i32 = 64;
