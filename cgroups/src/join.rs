// SPDX-License-Identifier: Apache-2.0
//! How a new process gets into its v1 cgroups.

use std::path::Path;

use crate::dir;
use crate::error::Error;

/// Moves the calling thread into the v1 cgroups at `dirs`; for a child that has only one thread.
///
/// Writes `0` to each `tasks`. Never `cgroup.procs`: moving a whole process takes the kernel's threadgroup lock, and on
/// a node that is not busy that waits for an RCU period (8 ms p50 for eight hierarchies, against 0.5). The unified
/// hierarchy is joined by `CLONE_INTO_CGROUP` instead, with [`crate::Cgroup::unified_fd`].
///
/// # Errors
/// [`Error::Write`] for the first that failed; ENOSPC when a cpuset has no CPU or node.
pub fn join_v1<P: AsRef<Path>>(dirs: &[P]) -> Result<(), Error> {
    for cgroup in dirs {
        let path = cgroup.as_ref().join("tasks");
        if let Err(cause) = dir::write_path(&path, "0") {
            return Err(Error::Write { path, value: "0".to_owned(), cause });
        }
    }
    Ok(())
}
