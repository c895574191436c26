// SPDX-License-Identifier: Apache-2.0
//! One daemon per directory: a lock that the kernel lets go of when the daemon is gone, however it ended.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// The name of the lock's file.
const LOCK: &str = "lock";

/// Why a directory cannot be this daemon's own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another daemon has it.
    #[error("{} belongs to another husk that runs ({holder}); stop it, or give this one another `{key}`", dir.display())]
    Held {
        /// The directory.
        dir: PathBuf,
        /// `pid 123`, or that it is not known.
        holder: String,
        /// The key of the configuration that names the directory.
        key: &'static str,
    },
    /// The directory or the lock cannot be made.
    #[error("{doing} {}: {error}", path.display())]
    File {
        /// `make`, `open` …
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        error: io::Error,
    },
}

/// A directory that is this daemon's own for as long as the value lives.
#[derive(Debug)]
pub(crate) struct InstanceLock {
    _file: File,
}

impl InstanceLock {
    /// Makes the directory if need be, closes it to others (mode 0700) and takes its lock. `key` is what names the
    /// directory in the configuration.
    ///
    /// # Errors
    /// [`LockError::Held`] when another daemon has it.
    pub(crate) fn take(dir: &Path, key: &'static str) -> Result<Self, LockError> {
        private_dir(dir)?;
        let path = dir.join(LOCK);
        let failed = |doing| move |error: io::Error| LockError::File { doing, path: dir.join(LOCK), error };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        // A symlink in its place is not ours, and the directory is closed to others.
        let nofollow = rustix::fs::OFlags::NOFOLLOW.bits();
        let mut file = options.custom_flags(nofollow.cast_signed()).open(&path).map_err(failed("open"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(LockError::Held { dir: dir.to_owned(), holder: holder(&mut file), key });
            }
            Err(errno) => return Err(failed("lock")(errno.into())),
        }
        // For whoever finds it taken. The lock is the truth, and the text is only for its message.
        file.set_len(0).map_err(failed("empty"))?;
        writeln!(file, "{}", std::process::id()).map_err(failed("write"))?;
        Ok(Self { _file: file })
    }
}

/// Who has the lock, in words.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(32).read_to_string(&mut text));
    match read.ok().and_then(|_| text.trim().parse::<u32>().ok()) {
        Some(pid) => format!("pid {pid}"),
        None => "its pid is not known".to_owned(),
    }
}

/// Makes a directory that only root can enter, or tightens the one that is there.
fn private_dir(dir: &Path) -> Result<(), LockError> {
    let failed = |doing| move |error| LockError::File { doing, path: dir.to_owned(), error };
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent).map_err(failed("make the parents of"))?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("make")(error)),
    }
    let metadata = std::fs::metadata(dir).map_err(failed("read"))?;
    if !metadata.is_dir() {
        return Err(failed("make")(io::ErrorKind::NotADirectory.into()));
    }
    if metadata.mode() & 0o077 != 0 {
        std::fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(failed("close to others"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_has_it() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("a/b/state");
        let first = InstanceLock::take(&dir, "state").unwrap();
        let refused = InstanceLock::take(&dir, "state").unwrap_err();
        assert!(matches!(refused, LockError::Held { .. }), "{refused}");
        let text = refused.to_string();
        assert!(text.contains(&format!("pid {}", std::process::id())) && text.contains("another `state`"), "{text}");
        drop(first);
        let again = InstanceLock::take(&dir, "state").unwrap();
        let written = std::fs::read_to_string(dir.join(LOCK)).unwrap();
        assert_eq!(written, format!("{}\n", std::process::id()));
        drop(again);
    }

    #[test]
    fn directories_are_closed_to_others() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("state");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        let _lock = InstanceLock::take(&dir, "state").unwrap();
        assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(dir.join(LOCK)).unwrap().mode() & 0o777, 0o600);
        let file = base.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(InstanceLock::take(&file, "root"), Err(LockError::File { .. })));
    }

    #[test]
    fn a_symlink_is_not_followed() {
        let base = tempfile::tempdir().unwrap();
        let victim = base.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, base.path().join(LOCK)).unwrap();
        assert!(InstanceLock::take(base.path(), "state").is_err());
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }
}
