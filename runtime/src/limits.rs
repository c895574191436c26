// SPDX-License-Identifier: Apache-2.0
//! Bounds of this crate, each with its reason.

use std::time::Duration;

/// Largest gRPC message in either direction, in bytes: what the kubelet's client and both peers use.
pub(crate) const MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Room that `ExecSyncResponse` keeps for its own fields around the output, in bytes: two tags with lengths and an
/// exit code are 22 bytes at most; the rest is for what later versions of the message add.
pub(crate) const EXEC_SYNC_FRAME_BYTES: usize = 1024;

/// Longest message of a gRPC status, in bytes: it travels in an HTTP/2 header.
pub(crate) const STATUS_BYTES: usize = 4096;

/// Key and value of a label together, in bytes; both are the bound that containerd's clients know.
pub(crate) const LABEL_BYTES: usize = 4096;

/// Longest name in a request's metadata, in bytes: Kubernetes allows 253.
pub(crate) const NAME_BYTES: usize = 1024;

/// Longest path in a request, in bytes: PATH_MAX without its NUL.
pub(crate) const PATH_BYTES: usize = 4095;

/// Longest host name that sethostname(2) takes, in bytes.
pub(crate) const HOSTNAME_BYTES: usize = 64;

/// Longest id or prefix of one that is looked up, in bytes: twice the length of ours.
pub(crate) const ID_BYTES: usize = 128;

/// Largest user or group id: 2³²−1 means "no change" to the kernel.
pub(crate) const MAX_USER_ID: i64 = u32::MAX as i64 - 1;

/// Longest time that a request can ask to wait: ten years stand for "for ever" without an overflow of a clock.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// How long requests in flight may take to end after SIGTERM, below the 10 s that service managers tend to give.
pub(crate) const DRAIN: Duration = Duration::from_secs(8);

/// Largest configuration file, in bytes: the default one with all its comments is 4 KiB.
pub(crate) const CONFIG_BYTES: u64 = 1024 * 1024;

/// Longest path of a unix socket, in bytes (unix(7): `sun_path` is 108 with its NUL).
pub(crate) const SOCKET_PATH_BYTES: usize = 107;
