// SPDX-License-Identifier: Apache-2.0
//! Which devices may be opened and made; the v1 hierarchy. (v2 has no files for it but an eBPF program.)

use std::fmt;

use crate::cgroup::{Opened, Place};
use crate::controller::Controller;
use crate::dir::{Dir, FileName};
use crate::error::Error;
use crate::journal::Journal;
use crate::resources::Limits;

pub(super) const LIST: FileName<'static> = FileName::fixed("devices.list");
const ALLOW: FileName<'static> = FileName::fixed("devices.allow");
const DENY: FileName<'static> = FileName::fixed("devices.deny");

/// How the kernel lists a cgroup that denies nothing.
const EVERYTHING: &str = "a *:* rwm";

/// Character or block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// A character device.
    Char,
    /// A block device.
    Block,
}

/// What may be done with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceAccess {
    /// Open it for reading.
    pub read: bool,
    /// Open it for writing.
    pub write: bool,
    /// Make its node.
    pub mknod: bool,
}

/// One kind of device that may be used. OCI runtime-spec, "config-linux#allowed-device-list".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceRule {
    /// Character or block.
    pub kind: DeviceKind,
    /// The major number; every one when `None`.
    pub major: Option<u32>,
    /// The minor number; every one when `None`.
    pub minor: Option<u32>,
    /// What may be done.
    pub access: DeviceAccess,
}

/// As the kernel's devices.rst wants it: `c 1:3 rwm`.
impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let kind = match self.kind {
            DeviceKind::Char => 'c',
            DeviceKind::Block => 'b',
        };
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        let DeviceAccess { read, write, mknod } = self.access;
        for (letter, allowed) in [('r', read), ('w', write), ('m', mknod)] {
            if allowed {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// Denies everything, then allows what is listed: an empty list allows nothing (GHSA-g54h-m393-cpwq).
pub(super) fn apply<'d>(cgroup: &'d Opened, limits: &'d Limits, journal: &mut Journal<'d>) -> Result<(), Error> {
    let Some(rules) = &limits.devices else {
        return Ok(());
    };
    let dir = match cgroup.place(Controller::Devices) {
        Ok(Place::V1(dir)) => dir,
        Ok(Place::V2(_)) => return Err(cgroup.without_device_rules()),
        Err(Error::NoController { .. }) if cgroup.is_v2_only() => {
            return Err(cgroup.without_device_rules());
        }
        Err(error) => return Err(error),
    };
    note_old_rules(dir, journal)?;
    dir.write(DENY, "a")?;
    for rule in rules {
        let DeviceAccess { read, write, mknod } = rule.access;
        // The kernel refuses a rule without access; it allows nothing, so nothing is to be written.
        if read || write || mknod {
            dir.write(ALLOW, &rule.to_string())?;
        }
    }
    Ok(())
}

fn note_old_rules<'d>(dir: &'d Dir, journal: &mut Journal<'d>) -> Result<(), Error> {
    let old = dir.read(LIST)?.unwrap_or_default();
    if old.trim_end() == EVERYTHING {
        journal.note(dir, ALLOW, "a".to_owned());
        return Ok(());
    }
    // Written back in reverse order: first deny everything, then allow each.
    for line in old.lines().rev() {
        journal.note(dir, ALLOW, line.to_owned());
    }
    journal.note(dir, DENY, "a".to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_written_as_the_kernel_reads_them() {
        let access = |read, write, mknod| DeviceAccess { read, write, mknod };
        for (kind, major, minor, access, text) in [
            (DeviceKind::Char, Some(1), Some(3), access(true, true, true), "c 1:3 rwm"),
            (DeviceKind::Block, None, None, access(false, false, true), "b *:* m"),
            (DeviceKind::Char, Some(136), None, access(true, true, false), "c 136:* rw"),
        ] {
            assert_eq!(DeviceRule { kind, major, minor, access }.to_string(), text);
        }
    }
}
