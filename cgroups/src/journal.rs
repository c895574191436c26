// SPDX-License-Identifier: Apache-2.0
//! Writes limits so that a failure half-way puts the old values back.

use crate::dir::{Dir, FileName};
use crate::error::Error;

/// The old values of what was written, in order.
///
/// CRI: UpdateContainerResources, "If runtime fails to transactionally update the requested resources, an error is
/// returned."
pub(crate) struct Journal<'d> {
    undo: Vec<(&'d Dir, FileName<'d>, String)>,
}

impl<'d> Journal<'d> {
    pub(crate) fn new() -> Self {
        Self { undo: Vec::new() }
    }

    /// Writes `value` unless `file` holds it already; false when the file does not exist.
    ///
    /// The comparison is worth a read: the kubelet's CPU manager repeats its settings every ten seconds, and writing a
    /// cpuset rebuilds scheduling domains.
    pub(crate) fn set(&mut self, dir: &'d Dir, file: FileName<'d>, value: &str) -> Result<bool, Error> {
        let Some(old) = dir.read(file)? else {
            return Ok(false);
        };
        let old = old.trim_end();
        if old != value {
            dir.write(file, value)?;
            // An empty write would not reach the kernel's handler; a newline is an empty value.
            let old = if old.is_empty() { "\n" } else { old };
            self.undo.push((dir, file, old.to_owned()));
        }
        Ok(true)
    }

    /// Has `value` written back if a later step fails, before everything that was noted earlier.
    pub(crate) fn note(&mut self, dir: &'d Dir, file: FileName<'d>, value: String) {
        self.undo.push((dir, file, value));
    }

    /// Writes all old values back, the last first, and adds what fails to `cause`.
    pub(crate) fn roll_back(self, cause: Error) -> Error {
        let mut failed = None;
        for (dir, file, value) in self.undo.into_iter().rev() {
            if let Err(error) = dir.write(file, &value) {
                failed.get_or_insert(error);
            }
        }
        match failed {
            None => cause,
            Some(restore) => Error::NotRestored { cause: Box::new(cause), restore: Box::new(restore) },
        }
    }
}
