// SPDX-License-Identifier: Apache-2.0
//! Bounds of this crate, each with its reason.

use std::time::Duration;

/// A configuration file; the largest known (multus with embedded delegates) have a few kilobytes.
pub(crate) const CONF_BYTES: u64 = 256 * 1024;

/// Files that are looked at in the configuration directory.
pub(crate) const CONF_FILES: usize = 256;

/// Plugins of one list; real ones have two to six.
pub(crate) const PLUGINS: usize = 32;

/// Standard output of a plugin; a result has about one kilobyte, one with 64 addresses a few.
pub(crate) const STDOUT_BYTES: usize = 1024 * 1024;

/// How much of the end of a plugin's standard error is kept for the error message.
pub(crate) const STDERR_BYTES: usize = 64 * 1024;

/// A plugin's message inside one of our errors, in characters: it must stay one readable sentence.
pub(crate) const MESSAGE_CHARS: usize = 1024;

/// Addresses of one result.
pub(crate) const IPS: usize = 64;

/// Interfaces of one result; multi-interface plugins report two per network.
pub(crate) const INTERFACES: usize = 64;

/// Routes of one result.
pub(crate) const ROUTES: usize = 512;

/// Entries of each DNS list of one result.
pub(crate) const DNS_ENTRIES: usize = 64;

/// A container id, so that `<id>.json` and its temporary name fit in a file name (255 bytes).
pub(crate) const ID_BYTES: usize = 200;

/// An interface name: IFNAMSIZ without the final NUL.
pub(crate) const IFNAME_BYTES: usize = 15;

/// All of CNI_ARGS; the kernel takes at most 128 KiB for one variable.
pub(crate) const ARGS_BYTES: usize = 16 * 1024;

/// The JSON of all capability arguments: annotations are the big ones (Kubernetes: 256 KiB a pod).
pub(crate) const CAPABILITY_BYTES: usize = 1024 * 1024;

/// A file of the ledger: configuration, arguments and result, each at its own bound.
pub(crate) const RECORD_BYTES: u64 = 4 * 1024 * 1024;

/// How long the configuration directory must be quiet before it is read again: editors and installers
/// write a file in several steps.
pub(crate) const QUIET: Duration = Duration::from_millis(50);

/// When it is read although it is never quiet.
pub(crate) const QUIET_AT_MOST: Duration = Duration::from_secs(1);

/// How often it is read when inotify is not to be had (fs.inotify.max_user_instances).
pub(crate) const POLL: Duration = Duration::from_secs(5);

/// How long a plugin's binary may be busy (an installer writes it just now) before ADD gives up.
pub(crate) const BUSY_BINARY: Duration = Duration::from_secs(2);

/// How often a busy binary is tried: there is no event for "no process writes it any more".
pub(crate) const BUSY_RETRY: Duration = Duration::from_millis(20);

/// How long a killed plugin may take to die before it is left to the runtime's reaper: in state D
/// (a dead NFS server) even SIGKILL waits.
pub(crate) const REAP: Duration = Duration::from_secs(1);
