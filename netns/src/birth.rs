// SPDX-License-Identifier: Apache-2.0
//! What is done inside a namespace that was just made, before anything else sees it.
//!
//! All of it runs on a thread of its own that ends afterwards: after the unshare, the thread is in the
//! new namespace for good, and there is no safe way back.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Once;

use nix::sched::{CloneFlags, unshare};

use crate::error::Error;
use crate::route::RouteSocket;

/// The namespace of the thread that opens it; /proc/self would be that of the main thread.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// What later interfaces inherit. Without it, any pod with NET_RAW can make itself the IPv6 router of
/// its neighbours by a forged router advertisement (CVE-2020-10749). A network that wants them switches
/// them on again for its interface in its plugin.
const SYSCTLS: [(&str, &str); 1] = [("/proc/sys/net/ipv6/conf/default/accept_ra", "0")];

/// Moves this thread to a new network namespace, prepares it and pins it at `pin`, an existing file.
/// The pin is the last step, so that a failure leaves nothing mounted.
pub(crate) fn give_birth(pin: &Path) -> Result<OwnedFd, Error> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| Error::call("unshare(CLONE_NEWNET)", e))?;
    for (path, value) in SYSCTLS {
        write_sysctl(path, value)?;
    }
    RouteSocket::open()?.bring_loopback_up()?;
    let fd = open_own()?;
    rustix::mount::mount_bind(OWN_NAMESPACE, pin).map_err(|e| Error::path("mount(MS_BIND)", pin, e))?;
    Ok(fd)
}

/// Opens the namespace that this thread is in.
pub(crate) fn open_own() -> Result<OwnedFd, Error> {
    use rustix::fs::{Mode, OFlags};

    rustix::fs::open(OWN_NAMESPACE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::path("open(O_RDONLY|O_CLOEXEC)", OWN_NAMESPACE, e))
}

fn write_sysctl(path: &'static str, value: &str) -> Result<(), Error> {
    static READ_ONLY: Once = Once::new();

    let written = OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(value.as_bytes()));
    match written {
        Ok(()) => Ok(()),
        // The kernel was built or started without IPv6: nothing to protect.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        // The daemon itself runs in a container: a pod without this is better than no pod.
        Err(e) if matches!(e.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => {
            READ_ONLY.call_once(|| {
                tracing::warn!(path, error = %e, "leave router advertisements to the kernel's default, this process may not change it");
            });
            Ok(())
        }
        Err(e) => Err(Error::path("write", path, e)),
    }
}
