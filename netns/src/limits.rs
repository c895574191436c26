// SPDX-License-Identifier: Apache-2.0
//! Bounds of this crate, each with its reason.

/// How many messages one netlink dump may bring: a namespace with more links or addresses than this
/// is not a pod's, and the list would only eat memory.
pub(crate) const DUMP_MESSAGES: usize = 16_384;

/// How often a dump that the kernel marked as interrupted (the list changed meanwhile) is repeated.
pub(crate) const DUMP_ATTEMPTS: usize = 5;

/// How many mounts stacked on one pin are taken off: one is normal, two happen when something bound
/// over it; more than this is a mistake worth an error.
pub(crate) const STACKED_PINS: usize = 16;
