// SPDX-License-Identifier: Apache-2.0
//! The directory of the pins.
//!
//! Multus, Cilium and others look into it from a container with a host path and the propagation
//! HostToContainer: for that the mount that holds it must be shared, as systemd makes it, and nothing
//! is to be done here. Where it is private, the first `ip netns add` would bind `/run/netns` over
//! itself and so bury every pin below a copy: unmounting then reaches the copy alone, the file stays
//! busy, and the namespace lives until the next boot (tried on 6.18). So there, and only there, husk does first what
//! `ip netns` would do: bind the directory over itself, once, and share it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

use crate::error::Error;

/// The directory that ip-netns(8) works in, by both of its names.
const IP_NETNS: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// The mount (by its id) that was last seen to be shared, so that mountinfo, which is long on a busy
/// node, is read once and not for every pod. The lock also keeps two threads from binding twice.
static SHARED: Mutex<Option<u64>> = Mutex::new(None);

/// Makes the directory (0755) and, where needed, the mount that `ip netns` expects.
pub(crate) fn prepare(dir: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(|e| Error::path("mkdir(0755)", dir, e))?;
    if IP_NETNS.iter().any(|known| Path::new(known) == dir) {
        share(dir)?;
    }
    Ok(())
}

fn share(dir: &Path) -> Result<(), Error> {
    let mut known = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let stat = statx(CWD, dir, AtFlags::empty(), StatxFlags::MNT_ID)
        .map_err(|e| Error::path("statx(STATX_MNT_ID)", dir, e))?;
    if stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) || *known == Some(stat.stx_mnt_id) {
        return Ok(());
    }
    if is_shared(stat.stx_mnt_id)? {
        *known = Some(stat.stx_mnt_id);
        return Ok(());
    }
    mount_bind(dir, dir).map_err(|e| Error::path("mount(MS_BIND)", dir, e))?;
    mount_change(dir, MountPropagationFlags::SHARED | MountPropagationFlags::REC)
        .map_err(|e| Error::path("mount(MS_SHARED|MS_REC)", dir, e))?;
    tracing::info!(dir = %dir.display(), "bind the directory of network namespaces over itself, as ip netns does");
    Ok(())
}

fn is_shared(mount_id: u64) -> Result<bool, Error> {
    const MOUNTS: &str = "/proc/thread-self/mountinfo";
    let table = fs::read_to_string(MOUNTS).map_err(|e| Error::path("read", MOUNTS, e))?;
    Ok(table.lines().any(|line| shared_line(line, mount_id)))
}

/// Whether a line of mountinfo is about this mount and says that it is shared: proc_pid_mountinfo(5),
/// the first field is the id, and the optional fields are between the sixth one and a lone hyphen.
fn shared_line(line: &str, mount_id: u64) -> bool {
    let mut fields = line.split(' ');
    let about = fields.next().and_then(|id| id.parse().ok()) == Some(mount_id);
    about && fields.skip(5).take_while(|field| *field != "-").any(|field| field.starts_with("shared:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: bool) {
        assert_eq!(shared_line(line, 27), expected, "{line}");
    }

    #[test]
    fn mountinfo_lines() {
        check("27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw", true);
        check("27 1 254:0 / / rw master:3 shared:1 - ext4 /dev/vda rw", true);
        check("27 1 254:0 / / rw,relatime - ext4 /dev/vda rw", false);
        check("27 1 254:0 / / rw,relatime - ext4 shared:1 rw", false);
        check("28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw", false);
        check("", false);
    }
}
