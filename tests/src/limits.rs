// SPDX-License-Identifier: Apache-2.0
//! How long and how much: every bound of the harness, with its reason.

use std::time::Duration;

/// Worlds that live at the same time in one test program: the machine that runs the tests has two
/// cores, and a third world makes all of them slow enough to fail their deadlines.
pub const WORLDS: usize = 2;

/// Time in which a daemon must answer `Version` after its start. Generous: a debug build on a busy
/// machine needs a second; invariant I7 (2 s) is measured elsewhere.
pub const DAEMON_START: Duration = Duration::from_secs(30);

/// Time in which a daemon must end after SIGTERM.
pub const DAEMON_STOP: Duration = Duration::from_secs(15);

/// Time in which the registry must listen.
pub const REGISTRY_START: Duration = Duration::from_secs(15);

/// Time for one call of the harness's own HTTP client.
pub const HTTP: Duration = Duration::from_secs(20);

/// Largest answer that the harness's HTTP client reads, in bytes.
pub const HTTP_BODY_BYTES: u64 = 64 << 20;

/// What a kubelet's client accepts as one message (cri-client sets 16 MiB both ways).
pub const GRPC_MESSAGE_BYTES: usize = 16 << 20;

/// Deadline of a call that has no longer one of its own: the kubelet's default for most calls is two
/// minutes; a test wants to fail earlier.
pub const CALL: Duration = Duration::from_secs(60);

/// Time that [`crate::census`] waits for the kernel and the daemon to finish what they do in the
/// background (delayed removal of a veth, close of a connection) before it calls it a leak.
pub const SETTLE: Duration = Duration::from_secs(5);

/// Pause between two looks at things that announce no change (fds of another process, files).
pub const TICK: Duration = Duration::from_millis(10);

/// Most entries that the census reads below one directory: a test that makes more is a mistake.
pub const CENSUS_FILES: usize = 200_000;

/// Time in which processes end after SIGKILL and their cgroup can be removed.
pub const KILL: Duration = Duration::from_secs(10);
