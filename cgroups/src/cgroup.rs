// SPDX-License-Identifier: Apache-2.0
//! One cgroup: the directories that it has in the hierarchies, and what can be done with it.

mod events;
mod freeze;
mod kill;
mod oom;
mod opened;
mod remove;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::Pid;

pub use events::{Events, EventsFile};
pub use oom::OomWatch;
pub(crate) use opened::{Opened, Place};

use crate::controller;
use crate::dir::{self, Dir};
use crate::error::{Action, Error};
use crate::hierarchy::JoinPaths;
use crate::path;
use crate::resources::Limits;

/// A cgroup by its directories. Holds no descriptor: each operation opens what it needs, so a cgroup that somebody
/// removed and made anew is the same cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    paths: JoinPaths,
}

impl Cgroup {
    /// The cgroup with these directories: all that the monitor is told.
    pub fn from_join_paths(paths: &JoinPaths) -> Self {
        Self { paths: paths.clone() }
    }

    /// The directories, for the wire and for [`crate::join_v1`].
    pub fn join_paths(&self) -> &JoinPaths {
        &self.paths
    }

    /// A descriptor of the unified directory for `CLONE_INTO_CGROUP`; `None` on pure v1.
    ///
    /// # Errors
    /// [`Error::NoCgroup`] when the cgroup does not exist.
    pub fn unified_fd(&self) -> Result<Option<OwnedFd>, Error> {
        let Some(path) = &self.paths.unified else {
            return Ok(None);
        };
        match dir::open_for_clone(path)? {
            Some(fd) => Ok(Some(fd)),
            None => Err(Error::NoCgroup { path: path.clone() }),
        }
    }

    /// Makes or adopts the cgroup `name` below this one, in the unified hierarchy only, so that everything that one
    /// exec started can be killed together.
    ///
    /// No controller is enabled for it: the limits of this cgroup hold for it, and the rule that inner cgroups have no
    /// processes (cgroup-v2.rst, "No Internal Process Constraint") does not apply.
    ///
    /// # Errors
    /// [`Error::Path`] when `name` is not one part, [`Error::NoUnified`] on pure v1, [`Error::NoCgroup`] when this
    /// cgroup does not exist.
    pub fn child(&self, name: &str) -> Result<Self, Error> {
        path::check_name(name)?;
        let Some(parent) = &self.paths.unified else {
            return Err(Error::NoUnified { path: self.first().to_owned() });
        };
        let dir = Dir::open(parent)?.ok_or_else(|| Error::NoCgroup { path: parent.clone() })?;
        let path = parent.join(name);
        match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(Errno::NOENT | Errno::NODEV) => {
                return Err(Error::NoCgroup { path: parent.clone() });
            }
            Err(cause) => return Err(dir::io(Action::Create, &path, cause)),
        }
        Ok(Self { paths: JoinPaths { unified: Some(path), v1: Vec::new() } })
    }

    /// Writes what is set in `limits`; on an error the old values are written back, so that all or nothing changes.
    ///
    /// CRI: UpdateContainerResources. Values that stand already are not written again. A setting of `unified` that has
    /// one line for each device (`io.max`) keeps the new line when a later one fails.
    ///
    /// # Errors
    /// [`Error::Value`] before anything is written, [`Error::NoController`], [`Error::NoSwapAccounting`],
    /// [`Error::BelowUsage`], [`Error::Write`]; [`Error::NotRestored`] when writing back failed too.
    pub fn update(&self, limits: &Limits) -> Result<(), Error> {
        let opened = Opened::open(&self.paths)?;
        if opened.is_gone() {
            return Err(Error::NoCgroup { path: self.first().to_owned() });
        }
        controller::apply(&opened, limits)
    }

    /// True when a process is in this cgroup or below it, in any hierarchy. A cgroup that is gone is not populated.
    ///
    /// # Errors
    /// [`Error::Io`] when the lists cannot be read.
    pub fn populated(&self) -> Result<bool, Error> {
        Opened::open(&self.paths)?.populated()
    }

    /// The processes of this cgroup and of all below it, in any hierarchy, in ascending order.
    ///
    /// Of one cgroup at most about 150,000 are listed. Pids are of the caller's pid namespace.
    ///
    /// # Errors
    /// [`Error::Io`] when the lists cannot be read.
    pub fn pids(&self) -> Result<Vec<Pid>, Error> {
        let found = Opened::open(&self.paths)?.pids()?;
        Ok(found.into_iter().filter_map(|number| Pid::from_raw(number.get())).collect())
    }

    /// The directory that messages name.
    fn first(&self) -> &Path {
        first(&self.paths)
    }
}

/// The directory that messages name: the unified one, else the first of v1.
fn first(paths: &JoinPaths) -> &Path {
    let dirs: &[PathBuf] = &paths.v1;
    paths.unified.as_deref().or(dirs.first().map(PathBuf::as_path)).unwrap_or(Path::new("(no directory)"))
}
