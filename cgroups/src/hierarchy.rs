// SPDX-License-Identifier: Apache-2.0
//! Which hierarchies this machine has, and where they are mounted.

mod create;

use std::path::{Path, PathBuf};

use crate::cgroup::Cgroup;
use crate::controller::SWAP_FILES;
use crate::dir::{self, Dir};
use crate::error::{Action, Error};
use crate::limits;
use crate::mountinfo::{self, CgroupMount, Version};
use crate::path::CgroupPath;
use crate::tree;

/// `f_type` of a v1 mount (CGROUP_SUPER_MAGIC, linux/magic.h).
const V1_MAGIC: u64 = 0x0027_e0eb;
/// `f_type` of a v2 mount (CGROUP2_SUPER_MAGIC, linux/magic.h).
const V2_MAGIC: u64 = 0x6367_7270;

/// The one named hierarchy that is joined: where it exists systemd finds services and scopes by it.
const SYSTEMD: &str = "name=systemd";

/// How a machine's hierarchies are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The unified hierarchy alone.
    V2,
    /// v1 hierarchies alone.
    V1,
    /// v1 hierarchies beside a unified one, which has only the controllers that no v1 hierarchy took.
    Hybrid,
}

/// What [`Hierarchy::from_facts`] is told about a machine.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The text of `/proc/self/mountinfo`.
    pub mountinfo: &'a str,
    /// The text of `/proc/cgroups`: it says which options of a v1 mount are controllers. Empty where the kernel has
    /// no v1.
    pub proc_cgroups: &'a str,
}

/// The cgroup hierarchies of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    unified: Option<PathBuf>,
    v1: Vec<V1Mount>,
}

/// A v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct V1Mount {
    mount_point: PathBuf,
    /// The kernel's names; empty for the named hierarchy.
    controllers: Vec<String>,
}

/// The directories of one cgroup: what the daemon sends to the monitor, and what a new process joins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JoinPaths {
    /// The directory in the unified hierarchy, joined by `CLONE_INTO_CGROUP`.
    pub unified: Option<PathBuf>,
    /// The directories in the v1 hierarchies, joined through their `tasks`.
    pub v1: Vec<PathBuf>,
}

impl Hierarchy {
    /// Reads this machine's mounts from `/proc/self/mountinfo` and checks that each can be reached.
    ///
    /// # Errors
    /// [`Error::NothingMounted`], [`Error::Hidden`], [`Error::Io`].
    pub fn detect() -> Result<Self, Error> {
        let mountinfo = read_proc("/proc/self/mountinfo")?.unwrap_or_default();
        let proc_cgroups = read_proc("/proc/cgroups")?.unwrap_or_default();
        let found = Self::from_facts(Facts { mountinfo: &mountinfo, proc_cgroups: &proc_cgroups })?;
        if let Some(path) = &found.unified {
            check_magic(path, V2_MAGIC)?;
        }
        for mount in &found.v1 {
            check_magic(&mount.mount_point, V1_MAGIC)?;
        }
        Ok(found)
    }

    /// The hierarchies that these texts describe; touches nothing.
    ///
    /// Of several mounts of one hierarchy the first that shows all of it counts. A v1 hierarchy counts when it has a
    /// controller or is systemd's. Paths are below the mount point also where that shows only a part of the hierarchy,
    /// as in a container.
    ///
    /// # Errors
    /// [`Error::NothingMounted`] when there is none.
    pub fn from_facts(facts: Facts<'_>) -> Result<Self, Error> {
        let known: Vec<&str> = facts
            .proc_cgroups
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        let mut unified = None;
        let mut v1 = Vec::new();
        for mount in one_per_hierarchy(mountinfo::cgroup_mounts(facts.mountinfo)) {
            match mount.version {
                Version::V2 => unified = unified.or(Some(mount.mount_point)),
                Version::V1 { options } => {
                    let controllers: Vec<String> =
                        options.iter().filter(|option| known.contains(option)).map(|&name| name.to_owned()).collect();
                    if !controllers.is_empty() || options.contains(&SYSTEMD) {
                        v1.push(V1Mount { mount_point: mount.mount_point, controllers });
                    }
                }
            }
        }
        if unified.is_none() && v1.is_empty() {
            return Err(Error::NothingMounted);
        }
        Ok(Self { unified, v1 })
    }

    /// How the hierarchies are mounted.
    pub fn layout(&self) -> Layout {
        match (&self.unified, self.v1.is_empty()) {
            (Some(_), true) => Layout::V2,
            (Some(_), false) => Layout::Hybrid,
            (None, _) => Layout::V1,
        }
    }

    /// The cgroup at `path`, whether it exists or not.
    pub fn open(&self, path: &CgroupPath) -> Cgroup {
        Cgroup::from_join_paths(&self.join_paths(path))
    }

    /// The directories of the cgroup at `path` in every hierarchy, absolute.
    pub fn join_paths(&self, path: &CgroupPath) -> JoinPaths {
        JoinPaths {
            unified: self.unified.as_deref().map(|mount_point| path.below(mount_point)),
            v1: self.v1.iter().map(|mount| path.below(&mount.mount_point)).collect(),
        }
    }

    /// True when `memory_swap_limit_bytes` can be set: the kernel accounts swap.
    ///
    /// On v2 the root has no such file, so the cgroups directly below it are asked; false when there is none.
    ///
    /// # Errors
    /// [`Error::Io`] when the hierarchy cannot be read.
    pub fn accounts_swap(&self) -> Result<bool, Error> {
        let [v1_file, v2_file] = SWAP_FILES;
        if let Some(mount) = self.v1_mount("memory") {
            return Dir::open_any(&mount.mount_point)?.map_or(Ok(false), |dir| dir.has(v1_file));
        }
        let Some(root) = self.unified.as_deref().map(Dir::open_any).transpose()?.flatten() else {
            return Ok(false);
        };
        for child in tree::children(&root, Path::new(""))? {
            if let Some(dir) = root.below(&child)?
                && dir.has(v2_file)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn v1_mount(&self, controller: &str) -> Option<&V1Mount> {
        self.v1.iter().find(|mount| mount.controllers.iter().any(|name| name == controller))
    }
}

/// For each superblock its first mount that shows the whole hierarchy, else its first.
///
/// A later mount at the same place hides the earlier one.
fn one_per_hierarchy(mounts: Vec<CgroupMount<'_>>) -> Vec<CgroupMount<'_>> {
    let mut chosen: Vec<CgroupMount<'_>> = Vec::new();
    for (at, mount) in mounts.iter().enumerate() {
        if mounts[at + 1..].iter().any(|later| later.mount_point == mount.mount_point) {
            continue;
        }
        match chosen.iter_mut().find(|other| other.device == mount.device) {
            None => chosen.push(mount.clone()),
            Some(other) if other.root != "/" && mount.root == "/" => *other = mount.clone(),
            Some(_) => {}
        }
    }
    chosen
}

fn check_magic(path: &Path, magic: u64) -> Result<(), Error> {
    let hidden = || Error::Hidden { path: path.to_owned() };
    let dir = Dir::open_any(path)?.ok_or_else(hidden)?;
    let stat = rustix::fs::fstatfs(&dir).map_err(|cause| dir.failed(Action::Inspect, cause))?;
    // The type of the field differs between architectures; both magics are positive everywhere.
    if u64::try_from(stat.f_type).is_ok_and(|found| found == magic) { Ok(()) } else { Err(hidden()) }
}

/// Reads a file of /proc; `None` when this kernel does not have it.
fn read_proc(path: &str) -> Result<Option<String>, Error> {
    use rustix::fs::{Mode, OFlags};
    use rustix::io::Errno;
    let failed = |action, cause| dir::io(action, Path::new(path), cause);
    match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => {
            dir::read_most(&fd, limits::MAX_MOUNTINFO_BYTES).map(Some).map_err(|cause| failed(Action::Read, cause))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(cause) => Err(failed(Action::Open, cause)),
    }
}

impl Hierarchy {
    /// The hierarchies as a container sees them below `/sys/fs/cgroup`: the directory's name and the mount options
    /// that name the hierarchy (`memory`, `cpu,cpuacct`, `name=systemd`). Both are empty for a unified hierarchy that
    /// is alone, which is mounted at the place itself.
    pub fn container_mounts(&self) -> Vec<(String, String)> {
        if self.v1.is_empty() {
            return vec![(String::new(), String::new())];
        }
        let v1 = self.v1.iter().map(|mount| {
            let name = mount.mount_point.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let options = if mount.controllers.is_empty() { SYSTEMD.to_owned() } else { mount.controllers.join(",") };
            (name, options)
        });
        let unified = self.unified.iter().map(|_| ("unified".to_owned(), String::new()));
        v1.chain(unified).collect()
    }
}
