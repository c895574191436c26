// SPDX-License-Identifier: Apache-2.0
//! Makes a cgroup in every hierarchy, or in none.

use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::cgroup::{Cgroup, Opened};
use crate::controller::{self, Controller};
use crate::dir::{self, Dir, FileName};
use crate::error::{Action, Error, Kind};
use crate::hierarchy::Hierarchy;
use crate::limits::MAX_CREATE_ATTEMPTS;
use crate::path::CgroupPath;
use crate::resources::Limits;

const CONTROLLERS: FileName<'static> = FileName::fixed("cgroup.controllers");
const SUBTREE_CONTROL: FileName<'static> = FileName::fixed("cgroup.subtree_control");
const CPUSET_CPUS: FileName<'static> = FileName::fixed("cpuset.cpus");
const CPUSET_MEMS: FileName<'static> = FileName::fixed("cpuset.mems");

/// The v2 controllers that a pod's cgroups have, as the kubelet and the peers enable them.
const WANTED: [&str; 6] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];

impl Hierarchy {
    /// Makes the cgroup at `path` in every hierarchy, with the parents that are missing, and writes `limits`.
    ///
    /// A cgroup that exists is adopted. On v1 an empty cpuset gets its parent's CPUs and nodes, because no process
    /// could join it. On v2 the controllers are enabled in every level above that lacks them; when they are there,
    /// which is so for all but the first cgroup of a pod, nothing is written.
    ///
    /// # Errors
    /// On any error exactly the directories that this call made are removed, and the limits of a cgroup that was
    /// adopted are as before. [`Error::Value`] before anything is made; [`Error::NotEnabled`] when a level above would
    /// not pass on a controller that a limit needs; otherwise as [`Cgroup::update`], and [`Error::Io`].
    pub fn create(&self, path: &CgroupPath, limits: &Limits) -> Result<Cgroup, Error> {
        limits.check()?;
        let mut made = Made::default();
        let mut refusals = Vec::new();
        if let Some(mount_point) = &self.unified {
            let enable = |level: &Dir, _: &Dir| enable_controllers(level, &mut refusals);
            walk(mount_point, path, &mut made, enable)?;
        }
        for mount in &self.v1 {
            if mount.controllers.iter().any(|name| name == Controller::Cpuset.name()) {
                walk(&mount.mount_point, path, &mut made, fill_cpuset)?;
            } else {
                walk(&mount.mount_point, path, &mut made, |_, _| Ok(()))?;
            }
        }
        let cgroup = self.open(path);
        controller::apply(&Opened::open(cgroup.join_paths())?, limits).map_err(|error| because(error, refusals))?;
        made.keep();
        Ok(cgroup)
    }
}

/// Goes down to `path`, makes what is missing, and calls `prepare` with each level and its child.
fn walk(
    mount_point: &Path,
    path: &CgroupPath,
    made: &mut Made,
    mut prepare: impl FnMut(&Dir, &Dir) -> Result<(), Error>,
) -> Result<(), Error> {
    for _ in 0..MAX_CREATE_ATTEMPTS {
        if walk_once(mount_point, path, made, &mut prepare)? == Walk::Arrived {
            return Ok(());
        }
    }
    Err(dir::io(Action::Create, &path.below(mount_point), Errno::NOENT))
}

#[derive(PartialEq, Eq)]
enum Walk {
    Arrived,
    /// Somebody removed a level after it was seen: for example a neighbour whose own creation failed.
    Vanished,
}

fn walk_once(
    mount_point: &Path,
    path: &CgroupPath,
    made: &mut Made,
    prepare: &mut impl FnMut(&Dir, &Dir) -> Result<(), Error>,
) -> Result<Walk, Error> {
    let Some(mut level) = Dir::open_any(mount_point)? else {
        return Err(Error::Hidden { path: mount_point.to_owned() });
    };
    for part in path.parts() {
        let child = level.path().join(part);
        match rustix::fs::mkdirat(&level, part, Mode::from_raw_mode(0o755)) {
            Ok(()) => made.0.push(child.clone()),
            Err(Errno::EXIST) => {}
            Err(Errno::NOENT | Errno::NODEV) => return Ok(Walk::Vanished),
            Err(cause) => return Err(dir::io(Action::Create, &child, cause)),
        }
        let Some(next) = level.below(Path::new(part))? else {
            return Ok(Walk::Vanished);
        };
        match prepare(&level, &next) {
            Ok(()) => {}
            Err(error) if error.kind() == Kind::NotFound => return Ok(Walk::Vanished),
            Err(error) => return Err(error),
        }
        level = next;
    }
    Ok(Walk::Arrived)
}

/// A level that would not pass on a controller.
struct Refusal {
    controller: &'static str,
    level: PathBuf,
    cause: Errno,
}

/// Enables below `level` what it has and does not pass on yet.
///
/// Reads first, because a write waits for an RCU period also when it changes nothing. What the level refuses is noted
/// and is an error only when a limit needs it. Never taken back: a neighbour may count on it by then.
fn enable_controllers(level: &Dir, refusals: &mut Vec<Refusal>) -> Result<(), Error> {
    let has = level.read(CONTROLLERS)?.unwrap_or_default();
    let passes_on = level.read(SUBTREE_CONTROL)?.unwrap_or_default();
    let in_list = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
    let missing: Vec<&str> =
        WANTED.into_iter().filter(|name| in_list(&has, name) && !in_list(&passes_on, name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let all = missing.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
    if level.try_write(SUBTREE_CONTROL, &all).is_ok() {
        return Ok(());
    }
    // One refused controller refuses them all, so each is tried alone.
    for controller in WANTED.into_iter().filter(|name| missing.contains(name)) {
        if let Err(cause) = level.try_write(SUBTREE_CONTROL, &format!("+{controller}")) {
            refusals.push(Refusal { controller, level: level.path().to_owned(), cause });
        }
    }
    Ok(())
}

/// Names the level that refused the controller which `error` misses.
fn because(error: Error, refusals: Vec<Refusal>) -> Error {
    let Error::NoController { controller, .. } = &error else {
        return error;
    };
    let missing = controller.split('.').next().unwrap_or(controller);
    match refusals.into_iter().find(|refusal| refusal.controller == missing) {
        Some(Refusal { controller, level, cause }) => Error::NotEnabled { controller, path: level, cause },
        None => error,
    }
}

/// cpuset(7): a new cpuset is empty, and no process may join one. Also done for a level that a neighbour has made a
/// moment ago and not filled yet.
fn fill_cpuset(parent: &Dir, child: &Dir) -> Result<(), Error> {
    for file in [CPUSET_CPUS, CPUSET_MEMS] {
        let is_empty = child.read(file)?.is_some_and(|list| list.trim().is_empty());
        if !is_empty {
            continue;
        }
        if let Some(list) = parent.read(file)? {
            child.write(file, list.trim())?;
        }
    }
    Ok(())
}

/// The directories made so far. Dropped, they are removed, the deepest first.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.drain(..).rev() {
            // EBUSY means that a neighbour uses it by now, ENOENT that somebody was faster; both are as it should be.
            let _ = rustix::fs::rmdir(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks to `/a/b/c`; each of the first `thefts` times that `b` is seen it is taken away.
    fn walk_with_thief(thefts: usize) -> (Result<(), Error>, tempfile::TempDir) {
        let tree = tempfile::tempdir().unwrap();
        let path = CgroupPath::parse("/a/b/c").unwrap();
        let mut made = Made::default();
        let mut left = thefts;
        let walked = walk(tree.path(), &path, &mut made, |_, child| {
            if child.path().ends_with("b") && left > 0 {
                left -= 1;
                std::fs::remove_dir(child.path()).unwrap();
            }
            Ok(())
        });
        if walked.is_ok() {
            made.keep();
        }
        (walked, tree)
    }

    #[test]
    fn a_level_that_vanishes_is_made_again() {
        for thefts in [0, 1, MAX_CREATE_ATTEMPTS - 1] {
            let (walked, tree) = walk_with_thief(thefts);
            walked.unwrap();
            assert!(tree.path().join("a/b/c").is_dir());
        }
    }

    #[test]
    fn a_level_that_vanishes_for_ever_is_an_error_that_leaves_nothing() {
        let (walked, tree) = walk_with_thief(MAX_CREATE_ATTEMPTS);
        assert_eq!(walked.unwrap_err().kind(), Kind::NotFound);
        assert_eq!(std::fs::read_dir(tree.path()).unwrap().count(), 0);
    }
}
