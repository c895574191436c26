// SPDX-License-Identifier: Apache-2.0
//! The only unsafe code of husk: safe wrappers around Linux calls that nix and rustix lack.
//!
//! - [`clone3`], [`setns`] and [`unshare`] take a [`SingleThreaded`] token, so that a clone in a program with threads
//!   cannot be written by accident.
//! - [`seqpacket`] carries datagrams and descriptors over unix sockets; [`memfd_sealed`] holds what is too long for them.
//! - [`inherited_fd`], [`close_all_but`] and [`reset_signals`] clean up around an execve.
//!
//! It knows kernel objects only, neither pods nor containers. Every failure is an [`Error`] that prints like strace.
//!
//! Newer calls and their fallbacks (the kernel floor is 6.1): `MFD_EXEC` and `MFD_NOEXEC_SEAL`, 6.3, EINVAL → without.

mod clone;
mod error;
mod exec;
mod fds;
mod limits;
mod memfd;
mod mount;
mod namespaces;
pub mod seqpacket;
mod signals;
mod single_threaded;

pub use clone::{Child, CloneFlags, Cloned, clone3};
pub use error::{Error, Result};
pub use exec::{execve, execveat, exit_now};
pub use fds::{close_all_but, inherited_fd};
pub use memfd::{MemfdUse, memfd_read, memfd_sealed};
pub use mount::{Depth, MountChange, Propagation, mount_setattr};
pub use namespaces::{setns, unshare};
pub use signals::{pidfd_send_signal, reset_signals};
pub use single_threaded::SingleThreaded;
