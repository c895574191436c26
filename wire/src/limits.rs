// SPDX-License-Identifier: Apache-2.0
//! Bounds of the protocol, each with its reason.

/// Largest frame, in bytes, that travels inside the datagram itself; a longer one is *spilled* into a memfd. The
/// kernel's default send buffer of a unix socket is 212,992 bytes and holds several frames, so this stays well below.
pub const INLINE_BYTES: usize = 48 * 1024;

/// Largest frame of all, in bytes: arguments and environment of a container may reach the kernel's 6 MiB
/// (`_STK_LIM / 4 * 3`), and the plan around them is small.
pub const FRAME_BYTES: usize = 8 * 1024 * 1024;

/// Most file descriptors in one frame; `SCM_MAX_FD` of the kernel is 253 and no message of ours needs more than four.
pub const FRAME_FDS: usize = 4;

/// Longest build name, in bytes, in the frozen core.
pub const BUILD_BYTES: usize = 64;

/// Output kept of each stream of an exec, in bytes (CRI `ExecSyncResponse`: 16 MiB, the rest is discarded).
pub const EXEC_OUTPUT_BYTES: usize = 16 * 1024 * 1024;
