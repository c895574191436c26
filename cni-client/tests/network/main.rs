// SPDX-License-Identifier: Apache-2.0
//! The client against plugins that misbehave (scripts written by the tests, any user) and against the
//! reference plugins (tier T2: root, and Debian's containernetworking-plugins).

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod deletion;
mod fake;
mod faults;
mod ledger;
mod node;
mod reference;
mod verbs;
mod watching;
