// SPDX-License-Identifier: Apache-2.0
//! Settings by file name on v2 (OCI runtime-spec, "config-linux#unified").

use crate::cgroup::Opened;
use crate::dir::FileName;
use crate::error::Error;
use crate::journal::Journal;
use crate::resources::Limits;

const CONTROLLERS: FileName<'static> = FileName::fixed("cgroup.controllers");

pub(super) fn apply<'d>(cgroup: &'d Opened, limits: &'d Limits, journal: &mut Journal<'d>) -> Result<(), Error> {
    if limits.unified.is_empty() {
        return Ok(());
    }
    let dir = cgroup.unified()?;
    // Not every file with a dot belongs to a controller (`irq.pressure`), so the prefix is looked up.
    let enabled = dir.read(CONTROLLERS)?.unwrap_or_default();
    for (key, value) in &limits.unified {
        let known = enabled.split_whitespace().any(|name| name == key.controller());
        if !known || !journal.set(dir, key.file_name(), value)? {
            return Err(Error::NoController { controller: key.to_string(), path: dir.path().to_owned() });
        }
    }
    Ok(())
}
