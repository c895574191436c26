// SPDX-License-Identifier: Apache-2.0
//! Reads the configuration directory.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::conf::{self, ConfError, NetworkList};
use crate::limits;
use crate::snapshot::{Fault, Snapshot};

/// What counts as a configuration (libcni's convention; the specification names no files).
const EXTENSIONS: [&str; 3] = ["conflist", "conf", "json"];

/// Reads the directory. `before` is what was in force: when its file is still there but cannot be used
/// now, most likely because it is being written, its last good state stays in force.
pub(crate) fn load(dir: &Path, before: Option<&NetworkList>) -> Snapshot {
    let mut snapshot = Snapshot { dir: dir.into(), network: None, faults: Vec::new() };
    let paths = match list(dir) {
        Ok(paths) => paths,
        Err(e) if e.kind() == ErrorKind::NotFound => return snapshot,
        Err(e) => {
            snapshot.network = before.cloned().map(Arc::new);
            snapshot.faults.push(fault(dir, ConfError::Read(e)));
            return snapshot;
        }
    };
    let mut damaged = None;
    for path in paths {
        match read(&path) {
            Ok(Some(found)) if snapshot.network.is_none() => {
                snapshot.network = Some(Arc::new(found));
            }
            // One network is in force; the others are only checked. A file that was removed since the
            // listing is none.
            Ok(_) => {}
            Err(error) => {
                damaged = damaged.or_else(|| before.filter(|list| list.source == path));
                snapshot.faults.push(fault(&path, error));
            }
        }
    }
    if let Some(last_good) = damaged {
        snapshot.network = Some(Arc::new(last_good.clone()));
    }
    snapshot
}

fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|e| e.to_str());
        if extension.is_some_and(|e| EXTENSIONS.contains(&e)) {
            paths.push(path);
        }
    }
    paths.sort();
    paths.truncate(limits::CONF_FILES);
    Ok(paths)
}

fn read(path: &Path) -> Result<Option<NetworkList>, ConfError> {
    // A FIFO must not hang the reader.
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let file = match file {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(ConfError::Read(e)),
    };
    if !file.metadata().map_err(ConfError::Read)?.is_file() {
        return Err(ConfError::NotAFile);
    }
    let mut bytes = Vec::new();
    file.take(limits::CONF_BYTES + 1).read_to_end(&mut bytes).map_err(ConfError::Read)?;
    conf::parse(path, &bytes).map(Some)
}

fn fault(path: &Path, error: ConfError) -> Fault {
    Fault { path: path.into(), error: Arc::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(name: &str) -> String {
        format!(r#"{{"cniVersion":"1.0.0","name":"{name}","type":"t"}}"#)
    }

    #[track_caller]
    fn check(dir: &Path, before: Option<&NetworkList>, in_force: Option<&str>, faults: &[&str]) {
        let snapshot = load(dir, before);
        let name = snapshot.network.as_ref().map(|list| list.name.as_str());
        assert_eq!(name, in_force);
        let names: Vec<_> = snapshot.faults.iter().map(|f| f.path.file_name().unwrap()).collect();
        assert_eq!(names, faults);
        assert_eq!(snapshot.network().is_ok(), in_force.is_some());
    }

    #[test]
    fn the_first_valid_file_wins_and_every_invalid_one_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        check(&dir.join("missing"), None, None, &[]);
        check(dir, None, None, &[]);
        fs::write(dir.join("00.txt"), conf("text")).unwrap();
        fs::write(dir.join("30.json"), conf("third")).unwrap();
        fs::write(dir.join("20.conf"), conf("second")).unwrap();
        check(dir, None, Some("second"), &[]);
        fs::write(dir.join("10.conflist"), "{").unwrap();
        fs::create_dir(dir.join("15.conf")).unwrap();
        check(dir, None, Some("second"), &["10.conflist", "15.conf"]);
        fs::write(dir.join("10.conflist"), conf("first")).unwrap();
        check(dir, None, Some("first"), &["15.conf"]);
        fs::write(dir.join("10.conflist"), " ".repeat(300_000)).unwrap();
        check(dir, None, Some("second"), &["10.conflist", "15.conf"]);
    }

    #[test]
    fn the_last_good_state_of_a_damaged_file_stays_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let file = dir.join("10.conf");
        fs::write(&file, conf("first")).unwrap();
        fs::write(dir.join("20.conf"), conf("second")).unwrap();
        let before = load(dir, None).network.unwrap();
        fs::write(&file, &conf("changed")[..20]).unwrap();
        check(dir, Some(&before), Some("first"), &["10.conf"]);
        check(dir, None, Some("second"), &["10.conf"]);
        fs::write(&file, conf("changed")).unwrap();
        check(dir, Some(&before), Some("changed"), &[]);
        fs::remove_file(&file).unwrap();
        check(dir, Some(&before), Some("second"), &[]);
        fs::remove_file(dir.join("20.conf")).unwrap();
        check(dir, Some(&before), None, &[]);
        fs::remove_dir(dir).unwrap();
        check(dir, Some(&before), None, &[]);
    }

    #[test]
    fn the_reason_is_named_when_nothing_is_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let why = load(dir.path(), None).network().unwrap_err().to_string();
        assert!(why.contains("there is no .conflist"), "{why}");
        fs::write(dir.path().join("10.conf"), "{}").unwrap();
        let why = load(dir.path(), None).network().unwrap_err().to_string();
        assert!(why.contains("10.conf: the key \"cniVersion\" is missing"), "{why}");
    }
}
