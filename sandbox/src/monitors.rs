// SPDX-License-Identifier: Apache-2.0
//! Starts monitors.
//!
//! A monitor is executed from a sealed memfd, so that no path on disk can be overwritten or deleted under it, and
//! finds its listening socket as standard input: the daemon binds the socket before it spawns, and so can connect at
//! once, whether or not the program has come up yet.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use crate::error::Error;
use crate::ids::PodId;
use crate::monitor_client::SOCKET;
use crate::records::make_dir;

/// The programs that husk carries inside itself.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// husk-monitor, in a sealed memfd.
    pub(crate) monitor: Arc<OwnedFd>,
    /// husk-pause, in a sealed memfd.
    pub(crate) pause: Arc<OwnedFd>,
    /// Tells this monitor program from every other.
    pub(crate) build: String,
}

/// Starts the monitor of a pod in the pod's live directory, which exists.
///
/// The child is reaped in the background for as long as this daemon lives; after that it is the child of whoever
/// adopts orphans.
pub(crate) fn spawn(programs: &Programs, pod: PodId, live_dir: &Path) -> Result<(), Error> {
    make_dir(&live_dir.join("exits"))?;
    let dir = rustix::fs::open(live_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::file("open", live_dir, errno.into()))?;
    let listener = sys::seqpacket::listen(dir.as_fd(), SOCKET)
        .map_err(|error| Error::file("listen at", live_dir.join(SOCKET), std::io::Error::other(error.to_string())))?;
    let log_path = live_dir.join("monitor.log");
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&log_path)
        .map_err(|error| Error::file("open", &log_path, error))?;
    let second = log.try_clone().map_err(|error| Error::file("open", &log_path, error))?;
    let program = format!("/proc/self/fd/{}", programs.monitor.as_raw_fd());
    let child = tokio::process::Command::new(&program)
        .arg0("husk-monitor")
        .arg(pod.to_string())
        .arg(live_dir)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(listener))
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(second))
        .kill_on_drop(false)
        .spawn();
    let mut child = child.map_err(|error| Error::file("execute the embedded monitor at", program, error))?;
    tokio::spawn(async move {
        match child.wait().await {
            Ok(status) => tracing::debug!(%pod, %status, "monitor ended"),
            Err(error) => tracing::warn!(%pod, %error, "wait for monitor"),
        }
    });
    Ok(())
}
