// SPDX-License-Identifier: Apache-2.0
//! Bounds of this crate, each with its reason.

use std::time::Duration;

/// Size of a pod's `/dev/shm` in bytes: what both peers give, and what programs have come to expect.
pub const SHM_BYTES: u64 = 64 * 1024 * 1024;

/// `oom_score_adj` of pause (the kubelet's own convention for sandboxes).
pub const PAUSE_OOM_SCORE_ADJ: i32 = -998;

/// How long a launch may take before the step that it hangs in is named: below the kubelet's two minutes for
/// `StartContainer`, so that the kubelet sees the reason and not its own deadline.
pub const LAUNCH: Duration = Duration::from_secs(90);

/// How long a monitor may take for an answer that costs it no more than a few system calls.
pub const MONITOR_ANSWER: Duration = Duration::from_secs(20);

/// How long a container may live on after SIGKILL before the stop is answered with an error that names what it waits
/// for; the kubelet's own deadline is two minutes beyond the grace time.
pub const KILL_WAIT: Duration = Duration::from_secs(60);

/// How long an operation whose clients have all gone is kept for a repetition.
pub const UNCLAIMED: Duration = Duration::from_secs(120);

/// How long the removal of a cgroup may wait for the kernel to let go of the last process.
pub const CGROUP_REMOVE: Duration = Duration::from_secs(5);

/// Largest record file that is read, in bytes: a configuration of 16 MiB over gRPC, as JSON with escapes.
pub const RECORD_BYTES: u64 = 64 * 1024 * 1024;

/// Threads that wait for the disk at a time. Two would do for two cores; a slow disk wants a few more.
pub const BLOCKING_THREADS: usize = 8;

/// Longest reason or message, in bytes, kept about an exit: the kubelet copies it into the pod's status.
pub const MESSAGE_BYTES: usize = 1024;

/// Requests to one monitor that wait for an answer at a time.
pub const MONITOR_REQUESTS: usize = 256;
