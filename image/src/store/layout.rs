// SPDX-License-Identifier: Apache-2.0
//! Where things are below the store's root.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::atomic_file;
use crate::digest::{Algorithm, DiffId, Digest, ImageId};
use crate::error::Error;

/// Names of trees that are on their way out.
pub(super) const DEAD: &str = ".dead-";

/// The paths of one store.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
    boot_id: String,
}

impl Layout {
    /// Makes the directories. All are 0700: layers hold setuid programs that nobody on the host may run.
    pub(super) fn create(root: &Path, boot_id: &str) -> Result<Layout, Error> {
        let layout = Layout { root: root.to_owned(), boot_id: boot_id.to_owned() };
        let blobs = [Algorithm::Sha256, Algorithm::Sha512].map(|algorithm| root.join("blobs").join(algorithm.name()));
        let plain = [root.to_owned(), layout.layers(), layout.records(), layout.partials(), layout.quarantine()];
        for directory in blobs.iter().chain(&plain) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(|e| Error::io("create", directory, e))?;
        }
        let marker = root.join("oci-layout");
        if !marker.exists() {
            atomic_file::replace(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Ok(layout)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    pub(super) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(super) fn layer(&self, diff_id: &DiffId) -> PathBuf {
        self.layers().join(diff_id.hex())
    }

    pub(super) fn records(&self) -> PathBuf {
        self.root.join("records")
    }

    pub(super) fn record(&self, id: &ImageId) -> PathBuf {
        self.records().join(format!("{}.json", id.hex()))
    }

    pub(super) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    pub(super) fn blob_directories(&self) -> [PathBuf; 2] {
        [Algorithm::Sha256, Algorithm::Sha512].map(|algorithm| self.root.join("blobs").join(algorithm.name()))
    }

    pub(super) fn all_partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    /// Partial downloads of this boot; the page cache of an earlier one may have lost any part of a file.
    pub(super) fn partials(&self) -> PathBuf {
        self.all_partials().join(&self.boot_id)
    }

    pub(super) fn partial(&self, blob: &Digest) -> PathBuf {
        self.partials().join(blob.hex())
    }

    /// A name for a tree that is to be removed, in the directory where it is.
    pub(super) fn dead_layer(&self) -> PathBuf {
        let unique = atomic_file::temporary(Path::new(""));
        let unique = unique.to_string_lossy();
        self.layers().join(format!("{DEAD}{}", unique.trim_start_matches(atomic_file::TEMPORARY)))
    }
}

/// The kernel's id of this boot (random(4)).
pub(super) fn boot_id() -> Result<String, Error> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
    Ok(text.trim().to_owned())
}

/// The names in a directory, unordered; none if it is gone.
pub(super) fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", directory, e)),
    };
    let name =
        |entry: std::io::Result<std::fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    entries.map(name).collect::<Result<_, _>>().map_err(|e| Error::io("list", directory, e))
}
