// SPDX-License-Identifier: Apache-2.0
//! Records: files about a pod or a container that outlive the daemon.
//!
//! Identity (`record.json`, written once, before anything is acquired) is apart from status (`status.json`, replaced
//! atomically). Every resource of a pod has a name made from its id, so the identity record is the *intent*: what it
//! names may or may not exist, and teardown copes with both. Nothing is synced: against the death of the daemon the
//! page cache is enough, and after a power cut the processes are gone anyway.

use std::fs;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{ContainerConfig, PodConfig, Signal};
use crate::error::Error;
use crate::ids::{ContainerId, PodId};
use crate::limits;
use crate::ports::HeldLayers;

/// The version that this build writes. A record of another one is put aside.
pub const VERSION: u32 = 1;

/// Who a pod is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRecord {
    /// [`VERSION`].
    pub version: u32,
    /// Its id.
    pub id: PodId,
    /// When it was made, in nanoseconds since the epoch.
    pub created_at_ns: u64,
    /// The boot in which it was made.
    pub boot_id: String,
    /// The cgroup below which it lives.
    pub cgroup_parent: String,
    /// The topmost cgroup on the way to the parent that was not there before: what is made from there on goes with
    /// the pod, as far as nobody else is in it.
    #[serde(default)]
    pub made_from: Option<String>,
    /// What it shall be.
    pub config: PodConfig,
}

/// How far a pod is. Without this file it is half-made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStatusRecord {
    /// [`VERSION`].
    pub version: u32,
    /// Whether a Stop has been completed.
    pub stopped: bool,
    /// Its addresses, the pod's IP first.
    pub ips: Vec<IpAddr>,
}

/// Who a container is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// [`VERSION`].
    pub version: u32,
    /// Its id.
    pub id: ContainerId,
    /// Its pod.
    pub pod: PodId,
    /// When it was made, in nanoseconds since the epoch.
    pub created_at_ns: u64,
    /// What it shall be.
    pub config: ContainerConfig,
    /// The id of its image.
    pub image_id: String,
    /// A name of its image for people.
    pub image_reference: String,
    /// The layers that it stands on.
    pub layers: HeldLayers,
    /// Its environment, `NAME=value`, as bytes, which `config.json` cannot hold.
    pub env: Vec<Vec<u8>>,
    /// The signal that stops it.
    pub stop_signal: Signal,
    /// The uid, gid and supplementary groups of its first process.
    pub user: (u32, u32, Vec<u32>),
}

/// How a container ended. Without this file it has not, as far as the daemon knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatusRecord {
    /// [`VERSION`].
    pub version: u32,
    /// 0 when it never started.
    pub started_at_ns: u64,
    /// Never 0.
    pub finished_at_ns: u64,
    /// As a shell shows it.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError` or `Unknown`.
    pub reason: String,
    /// More about it.
    pub message: String,
}

/// Why a record is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BadRecord {
    /// It is not there.
    #[error("it does not exist")]
    Missing,
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
    /// It is no regular file, or too large to be one of ours.
    #[error("it is not a regular file of at most {} bytes", limits::RECORD_BYTES)]
    NotOurs,
    /// It does not parse.
    #[error("it does not parse: {0}")]
    Malformed(String),
    /// Another version wrote it.
    #[error("it has version {0}, and this husk reads version {VERSION}")]
    OtherVersion(u64),
}

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

/// Reads the bytes of a record of any kind: the version first, so that a newer one is told from a damaged one.
///
/// # Errors
/// [`BadRecord::Malformed`], [`BadRecord::OtherVersion`].
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadRecord> {
    let malformed = |error: serde_json::Error| BadRecord::Malformed(error.to_string());
    let Versioned { version } = serde_json::from_slice(bytes).map_err(malformed)?;
    if version != u64::from(VERSION) {
        return Err(BadRecord::OtherVersion(version));
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

/// Reads a record from a file.
///
/// # Errors
/// Every [`BadRecord`].
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, BadRecord> {
    // A fifo or a device in its place must not hang the start.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NOCTTY;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(BadRecord::Missing),
        Err(error) => return Err(BadRecord::Unreadable(error)),
    };
    let metadata = file.metadata().map_err(BadRecord::Unreadable)?;
    if !metadata.is_file() || metadata.len() > limits::RECORD_BYTES {
        return Err(BadRecord::NotOurs);
    }
    let mut bytes = Vec::new();
    file.take(limits::RECORD_BYTES).read_to_end(&mut bytes).map_err(BadRecord::Unreadable)?;
    parse(&bytes)
}

/// Puts a record in place, whole or not at all.
///
/// # Errors
/// When the file cannot be written; the old one is still there then.
pub(crate) fn save(path: &Path, record: &impl Serialize) -> Result<(), Error> {
    let bytes = serde_json::to_vec_pretty(record).map_err(|error| Error::Fault(error.to_string()))?;
    write_atomically(path, &bytes)
}

/// Puts a file of mode 0600 in place, whole or not at all.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = temporary_name(path);
    let write = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        // Best effort: a leftover is overwritten by the next attempt and goes with its directory.
        let _ = fs::remove_file(&temporary);
        Error::file("write", path, error)
    })
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// Makes a directory of mode 0700 with its parents; one that is there is fine.
pub(crate) fn make_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Error::file("make directory", path, error))
}

/// Removes a directory with all that is in it; one that is not there is fine. The standard library walks by
/// descriptor and follows no link.
pub(crate) fn remove_dir(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("remove directory", path, error)),
        _ => Ok(()),
    }
}

/// The id of this boot (`/proc/sys/kernel/random/boot_id`).
pub(crate) fn boot_id() -> Result<String, Error> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(PATH).map_err(|error| Error::file("read", PATH, error))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> PodStatusRecord {
        PodStatusRecord { version: VERSION, stopped: false, ips: vec!["10.1.2.3".parse().unwrap()] }
    }

    #[test]
    fn written_whole_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        assert!(matches!(load::<PodStatusRecord>(&path), Err(BadRecord::Missing)));
        save(&path, &status()).unwrap();
        let changed = PodStatusRecord { stopped: true, ..status() };
        save(&path, &changed).unwrap();
        assert_eq!(load::<PodStatusRecord>(&path).unwrap(), changed);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn every_damage_is_told_apart_and_none_hangs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        let good = serde_json::to_vec(&status()).unwrap();
        for cut in 0..good.len() {
            fs::write(&path, &good[..cut]).unwrap();
            assert!(matches!(load::<PodStatusRecord>(&path), Err(BadRecord::Malformed(_))), "cut at {cut}");
        }
        fs::write(&path, br#"{"version": 2, "something": "new"}"#).unwrap();
        assert!(matches!(load::<PodStatusRecord>(&path), Err(BadRecord::OtherVersion(2))));
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(matches!(load::<PodStatusRecord>(&path), Err(BadRecord::NotOurs)));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(matches!(load::<PodStatusRecord>(&path), Err(BadRecord::Unreadable(_))));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(load::<PodStatusRecord>(&path), Err(BadRecord::NotOurs)));
    }
}
