// SPDX-License-Identifier: Apache-2.0
//! The processes of a cgroup and of those below it, and how they are signalled.

use std::collections::BTreeSet;
use std::num::NonZeroI32;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::dir::{Dir, FileName, PROCS};
use crate::error::{Action, Error};
use crate::{flat_keyed, limits, tree};

const THREADS: FileName<'static> = FileName::fixed("cgroup.threads");

/// The processes of `top` and of all cgroups below it; at most [`limits::MAX_PROCS_BYTES`] of each cgroup's list.
pub(crate) fn of_tree(top: &Dir) -> Result<BTreeSet<NonZeroI32>, Error> {
    let mut found = BTreeSet::new();
    tree::each(top, |dir| {
        found.extend(flat_keyed::pids(&list(dir)?));
        Ok(())
    })?;
    Ok(found)
}

/// True when `top` or a cgroup below it has a process.
pub(crate) fn any_in_tree(top: &Dir) -> Result<bool, Error> {
    let mut any = false;
    tree::each(top, |dir| {
        any = any || !list(dir)?.is_empty();
        Ok(())
    })?;
    Ok(any)
}

fn list(dir: &Dir) -> Result<String, Error> {
    match dir.read_most(PROCS, limits::MAX_PROCS_BYTES) {
        Ok(text) => Ok(text.unwrap_or_default()),
        // KERNEL: cgroup-v2.rst, "Threads": in a threaded cgroup `cgroup.procs` cannot be read.
        Err(Error::Io { cause: Errno::OPNOTSUPP, .. }) => {
            Ok(dir.read_most(THREADS, limits::MAX_PROCS_BYTES)?.unwrap_or_default())
        }
        Err(error) => Err(error),
    }
}

/// Sends SIGKILL to those of `pids` that are in `top` or below it.
///
/// A pid may be given to somebody else between reading and signalling, so descriptors are opened first and the list is
/// read again: who is still on it when the descriptor is held is the process that was meant.
pub(crate) fn kill_in_tree(top: &Dir, pids: &BTreeSet<NonZeroI32>) -> Result<(), Error> {
    let pids: Vec<NonZeroI32> = pids.iter().copied().collect();
    for batch in pids.chunks(limits::SIGNAL_BATCH) {
        let mut held = Vec::with_capacity(batch.len());
        for &number in batch {
            let Some(pid) = Pid::from_raw(number.get()) else {
                continue;
            };
            match pidfd_open(pid, PidfdFlags::empty()) {
                Ok(fd) => held.push((number, fd)),
                // It ended, or it is a thread of a process that is listed elsewhere.
                Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => {}
                Err(cause) => return Err(top.failed(Action::Kill, cause)),
            }
        }
        let still = of_tree(top)?;
        for (_, fd) in held.iter().filter(|(number, _)| still.contains(number)) {
            match pidfd_send_signal(fd, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(cause) => return Err(top.failed(Action::Kill, cause)),
            }
        }
    }
    Ok(())
}
