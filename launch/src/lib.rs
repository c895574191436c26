// SPDX-License-Identifier: Apache-2.0
//! From a plan to a running process: what happens between clone and exec.
//!
//! ```text
//!  monitor (host's namespaces, one thread)          child
//!    │ start, exec, pause, open_log                   │
//!    │──────────────── clone3 ──────────────────────▶│ close foreign descriptors, reset signals, join v1 cgroups
//!    │                                                │ steps before EnterPod: detached mounts, on the host
//!    │◀── Log, Console (descriptors) ─────────────────│ EnterPod: the pod's namespaces, a copy of its template
//!    │◀── Progress(step that may block) ──────────────│ steps after it: attach, mask, pivot
//!    │◀── Failed(failure), then end ──────────────────│ become the process: terminal, limits, identity
//!    │◀── Ready ──────────────────────────────────────│ execve
//!    │◀── end of the channel ─────────────────────────│ (the channel is close-on-exec: the program runs)
//! ```
//!
//! Entry points: [`start`], [`exec`], [`pause`], [`open_log`]. Start and exec become the process by the same code. The
//! crate knows plans and kernel objects; it must not know pods' policy, the CRI or the OCI configuration.
//!
//! Rules that keep it safe:
//! - A host path is opened once, before anything of the image is touched. A path in the root is resolved by openat2
//!   inside it without magic links, and mounts go onto descriptors.
//! - The child holds no descriptor that it does not need, from its first action on: a child that hangs in a dead volume
//!   must not keep another container's pipe open.
//! - A mount of a container never exists in the host's mount namespace, and the host's table is never copied but for the
//!   moment in which pause gets its template.
//!
//! Newer calls and their fallbacks (the kernel floor is 6.1); every fallback is chosen by the error of the call:
//!
//! | feature | kernel | error | fallback |
//! |---|---|---|---|
//! | overlay layers by descriptor | 6.13 | EINVAL, EBADF | by path |
//! | overlay `lowerdir+` | 6.5 | EINVAL | one `lowerdir` of descriptor numbers below `/proc/self/fd` |
//! | memory files with `MFD_EXEC` | 6.3 | EINVAL | without (crate sys) |
//!
//! Mounting inside a detached tree and cloning a detached tree (both 6.15) would need fallbacks and are not used: a tree
//! is attached first and filled by descriptor then, which every kernel can.

mod channel;
mod child;
mod failure;
mod filesystem;
mod in_root;
mod jobs;
mod limits;
mod log_file;
mod process;
mod steps;
mod template;

pub use channel::{Report, StartChannel};
pub use jobs::{ExecJob, Launched, PauseJob, StartJob, Stdio, exec, open_log, pause, start};
