// SPDX-License-Identifier: Apache-2.0
//! The pod's template: the mount namespace of pause, of which every container gets a copy.
//!
//! It is an empty tmpfs with two directories, and nothing of the host's mount table: copying it costs the same on a node
//! with 20 mounts and with 2,000, and no container keeps a host mount busy.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountAttrFlags, MoveMountFlags};
use sys::{Depth, MountChange, Propagation};

use crate::failure::{Because, Result};
use crate::filesystem::{self, KERNEL_FILESYSTEM, Setting};
use crate::in_root::Root;
use crate::limits::{SKELETON_INODES, SKELETON_SIZE};
use crate::steps::pivot_to;

/// Where a container's root file system is attached, in its own copy of the template.
pub(crate) const ROOT: &str = "/root";

/// The pod's shared memory.
pub(crate) const SHM: &str = "/shm";

/// Where the template is mounted for the moment before it becomes the root: a directory that every host has. The mount
/// namespace is the child's own by then.
const STAGE: &str = "/proc";

/// Makes the template the root of this mount namespace, which must be a fresh copy of the host's.
pub(crate) fn enter(shm_bytes: u64) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let host = rustix::fs::open("/", flags, Mode::empty()).because(|| "open(\"/\")".to_owned())?;
    // Before anything else: what is mounted and, above all, unmounted here must not travel to the host.
    let private = MountChange { set: MountAttrFlags::empty(), propagation: Some(Propagation::Private) };
    sys::mount_setattr(host.as_fd(), Depth::Tree, private).or_fail()?;

    let settings = [
        Setting::Text("mode", "755"),
        Setting::Text("size", SKELETON_SIZE),
        Setting::Text("nr_inodes", SKELETON_INODES),
    ];
    let root = filesystem::make("tmpfs", &settings, KERNEL_FILESYSTEM)?;
    for directory in [ROOT, SHM] {
        rustix::fs::mkdirat(&root, below(directory), Mode::from_raw_mode(0o755))
            .because(|| format!("mkdirat({directory})"))?;
    }
    rustix::mount::move_mount(&root, "", CWD, STAGE, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .because(|| format!("move_mount onto {STAGE}"))?;
    mount_shm(&root, shm_bytes)?;
    pivot_to(&Root::new(root))
}

fn mount_shm(root: &OwnedFd, shm_bytes: u64) -> Result<()> {
    let size = shm_bytes.to_string();
    let shm =
        filesystem::make("tmpfs", &[Setting::Text("mode", "1777"), Setting::Text("size", &size)], KERNEL_FILESYSTEM)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(root, below(SHM), flags, Mode::empty()).because(|| format!("openat({SHM})"))?;
    filesystem::attach(shm.as_fd(), target.as_fd())
}

/// The same path, relative to the template's root.
fn below(path: &str) -> &str {
    path.trim_start_matches('/')
}
