// SPDX-License-Identifier: Apache-2.0
//! Every bound of this crate, each with its reason.

use std::time::Duration;

/// Bytes of a cgroup path: with the mount point and a file name it must stay below PATH_MAX (4096).
pub(crate) const MAX_PATH_BYTES: usize = 2048;

/// Bytes of one part of a path: NAME_MAX.
pub(crate) const MAX_NAME_BYTES: usize = 255;

/// Parts of a path: kubelet's deepest has five; the kernel gets slower with each level.
pub(crate) const MAX_PATH_PARTS: usize = 32;

/// Bytes read from `/proc/self/mountinfo`: a node with 50,000 mounts of 300 bytes.
pub(crate) const MAX_MOUNTINFO_BYTES: usize = 16 << 20;

/// Bytes read from an interface file: the longest that is used, `devices.list`, has a line of 20 bytes for each rule.
pub(crate) const MAX_FILE_BYTES: usize = 64 << 10;

/// Bytes read from `cgroup.procs`: about 150,000 processes; whoever kills comes back for the rest.
pub(crate) const MAX_PROCS_BYTES: usize = 1 << 20;

/// Cgroups visited below one: a container that may write its own cgroup can make many, and memory must stay bounded.
pub(crate) const MAX_DESCENDANTS: usize = 16_384;

/// Bytes of a value written to an interface file: the kernel takes one page at most.
pub(crate) const MAX_VALUE_BYTES: usize = 4095;

/// Bytes of the name of an interface file; the longest of Linux 6.18 has 38.
pub(crate) const MAX_KEY_BYTES: usize = 64;

/// Bytes of a CPU or node list: 8192 CPUs, every other one listed alone, are 20,000; a kubelet's list has ranges.
pub(crate) const MAX_CPU_LIST_BYTES: usize = MAX_VALUE_BYTES;

/// Device rules of one cgroup: runc's default has 15, and each costs a write.
pub(crate) const MAX_DEVICE_RULES: usize = 1024;

/// Settings by name of one cgroup: the kernel has fewer than 60 writable files.
pub(crate) const MAX_UNIFIED: usize = 64;

/// Bytes of a refused value that an error repeats.
pub(crate) const MAX_ECHO_BYTES: usize = 128;

/// Processes that an error names: enough to find the culprit, short enough for one line.
pub(crate) const MAX_PIDS_NAMED: usize = 16;

/// Process descriptors held at once while signalling, so that a low RLIMIT_NOFILE is no obstacle.
pub(crate) const SIGNAL_BATCH: usize = 64;

/// Rounds of listing and signalling on v1: the second already finds nothing unless the freezer is missing and processes
/// fork faster than they are killed.
pub(crate) const MAX_KILL_ROUNDS: usize = 64;

/// Rounds of a millisecond in which nobody new is listed while the v1 freezer still waits for somebody.
pub(crate) const MAX_QUIET_ROUNDS: usize = 16;

/// How often a walk starts again because a neighbour removed a parent between two steps.
pub(crate) const MAX_CREATE_ATTEMPTS: usize = 16;

/// How often `openat2` is repeated on EAGAIN, which it answers while a rename runs somewhere on the machine.
pub(crate) const MAX_OPEN_ATTEMPTS: usize = 16;

/// First wait where the kernel has no event (v1).
pub(crate) const BACKOFF_FIRST: Duration = Duration::from_millis(1);

/// Longest wait where the kernel has no event (v1).
pub(crate) const BACKOFF_MOST: Duration = Duration::from_millis(64);
