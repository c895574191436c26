// SPDX-License-Identifier: Apache-2.0
//! The ledger: a directory with one file for each attachment, replaced atomically.
//!
//! ```text
//!  (none) ──intent──▶ Intended ──result──▶ Attached
//!                        │                    │
//!                        └──── DEL succeeds ──┴──▶ (none)
//!                        └──── DEL fails ─────┴──▶ the same, with `failed_del`, until one succeeds
//! ```
//!
//! The files are read once; afterwards every question is answered from memory, and no reader waits for a
//! disk. Nothing is synced: after a power loss the interfaces are gone too, and leases that outlive it
//! are what GC is for.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::attachment::{Attachment, FailedDel};
use crate::error::Error;
use crate::failure::one_line;
use crate::keyed_mutex::Turn;
use crate::limits;
use crate::names::ContainerId;
use crate::record;

const SUFFIX: &str = ".json";
const TEMPORARY: &str = ".tmp";
const ASIDE: &str = ".unreadable";

type Entries = BTreeMap<ContainerId, Arc<Attachment>>;

/// All attachments that this client made or began.
#[derive(Debug)]
pub struct Ledger {
    dir: PathBuf,
    boot_id: String,
    entries: Arc<Mutex<Entries>>,
    set_aside: Vec<SetAside>,
}

/// A file that could not be read. It stays, under this name, until somebody removes it, and is tried
/// again at every start: a newer version may understand it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl Ledger {
    /// Reads the directory, making it (0700) when it is missing. Blocks on the disk.
    ///
    /// # Errors
    /// When the directory cannot be made or listed. A file that cannot be read is no error: it is set
    /// aside.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| failed("mkdir", dir, e))?;
        let mut ledger = Self { dir: dir.into(), boot_id: boot_id()?, entries: Arc::default(), set_aside: Vec::new() };
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(|e| failed("readdir", dir, e))? {
            let entry = entry.map_err(|e| failed("readdir", dir, e))?;
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        // An entry comes before one of the same id that was set aside.
        names.sort();
        for name in names {
            ledger.load(&name)?;
        }
        Ok(ledger)
    }

    fn load(&mut self, name: &str) -> Result<(), Error> {
        let path = self.dir.join(name);
        if name.ends_with(TEMPORARY) {
            // Left by a death between write and rename: the old file is the valid one.
            return fs::remove_file(&path).map_err(|e| failed("unlink", &path, e));
        }
        let (plain, was_aside) = match name.strip_suffix(ASIDE) {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        let Some(stem) = plain.strip_suffix(SUFFIX) else {
            return Ok(());
        };
        let good = self.dir.join(plain);
        let read = ContainerId::parse(stem).map_err(|e| e.to_string()).and_then(|id| match read(&path, &id) {
            Ok(_) if was_aside && good.exists() => Err("a newer record is in its place".into()),
            other => other,
        });
        match read {
            Ok(attachment) => {
                if was_aside {
                    fs::rename(&path, &good).map_err(|e| failed("rename", &path, e))?;
                }
                self.locked().insert(attachment.container_id.clone(), Arc::new(attachment));
            }
            Err(why) => {
                let aside = self.dir.join(format!("{plain}{ASIDE}"));
                if !was_aside {
                    fs::rename(&path, &aside).map_err(|e| failed("rename", &path, e))?;
                }
                tracing::warn!(path = %aside.display(), why, "set aside an unreadable record of an attachment");
                self.set_aside.push(SetAside { path: aside, why });
            }
        }
        Ok(())
    }

    /// The entry of a container id.
    pub fn entry(&self, id: &ContainerId) -> Option<Arc<Attachment>> {
        self.locked().get(id).cloned()
    }

    /// All entries, in the order of their ids.
    pub fn entries(&self) -> Vec<Arc<Attachment>> {
        self.locked().values().cloned().collect()
    }

    /// The entries whose DEL failed and has to be repeated.
    pub fn pending(&self) -> Vec<Arc<Attachment>> {
        let entries = self.locked();
        let pending = entries.values().filter(|entry| entry.failed_del.is_some());
        pending.cloned().collect()
    }

    /// The files that could not be read at the start.
    pub fn set_aside(&self) -> &[SetAside] {
        &self.set_aside
    }

    /// The boot that this ledger was opened in.
    pub(crate) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Writes an entry, or replaces it. Until it is on record, nothing is acquired.
    pub(crate) async fn put(&self, attachment: Attachment, turn: &Turn) -> Result<(), Error> {
        let path = self.path_of(&attachment.container_id);
        let bytes = record::encode(&attachment).map_err(|e| failed("encode", &path, e.into()))?;
        self.on_disk(turn, move |entries| {
            replace(&path, &bytes)?;
            locked(entries).insert(attachment.container_id.clone(), Arc::new(attachment));
            Ok(())
        })
        .await
    }

    /// Removes an entry. Needs no free space.
    pub(crate) async fn remove(&self, id: &ContainerId, turn: &Turn) -> Result<(), Error> {
        let path = self.path_of(id);
        let id = id.clone();
        self.on_disk(turn, move |entries| {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(failed("unlink", &path, e));
                }
                _ => {}
            }
            locked(entries).remove(&id);
            Ok(())
        })
        .await
    }

    /// Remembers that DEL failed. On a full disk it is remembered in memory alone, which is enough:
    /// the entry itself is on record, and a restart tries DEL again.
    pub(crate) async fn note_failure(&self, attachment: &Attachment, error: &Error, turn: &Turn) {
        let before = attachment.failed_del.as_ref();
        let failed = FailedDel {
            attempts: before.map_or(0, |failed| failed.attempts).saturating_add(1),
            last: SystemTime::now(),
            error: one_line(error.to_line().as_bytes()),
        };
        let noted = Attachment { failed_del: Some(failed), ..attachment.clone() };
        if let Err(e) = self.put(noted.clone(), turn).await {
            tracing::debug!(container = %noted.container_id, error = %e.to_line(), "keep a failed DEL in memory only");
            self.locked().insert(noted.container_id.clone(), Arc::new(noted));
        }
    }

    /// The disk may be slow, so the runtime's workers are not held up by it. Disk and memory change
    /// together, and before the turn ends, also when nobody waits any more.
    async fn on_disk(
        &self,
        turn: &Turn,
        work: impl FnOnce(&Mutex<Entries>) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let entries = Arc::clone(&self.entries);
        let turn = turn.clone();
        let task = tokio::task::spawn_blocking(move || {
            let done = work(&entries);
            drop(turn);
            done
        });
        match task.await {
            Ok(done) => done,
            Err(e) => Err(Error::call("write the ledger", io::Error::other(e))),
        }
    }

    fn path_of(&self, id: &ContainerId) -> PathBuf {
        self.dir.join(format!("{id}{SUFFIX}"))
    }

    fn locked(&self) -> MutexGuard<'_, Entries> {
        locked(&self.entries)
    }
}

fn locked(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(path: &Path, id: &ContainerId) -> Result<Attachment, String> {
    let mut bytes = Vec::new();
    OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .and_then(|file| file.take(limits::RECORD_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|e| format!("it cannot be read: {e}"))?;
    if bytes.len() as u64 > limits::RECORD_BYTES {
        return Err("it is too long".into());
    }
    record::decode(&bytes, id).map_err(|e| e.to_string())
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(TEMPORARY);
    let temporary = PathBuf::from(temporary);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|e| {
        // A half-written file would hold the little space that a full disk has.
        let _ = fs::remove_file(&temporary);
        failed("write", path, e)
    })
}

fn failed(call: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Ledger { call, path: path.into(), source }
}

fn boot_id() -> Result<String, Error> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    fs::read_to_string(path).map(|id| id.trim().to_owned()).map_err(|e| failed("read", path, e))
}
