// SPDX-License-Identifier: Apache-2.0
//! Bounds, each with its reason.

/// Longest report of a child, in bytes. A failure names a step and a cause; both are cut to fit.
pub(crate) const REPORT_BYTES: usize = 16 * 1024;

/// Longest text inside a failure, in bytes: a step may hold a path of 4096 bytes, a cause another one.
pub(crate) const FAILURE_TEXT_BYTES: usize = 6 * 1024;

/// How often a lookup inside the root is repeated when the kernel says EAGAIN, which it does while something above the
/// path is being renamed. runc counted 3 % failures under a rename storm and settled on this number.
pub(crate) const LOOKUP_ATTEMPTS: u32 = 128;

/// Most components made, links followed and races lost while one target is made. Forty links is the kernel's own bound;
/// a real target has fewer than ten components.
pub(crate) const MAKE_ATTEMPTS: u32 = 256;

/// Longest target of a symbolic link that is followed by hand, in bytes (`PATH_MAX`).
pub(crate) const LINK_BYTES: usize = 4096;

/// Longest text that `fsconfig(2)` takes as a value, in bytes, its NUL included.
pub(crate) const FSCONFIG_VALUE_BYTES: usize = 256;

/// Messages read from a file system context after a failure; the kernel keeps eight.
pub(crate) const CONTEXT_MESSAGES: usize = 8;

/// Size and inodes of the tmpfs for `/dev`: 64 MiB as both peers have, and enough inodes for every device of a machine.
pub(crate) const DEV_SIZE: &str = "65536k";

/// Inodes of a tmpfs that holds only directories of ours.
pub(crate) const SKELETON_INODES: &str = "64";

/// Size of such a tmpfs: one page, because zero would mean no limit.
pub(crate) const SKELETON_SIZE: &str = "4k";

/// How much of a script's first line is read to name its interpreter (`BINPRM_BUF_SIZE` of the kernel).
pub(crate) const SHEBANG_BYTES: usize = 256;
