// SPDX-License-Identifier: Apache-2.0
//! Kills every process of a cgroup, also those that fork meanwhile.

use std::collections::BTreeSet;
use std::num::NonZeroI32;

use rustix::io::Errno;

use crate::cgroup::freeze::{freeze_v1, has_settled_v1, thaw_v1};
use crate::cgroup::{Cgroup, Opened};
use crate::dir::{Dir, FileName};
use crate::error::Error;
use crate::{limits, members};

/// KERNEL(5.14): kills the whole subtree at once, frozen or not, and no fork gets away.
const KILL: FileName<'static> = FileName::fixed("cgroup.kill");

impl Cgroup {
    /// Sends SIGKILL to every process of this cgroup and below, in every hierarchy.
    ///
    /// Returns when no process is left that was not sent it; they may take a moment to end ([`Cgroup::events_fd`],
    /// [`Cgroup::remove`]). A cgroup that is gone or empty is a success.
    ///
    /// # Errors
    /// [`Error::MountRoot`] when a directory is the root of a mount, before anything is killed; [`Error::ForksTooFast`]
    /// on v1 without the freezer; [`Error::Write`], [`Error::Io`].
    pub fn kill(&self) -> Result<(), Error> {
        let opened = Opened::open(self.join_paths())?;
        // Whoever is in the unified cgroup is dealt with by one write. What v1 lists beyond that was put there without
        // the unified hierarchy, or there is none.
        let mut signalled = BTreeSet::new();
        if let Some(dir) = opened.unified_dir() {
            if !opened.v1_dirs().is_empty() {
                signalled = members::of_tree(dir)?;
            }
            kill_unified(dir)?;
        }
        let killed = kill_v1(self, &opened, signalled);
        // A process that is frozen on v1 does not even die. Always thawed, whatever went wrong before.
        thaw_v1(&opened).and(killed)
    }
}

fn kill_unified(dir: &Dir) -> Result<(), Error> {
    match dir.try_write(KILL, "1") {
        Ok(()) => Ok(()),
        Err(Errno::NOENT | Errno::NODEV) if Dir::open(dir.path())?.is_none() => Ok(()),
        // cgroup-v2.rst: a threaded cgroup cannot be killed as such, its processes belong to the domain above. So they
        // are killed one by one.
        Err(Errno::OPNOTSUPP) => members::kill_in_tree(dir, &members::of_tree(dir)?),
        Err(cause) => Err(Error::Write { path: dir.path().join(KILL.to_string()), value: "1".to_owned(), cause }),
    }
}

/// Kills what is in the v1 cgroups and not in `signalled`, and leaves the freezer to the caller.
///
/// A process that is frozen neither forks nor ends, so what is listed after the freezer has them all is everybody.
/// Before that, and where no freezer is mounted, a fork may be under way, and the next round finds the child.
fn kill_v1(cgroup: &Cgroup, opened: &Opened, mut signalled: BTreeSet<NonZeroI32>) -> Result<(), Error> {
    if unsignalled(opened, &signalled)?.is_empty() {
        return Ok(());
    }
    freeze_v1(opened)?;
    let mut quiet_rounds = 0;
    for _ in 0..limits::MAX_KILL_ROUNDS {
        let settled = has_settled_v1(opened)?;
        if signal_fresh(opened, &mut signalled)? {
            continue;
        }
        // A process in state D never freezes; it does not fork either.
        if settled || quiet_rounds >= limits::MAX_QUIET_ROUNDS {
            return Ok(());
        }
        quiet_rounds += 1;
        std::thread::sleep(limits::BACKOFF_FIRST);
    }
    Err(Error::ForksTooFast { path: cgroup.first().to_owned() })
}

/// Signals who is listed and not in `signalled` yet; true when there was somebody.
fn signal_fresh(opened: &Opened, signalled: &mut BTreeSet<NonZeroI32>) -> Result<bool, Error> {
    let mut any = false;
    for dir in opened.v1_dirs() {
        let fresh = &members::of_tree(dir)? - signalled;
        members::kill_in_tree(dir, &fresh)?;
        any = any || !fresh.is_empty();
        signalled.extend(fresh);
    }
    Ok(any)
}

fn unsignalled(opened: &Opened, signalled: &BTreeSet<NonZeroI32>) -> Result<BTreeSet<NonZeroI32>, Error> {
    let mut found = BTreeSet::new();
    for dir in opened.v1_dirs() {
        found.append(&mut (&members::of_tree(dir)? - signalled));
    }
    Ok(found)
}
