// SPDX-License-Identifier: Apache-2.0
//! Keeps the snapshot of the configuration current.
//!
//! ```text
//!  arm (the directory and its parent, or the nearest ancestor that exists)
//!    ─▶ read ─▶ publish if it says something new ─▶ wait for an event ─▶ wait until it is quiet ─▶ arm …
//! ```
//!
//! The watch is armed anew *before* each reading, so no change falls between the two, and a directory
//! that was removed, renamed or made again is found by its path. Without inotify (its instances are a
//! scarce resource of the node) the directory is read every few seconds.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use inotify::{Inotify, WatchMask};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout_at};

use crate::conf_dir;
use crate::limits;
use crate::readable_fd;
use crate::snapshot::Snapshot;

/// The current snapshot and the task that renews it, which ends with this value.
#[derive(Debug)]
pub(crate) struct Watcher {
    current: watch::Receiver<Arc<Snapshot>>,
    task: JoinHandle<()>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watcher {
    /// Reads the directory, so that there is a snapshot at once, and starts the task.
    pub(crate) async fn start(dir: PathBuf) -> Self {
        let armed = arm(&dir);
        let first = reload(&dir, None).await.unwrap_or_else(|| Snapshot {
            dir: dir.clone(),
            network: None,
            faults: Vec::new(),
        });
        report(&first);
        let (publish, current) = watch::channel(Arc::new(first));
        Self { current, task: tokio::spawn(follow(dir, armed, publish)) }
    }

    /// The snapshot of now.
    pub(crate) fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.borrow())
    }

    /// A receiver that is told of every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.current.clone()
    }
}

async fn follow(dir: PathBuf, mut armed: io::Result<AsyncFd<Inotify>>, publish: watch::Sender<Arc<Snapshot>>) {
    let mut told = false;
    loop {
        match &mut armed {
            Ok(events) => {
                told = false;
                if wait_for_quiet(events).await.is_err() {
                    sleep(limits::POLL).await;
                }
            }
            Err(e) => {
                if !told {
                    tracing::warn!(dir = %dir.display(), error = %e, "read the network configuration every few seconds, it cannot be watched");
                }
                told = true;
                sleep(limits::POLL).await;
            }
        }
        armed = arm(&dir);
        let before = Arc::clone(&publish.borrow());
        if let Some(now) = reload(&dir, Some(before)).await {
            publish.send_if_modified(|current| {
                let changed = !current.says_the_same(&now);
                if changed {
                    report(&now);
                    *current = Arc::new(now);
                }
                changed
            });
        }
    }
}

/// Reads the directory off the runtime's workers. Nothing comes back when the runtime is ending.
async fn reload(dir: &Path, before: Option<Arc<Snapshot>>) -> Option<Snapshot> {
    let dir = dir.to_owned();
    let before = before.and_then(|snapshot| snapshot.network.clone());
    spawn_blocking(move || conf_dir::load(&dir, before.as_deref())).await.ok()
}

fn report(snapshot: &Snapshot) {
    for fault in &snapshot.faults {
        tracing::warn!(path = %fault.path.display(), error = %fault.error, "skip a network configuration");
    }
    match &snapshot.network {
        Some(list) => {
            tracing::info!(network = %list.name, path = %list.source.display(), version = %list.version, "use network");
        }
        None => tracing::info!(dir = %snapshot.dir.display(), "wait for a network configuration"),
    }
}

/// Watches the directory for its files and the nearest existing directory above it for its own coming
/// and going.
fn arm(dir: &Path) -> io::Result<AsyncFd<Inotify>> {
    let names = WatchMask::CREATE
        | WatchMask::MOVED_TO
        | WatchMask::MOVED_FROM
        | WatchMask::DELETE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::ONLYDIR;
    let contents = names | WatchMask::CLOSE_WRITE | WatchMask::ATTRIB;
    let inotify = Inotify::init()?;
    let mut watches = inotify.watches();
    match watches.add(dir, contents) {
        Ok(_) => {}
        Err(e) if is_absent(&e) => {}
        Err(e) => return Err(e),
    }
    for ancestor in dir.ancestors().skip(1) {
        match watches.add(ancestor, names) {
            Ok(_) => break,
            Err(e) if is_absent(&e) => {}
            Err(e) => return Err(e),
        }
    }
    readable_fd::watch(inotify)
}

fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Waits for an event, and then until none has come for a while.
async fn wait_for_quiet(events: &mut AsyncFd<Inotify>) -> io::Result<()> {
    next(events).await?;
    let latest = Instant::now() + limits::QUIET_AT_MOST;
    loop {
        let until = latest.min(Instant::now() + limits::QUIET);
        match timeout_at(until, next(events)).await {
            Ok(event) => event?,
            Err(_) => return Ok(()),
        }
        if Instant::now() >= latest {
            return Ok(());
        }
    }
}

/// Waits for events and forgets them: what they are does not matter, everything is read again.
async fn next(events: &mut AsyncFd<Inotify>) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let mut ready = events.readable_mut().await?;
        let read = ready.try_io(|inotify| inotify.get_mut().read_events(&mut buffer).map(|_| ()));
        match read {
            Ok(done) => return done,
            Err(_would_block) => {}
        }
    }
}
