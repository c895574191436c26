// SPDX-License-Identifier: Apache-2.0
//! `/dev`: built on a tmpfs that nobody else can reach, then attached as a whole (CVE-2026-41579: nothing is done by
//! path below a `/dev` of the image).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::process::{Gid, Uid};
use sys::Depth;
use wire::{DeviceNode, NodeKind};

use super::Builder;
use crate::failure::{Because, Result, refuse};
use crate::filesystem::{self, KERNEL_FILESYSTEM, Setting};
use crate::limits::DEV_SIZE;
use crate::process::terminal;

/// OCI runtime-spec, "runtime-linux#dev-symbolic-links", and the ptmx of the container's own devpts.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Directories for the mounts that go below.
const DIRECTORIES: [&str; 3] = ["pts", "shm", "mqueue"];

impl Builder<'_> {
    pub(super) fn mount_dev(&mut self, target: &str, nodes: &[DeviceNode], tty_gid: u32) -> Result<()> {
        let target = self.kernel_target(target)?;
        let settings = [Setting::Text("mode", "755"), Setting::Text("size", DEV_SIZE)];
        let dev = filesystem::make("tmpfs", &settings, MountAttrFlags::MOUNT_ATTR_NOSUID)?;
        for directory in DIRECTORIES {
            make_directory(dev.as_fd(), directory)?;
        }
        for (name, to) in LINKS {
            rustix::fs::symlinkat(to, &dev, name).because(|| format!("symlinkat({to}, {name})"))?;
        }
        for node in nodes {
            make_node(dev.as_fd(), node)?;
        }
        if self.wants_terminal {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            rustix::fs::openat(&dev, "console", flags, Mode::from_raw_mode(0o620))
                .because(|| "make console".to_owned())?;
        }
        filesystem::attach(dev.as_fd(), target.as_fd())?;
        // From here on the descriptor is the attached tmpfs, whose names are all of our making.
        let pts = mount_pts(dev.as_fd(), tty_gid)?;
        if self.wants_terminal {
            self.terminal = Some(self.make_console(dev.as_fd(), pts.as_fd())?);
        }
        Ok(())
    }

    fn make_console(&self, dev: BorrowedFd<'_>, pts: BorrowedFd<'_>) -> Result<OwnedFd> {
        let pair = terminal::open_pair(pts)?;
        let console = open_below(dev, "console", OFlags::NOFOLLOW)?;
        let copy = filesystem::copy(pair.peer.as_fd(), Depth::Mount)?;
        filesystem::attach(copy.as_fd(), console.as_fd())?;
        self.reporter.console(pair.master.as_fd())?;
        Ok(pair.peer)
    }
}

fn mount_pts(dev: BorrowedFd<'_>, tty_gid: u32) -> Result<OwnedFd> {
    let gid = tty_gid.to_string();
    let settings = [
        Setting::Flag("newinstance"),
        Setting::Text("ptmxmode", "0666"),
        Setting::Text("mode", "0620"),
        Setting::Text("gid", &gid),
    ];
    let attributes = KERNEL_FILESYSTEM.difference(MountAttrFlags::MOUNT_ATTR_NODEV);
    let pts = filesystem::make("devpts", &settings, attributes)?;
    let target = open_below(dev, "pts", OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
    filesystem::attach(pts.as_fd(), target.as_fd())?;
    Ok(pts)
}

fn open_below(dev: BorrowedFd<'_>, name: &str, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat(dev, name, flags, Mode::empty()).because(|| format!("openat({name}) below the new /dev"))
}

fn make_directory(dev: BorrowedFd<'_>, name: &str) -> Result<()> {
    match rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        other => other.because(|| format!("mkdirat({name}) below the new /dev")),
    }
}

fn make_node(dev: BorrowedFd<'_>, node: &DeviceNode) -> Result<()> {
    let name = node.name.as_str();
    if name.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(refuse(format!("\"{name}\" is no path of a device below /dev")));
    }
    for (slash, _) in name.match_indices('/') {
        make_directory(dev, &name[..slash])?;
    }
    let kind = match node.kind {
        NodeKind::Character => FileType::CharacterDevice,
        NodeKind::Block => FileType::BlockDevice,
    };
    let mode = Mode::from_raw_mode(node.mode & 0o7777);
    // The umask is zero here, so the mode is exact.
    rustix::fs::mknodat(dev, name, kind, mode, rustix::fs::makedev(node.major, node.minor))
        .because(|| format!("mknodat({name}, {}:{})", node.major, node.minor))?;
    if (node.uid, node.gid) == (0, 0) {
        return Ok(());
    }
    if node.uid == u32::MAX || node.gid == u32::MAX {
        return Err(refuse(format!("{name} has no valid owner")));
    }
    let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    rustix::fs::chownat(dev, name, Some(uid), Some(gid), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .because(|| format!("fchownat({name}, {}, {})", node.uid, node.gid))
}
