// SPDX-License-Identifier: Apache-2.0
//! The host's device nodes, which a privileged container gets.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// A device node of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostDevice {
    pub(crate) path: PathBuf,
    /// `c` or `b`.
    pub(crate) kind: &'static str,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Most nodes that are passed on; a machine with hundreds of disks has a few thousand.
const MOST: usize = 8192;

/// Deepest directory below `/dev` that is looked into (`/dev/bus/usb/001`).
const DEEPEST: u32 = 5;

/// What every container has an own instance of, and what belongs to the host's terminals alone.
const LEFT_OUT: [&str; 9] = ["pts", "shm", "fd", "mqueue", "console", "ptmx", ".lxc", ".lxd-mounts", ".udev"];

/// All device nodes below the host's `/dev`. Symbolic links are not followed and other mounts are not entered by name.
pub(crate) fn list() -> Result<Vec<HostDevice>, Error> {
    let mut found = Vec::new();
    walk(Path::new("/dev"), DEEPEST, &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn walk(dir: &Path, depth: u32, found: &mut Vec<HostDevice>) -> Result<(), Error> {
    let entries = fs::read_dir(dir).map_err(|error| Error::file("read directory", dir, error))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !LEFT_OUT.contains(name)) else { continue };
        // A node that vanishes meanwhile is no node.
        let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
        let kind = metadata.file_type();
        if kind.is_dir() && depth > 0 {
            walk(&entry.path(), depth - 1, found)?;
        } else if (kind.is_char_device() || kind.is_block_device()) && found.len() < MOST {
            found.push(HostDevice {
                path: dir.join(name),
                kind: if kind.is_char_device() { "c" } else { "b" },
                major: rustix::fs::major(metadata.rdev()),
                minor: rustix::fs::minor(metadata.rdev()),
                mode: metadata.mode() & 0o7777,
                uid: metadata.uid(),
                gid: metadata.gid(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_there_and_terminals_are_not() {
        let devices = list().unwrap();
        let null = devices.iter().find(|device| device.path == Path::new("/dev/null")).unwrap();
        assert_eq!((null.kind, null.major, null.minor), ("c", 1, 3));
        assert!(!devices.iter().any(|device| device.path.starts_with("/dev/pts")));
    }
}
