// SPDX-License-Identifier: Apache-2.0
//! Files that are replaced as a whole: readers and crashes see the old or the new content.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// Names of unfinished files begin with this; they are garbage after a crash.
pub(crate) const TEMPORARY: &str = ".tmp-";

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A name that nobody else uses in `directory`.
pub(crate) fn temporary(directory: &Path) -> PathBuf {
    directory.join(format!("{TEMPORARY}{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)))
}

/// Writes `bytes` to a temporary neighbour and renames it to `path`.
///
/// # Errors
/// `NoSpace` and `Io`; then `path` is what it was.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = temporary(path.parent().unwrap_or(Path::new("/")));
    let result = write(&temporary, bytes)
        .and_then(|()| std::fs::rename(&temporary, path).map_err(|e| Error::io("rename to", path, e)));
    if result.is_err() {
        // The error to report is the first one; a leftover is collected at the next start.
        let _removed = std::fs::remove_file(&temporary);
    }
    result
}

/// As [`replace`], but on a full disk a file that doesn't grow is overwritten in place: forgetting must work without a free byte.
pub(crate) fn shrink(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    match replace(path, bytes) {
        Err(Error::NoSpace { .. }) => {}
        other => return other,
    }
    let full = || Error::NoSpace { what: "a record".to_owned(), path: path.to_owned() };
    let old = std::fs::metadata(path).map_err(|e| Error::io("stat", path, e))?.len();
    if bytes.len() as u64 > old {
        return Err(full());
    }
    let mut file = OpenOptions::new().write(true).open(path).map_err(|e| Error::io("open", path, e))?;
    file.write_all(bytes).and_then(|()| file.set_len(bytes.len() as u64)).map_err(|e| Error::io("write", path, e))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = open.map_err(|e| Error::io("create", path, e))?;
    file.write_all(bytes).map_err(|e| Error::io("write", path, e))
}

/// Reads a file of at most `most_bytes`; nothing if there is none.
pub(crate) fn read(path: &Path, most_bytes: u64) -> Result<Option<Vec<u8>>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", path, e)),
    };
    let mut bytes = Vec::new();
    file.take(most_bytes + 1).read_to_end(&mut bytes).map_err(|e| Error::io("read", path, e))?;
    if bytes.len() as u64 > most_bytes {
        return Err(Error::Limit { what: path.display().to_string(), limit: format!("{most_bytes} bytes") });
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replace_leaves_no_neighbours() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"two");
        assert!(read(&path, 2).is_err());
        assert!(read(&directory.path().join("b"), 2).unwrap().is_none());
        assert!(replace(&directory.path().join("absent/a"), b"x").is_err());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
