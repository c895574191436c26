// SPDX-License-Identifier: Apache-2.0
//! The directories of one cgroup, open for one operation.

use std::collections::BTreeSet;
use std::num::NonZeroI32;
use std::path::PathBuf;

use crate::cgroup::{events, first};
use crate::controller::Controller;
use crate::dir::Dir;
use crate::error::Error;
use crate::hierarchy::JoinPaths;
use crate::members;

/// Those directories of a cgroup that exist.
pub(crate) struct Opened {
    unified: Option<Dir>,
    v1: Vec<Dir>,
    /// The directory that messages name.
    named: PathBuf,
    hierarchies: Hierarchies,
}

/// What the cgroup's hierarchies are, also where its directories are gone.
#[derive(PartialEq, Eq)]
enum Hierarchies {
    UnifiedOnly,
    WithV1,
}

/// Where a controller of this cgroup is.
pub(crate) enum Place<'a> {
    V1(&'a Dir),
    V2(&'a Dir),
}

impl Opened {
    /// Opens what exists; the root of a mount is refused.
    pub(crate) fn open(paths: &JoinPaths) -> Result<Self, Error> {
        let unified = paths.unified.as_deref().map(Dir::open).transpose()?.flatten();
        let mut v1 = Vec::with_capacity(paths.v1.len());
        for path in &paths.v1 {
            v1.extend(Dir::open(path)?);
        }
        let hierarchies = if paths.v1.is_empty() { Hierarchies::UnifiedOnly } else { Hierarchies::WithV1 };
        Ok(Self { unified, v1, named: first(paths).to_owned(), hierarchies })
    }

    /// True when no directory exists.
    pub(crate) fn is_gone(&self) -> bool {
        self.unified.is_none() && self.v1.is_empty()
    }

    pub(crate) fn is_v2_only(&self) -> bool {
        self.hierarchies == Hierarchies::UnifiedOnly
    }

    /// Where `controller` is: a v1 hierarchy that has it, else the unified one, which can only have the others.
    pub(crate) fn place(&self, controller: Controller) -> Result<Place<'_>, Error> {
        self.find(controller)?.ok_or_else(|| self.without(controller))
    }

    /// Like [`Opened::place`], with `None` where no hierarchy has it.
    pub(crate) fn find(&self, controller: Controller) -> Result<Option<Place<'_>>, Error> {
        for dir in &self.v1 {
            if dir.has(controller.v1_marker())? {
                return Ok(Some(Place::V1(dir)));
            }
        }
        if let (Some(dir), Some(marker)) = (&self.unified, controller.v2_marker())
            && dir.has(marker)?
        {
            return Ok(Some(Place::V2(dir)));
        }
        Ok(None)
    }

    /// The unified directory.
    pub(crate) fn unified(&self) -> Result<&Dir, Error> {
        self.unified.as_ref().ok_or_else(|| Error::NoUnified { path: self.named.clone() })
    }

    /// The unified directory, where there is one.
    pub(super) fn unified_dir(&self) -> Option<&Dir> {
        self.unified.as_ref()
    }

    /// The v1 directories.
    pub(super) fn v1_dirs(&self) -> &[Dir] {
        &self.v1
    }

    pub(super) fn pids(&self) -> Result<BTreeSet<NonZeroI32>, Error> {
        let mut found = BTreeSet::new();
        for dir in self.unified.iter().chain(&self.v1) {
            found.append(&mut members::of_tree(dir)?);
        }
        Ok(found)
    }

    pub(super) fn populated(&self) -> Result<bool, Error> {
        if let Some(dir) = &self.unified
            && events::now(dir)?.is_some_and(|events| events.populated)
        {
            return Ok(true);
        }
        for dir in &self.v1 {
            if members::any_in_tree(dir)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The error for a controller that no hierarchy has here.
    pub(crate) fn without(&self, controller: Controller) -> Error {
        Error::NoController { controller: controller.to_string(), path: self.named.clone() }
    }

    /// The error for device rules where only the unified hierarchy could take them.
    pub(crate) fn without_device_rules(&self) -> Error {
        Error::NoDeviceRules { path: self.named.clone() }
    }
}
