// SPDX-License-Identifier: Apache-2.0
//! The cgroup below which everything of one world lives, in every hierarchy of the machine.
//!
//! The machine may have v1 controllers, v2, or both; a directory of the same path is made in each, as
//! a kubelet with the cgroupfs driver does. Nothing outside that directory is touched.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::limits;
use crate::process::Process;

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Mount point.
    pub mount: PathBuf,
    /// Controllers of a v1 hierarchy (`cpu`, `memory`, `name=systemd`); empty for v2.
    pub controllers: Vec<String>,
}

/// All hierarchies that `/proc/self/mountinfo` shows.
///
/// # Errors
/// When the table cannot be read.
pub fn hierarchies() -> Result<Vec<Hierarchy>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("read the mount table")?;
    let mut found = Vec::new();
    for line in table.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let Some(mount) = left.split(' ').nth(4) else {
            continue;
        };
        let right: Vec<&str> = right.split(' ').collect();
        let controllers = match right.as_slice() {
            ["cgroup2", ..] => Vec::new(),
            ["cgroup", _, options] => options
                .split(',')
                .filter(|option| *option != "rw" && !option.contains("release_agent"))
                .map(str::to_owned)
                .collect(),
            _ => continue,
        };
        found.push(Hierarchy { mount: PathBuf::from(mount), controllers });
    }
    Ok(found)
}

/// A cgroup of our own, in every hierarchy. Dropping it kills what is left in it and removes it.
#[derive(Debug)]
pub struct CgroupParent {
    path: String,
    directories: Vec<(Hierarchy, PathBuf)>,
}

impl CgroupParent {
    /// Makes the cgroup `/<name>`.
    ///
    /// # Errors
    /// When a directory cannot be made, for instance because the caller is not root.
    pub fn new(name: &str) -> Result<CgroupParent> {
        let mut parent = CgroupParent { path: format!("/{name}"), directories: Vec::new() };
        for hierarchy in hierarchies()? {
            let directory = hierarchy.mount.join(name);
            make(&directory)?;
            parent.directories.push((hierarchy, directory));
        }
        Ok(parent)
    }

    /// Its path as the CRI's `cgroup_parent` wants it.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its directory in each hierarchy.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.directories.iter().map(|(_, directory)| directory.as_path())
    }

    /// Makes a child in every hierarchy and gives the files that a process writes `0` to in order to
    /// join it.
    ///
    /// # Errors
    /// When a directory cannot be made.
    pub fn child(&self, name: &str) -> Result<Vec<PathBuf>> {
        let mut joins = Vec::new();
        for directory in self.directories() {
            let child = directory.join(name);
            make(&child)?;
            joins.push(child.join("cgroup.procs"));
        }
        Ok(joins)
    }

    /// All cgroups below it (itself included), in all hierarchies.
    #[must_use]
    pub fn tree(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for directory in self.directories() {
            walk(directory, &mut found);
        }
        found
    }

    /// Processes in it and below.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = self
            .tree()
            .iter()
            .filter_map(|directory| fs::read_to_string(directory.join("cgroup.procs")).ok())
            .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<u32>>())
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// The directory of the cgroup that belongs to a container, in the hierarchy of a v1 controller, or
    /// in the v2 hierarchy when that has no v1 hierarchy of its own.
    ///
    /// # Errors
    /// When there is none whose name contains the container's id.
    pub fn of_container(&self, controller: &str, container_id: &str) -> Result<PathBuf> {
        let (_, top) = self
            .directories
            .iter()
            .find(|(hierarchy, _)| hierarchy.controllers.iter().any(|name| name == controller))
            .or_else(|| self.directories.iter().find(|(hierarchy, _)| hierarchy.controllers.is_empty()))
            .with_context(|| format!("this machine has no hierarchy for {controller}"))?;
        let mut found = Vec::new();
        walk(top, &mut found);
        found
            .into_iter()
            .find(|directory| directory.file_name().is_some_and(|name| name.to_string_lossy().contains(container_id)))
            .with_context(|| format!("no {controller} cgroup for {container_id} below {}", top.display()))
    }

    /// Which controllers have a v1 hierarchy here, and where.
    #[must_use]
    pub fn v1(&self) -> BTreeMap<&str, &Path> {
        self.directories
            .iter()
            .flat_map(|(hierarchy, directory)| {
                hierarchy.controllers.iter().map(|name| (name.as_str(), directory.as_path()))
            })
            .collect()
    }

    /// Kills everything in it and removes it with all its children.
    ///
    /// # Errors
    /// When processes or directories remain; the message names them.
    pub fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + limits::KILL;
        loop {
            let processes: Vec<Process> = self.pids().into_iter().filter_map(Process::read).collect();
            for process in &processes {
                process.kill();
            }
            for process in &processes {
                process.wait_for_end(deadline.saturating_duration_since(Instant::now()))?;
            }
            // Children first: `tree` lists a directory before what is in it.
            let left: Vec<PathBuf> = self
                .tree()
                .into_iter()
                .rev()
                .filter(|directory| fs::remove_dir(directory).is_err())
                .filter(|directory| directory.exists())
                .collect();
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("cgroups cannot be removed: {left:?}");
            }
            // A dead process leaves its cgroup when its parent reaps it; v1 has no event for that.
            std::thread::sleep(limits::TICK);
        }
    }
}

impl Drop for CgroupParent {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("take back the cgroup {}: {error:#}", self.path);
        }
    }
}

/// Makes one directory; in the v1 cpuset hierarchy a new one is unusable until it has its parent's
/// CPUs and memory nodes (cpuset(7)).
fn make(directory: &Path) -> Result<()> {
    match fs::create_dir(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(error).with_context(|| format!("make the cgroup {}", directory.display()));
        }
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (own, above) = (directory.join(file), directory.join("..").join(file));
        if own.exists() && above.exists() && fs::read(&own)?.trim_ascii().is_empty() {
            let value = fs::read(&above)?;
            if !value.trim_ascii().is_empty() {
                fs::write(&own, value).with_context(|| format!("set {}", own.display()))?;
            }
        }
    }
    Ok(())
}

/// Lists a directory, then everything below it.
fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    if !directory.exists() {
        return;
    }
    found.push(directory.to_path_buf());
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), found);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_that_joined_is_seen_and_taken_away_with_the_cgroup() {
        let name = format!("husk-test-{}-cgroup", std::process::id());
        let parent = CgroupParent::new(&name).unwrap();
        let joins = parent.child("inner").unwrap();
        assert_eq!(joins.len(), hierarchies().unwrap().len());
        let mut child = Command::new("/bin/busybox")
            .args(["sh", "-c", "for f; do echo 0 > $f || exit 9; done; echo in; exec sleep 1000", "join"])
            .args(&joins)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line).unwrap();
        assert_eq!(line, "in\n");
        assert_eq!(parent.pids(), [child.id()]);
        let found = parent.of_container("memory", "inner").unwrap();
        assert!(found.ends_with(format!("{name}/inner")));
        // Our own child is a zombie until it is waited for; a thread does that meanwhile.
        let reaper = std::thread::spawn(move || child.wait().unwrap());
        let directories: Vec<PathBuf> = parent.directories().map(Path::to_path_buf).collect();
        drop(parent);
        assert!(!reaper.join().unwrap().success());
        for directory in directories {
            assert!(!directory.exists(), "{} is left", directory.display());
        }
    }
}
