// SPDX-License-Identifier: Apache-2.0
//! Bounds of the monitor, each with its reason.

use std::time::Duration;

/// Connections at a time: the daemon, its successor during an upgrade, and two for a person who looks.
pub(crate) const CONNECTIONS: usize = 4;

/// Frames that wait for one reader. A daemon reads at once; one that lets this many pile up is stopped or gone.
pub(crate) const QUEUED_FRAMES: usize = 64;

/// Frames read from one connection per wake-up, so that a flood of requests does not starve the logs.
pub(crate) const FRAMES_PER_WAKE: usize = 16;

/// Containers that one pod may have in the monitor's memory. Kubernetes has no limit of its own, but a pod's
/// manifest has at most 1.5 MiB (etcd), and nobody has seen more than some dozens.
pub(crate) const CONTAINERS: usize = 256;

/// Execs at a time in one pod: probes of every container at once, and a person beside them.
pub(crate) const EXECS: usize = 64;

/// Sub-cgroups of ended execs that are watched until what the exec left running ends. More than these are not
/// watched: the container's end takes them away.
pub(crate) const LEFTOVERS: usize = 128;

/// Bytes read at once from a container's stream. Together with [`BATCH_BYTES`] and one [`CHUNK_BYTES`] carry this
/// keeps the growth under a stream without newlines below 64 KiB.
pub(crate) const READ_BYTES: usize = 16 * 1024;

/// Content of one log line, in bytes, before it is split: what both peers and the kubelet's reader use.
pub(crate) const CHUNK_BYTES: usize = 16 * 1024;

/// Log bytes collected for one write: at least the longest line (header, [`CHUNK_BYTES`], newline).
pub(crate) const BATCH_BYTES: usize = 20 * 1024;

/// Reads of one stream per wake-up, so that a container that floods does not starve its neighbours.
pub(crate) const READS_PER_WAKE: usize = 16;

/// Output of an exec kept in the monitor's own memory, in bytes per stream; what goes beyond is in a memfd. Two
/// streams of this size still fit into one inline frame.
pub(crate) const CAPTURE_MEMORY_BYTES: usize = 20 * 1024;

/// Children reaped per wake-up, so that a fork bomb whose orphans come to the monitor does not stop the logs.
pub(crate) const REAPS_PER_WAKE: usize = 256;

/// Events taken from the kernel per wake-up.
pub(crate) const EVENTS_PER_WAKE: usize = 64;

/// How long pause may take to start. It touches no path that a volume or an image controls.
pub(crate) const PAUSE_LAUNCH: Duration = Duration::from_secs(30);

/// How long opening a log anew may take: its directory may lie on a dead volume.
pub(crate) const REOPEN: Duration = Duration::from_secs(10);

/// How long an exec without a timeout may take until its program runs.
pub(crate) const EXEC_LAUNCH: Duration = Duration::from_secs(120);

/// How long a container whose main process ended may keep its log open after everything in its cgroup was killed:
/// SIGKILL takes milliseconds, and only a process in state D takes longer.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);

/// How long a timed-out exec waits for what was killed to be gone before it answers.
pub(crate) const EXEC_KILL: Duration = Duration::from_secs(2);

/// How long closing the sandbox may take; then the processes that remain are named.
pub(crate) const CLOSE: Duration = Duration::from_secs(10);

/// How long the last reply may take to reach a reader before the monitor ends.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

/// How often something is looked at that the kernel does not announce: a cgroup without `cgroup.events` (pure
/// version 1), an exit record that could not be written.
pub(crate) const RECHECK: Duration = Duration::from_millis(20);

/// Pause between two attempts to write an exit record on a full disk.
pub(crate) const RECORD_RETRY: Duration = Duration::from_secs(1);

/// Largest state that is handed to the next program, in bytes: queued frames and carried log lines of every
/// container stay far below.
pub(crate) const HANDOVER_BYTES: usize = 64 * 1024 * 1024;

/// Process ids named in an error.
pub(crate) const NAMED_PIDS: usize = 8;
