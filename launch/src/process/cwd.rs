// SPDX-License-Identifier: Apache-2.0
//! The working directory. CVE-2024-21626: it is looked up without magic links, and looked at afterwards.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::failure::{Because, Result, from_errno, refuse};
use crate::in_root::{Kind, Links, Root};

/// How an attempt to enter the directory went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// This process is there.
    Entered,
    /// This process may not go there; the process's user may (a FUSE mount without `allow_other`, NFS without root).
    NotAllowed,
}

/// Enters `path`, and makes it (root:root 0755) when it is missing and `make` is set.
pub(super) fn enter(path: &str, make: bool) -> Result<Place> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty()).because(|| "open(\"/\") of the container".to_owned())?;
    let root = Root::new(root);
    let found = match root.find(path, Links::Follow) {
        Err(Errno::NOENT) if make => root.find_or_make(path, Kind::Directory, Links::Follow)?,
        Err(Errno::ACCESS | Errno::PERM) => return Ok(Place::NotAllowed),
        Err(Errno::LOOP) => {
            let why = "it leads through a magic link of procfs or in a circle";
            return Err(from_errno(Errno::LOOP, Some(why.to_owned())));
        }
        other => other.because(|| "openat2 in the root".to_owned())?,
    };
    match rustix::process::fchdir(&found) {
        Ok(()) => Ok(Place::Entered),
        Err(Errno::ACCESS | Errno::PERM) => Ok(Place::NotAllowed),
        Err(errno) => Err(from_errno(errno, Some("fchdir".to_owned()))),
    }
}

/// The kernel's word that this process is where it should be: inside its root.
pub(super) fn check(place: Place) -> Result<()> {
    if place == Place::NotAllowed {
        return Err(from_errno(Errno::ACCESS, Some("neither root nor the process's user may enter it".to_owned())));
    }
    let now = rustix::process::getcwd(Vec::new()).because(|| "getcwd".to_owned())?;
    if now.as_bytes().first() == Some(&b'/') { Ok(()) } else { Err(refuse("it is outside the container's root")) }
}
