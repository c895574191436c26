// SPDX-License-Identifier: Apache-2.0
//! The store against real registries, a scripted hostile one, archives, crashes and overlayfs.

mod auth;
mod crash;
mod faults;
mod flights;
mod full;
mod life;
mod load;
mod mount;
mod pull;
mod tls;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::platform::Platform;
use crate::reference::Reference;

/// A store in a directory of its own.
struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("certs.d")).unwrap();
        Bench { directory }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("images")
    }

    fn options(&self) -> Options {
        Options {
            registry_config: Some(self.directory.path().join("certs.d")),
            platform: Platform { os: "linux".into(), architecture: "amd64".into(), variant: Some("v2".into()) },
            retry: RetryPolicy { attempts: 3, base: Duration::from_millis(1), cap: Duration::from_millis(20) },
            progress_timeout: Duration::from_secs(20),
            ..Options::default()
        }
    }

    fn store(&self) -> Store {
        Store::open(&self.root(), self.options()).unwrap()
    }

    fn hosts(&self, domain: &str, text: &str) {
        let directory = self.directory.path().join("certs.d").join(domain);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("hosts.toml"), text).unwrap();
    }

    /// Names in a directory below the root, sorted.
    fn names(&self, directory: &str) -> Vec<String> {
        let mut names = layout::names(&self.root().join(directory)).unwrap();
        names.sort();
        names
    }

    /// Nothing is half-made: no temporary or dead tree, and every layer is complete.
    fn assert_tidy(&self) {
        for name in self.names("layers") {
            assert!(Digest::from_hex(&name).is_some(), "leftover layer {name}");
            assert!(self.root().join("layers").join(&name).join("layer.json").is_file());
        }
        for directory in ["", "records", "blobs/sha256"] {
            assert!(!self.names(directory).iter().any(|name| name.starts_with('.')), "leftover in {directory}");
        }
    }
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

async fn pull(store: &Store, name: &str) -> Result<Arc<Image>, Error> {
    store.pull(&reference(name), None, crate::Progress::none()).await
}

/// What `du` says: allocated bytes and inodes, hard links once.
fn du(path: &Path) -> (u64, u64) {
    let run = |option: &str| {
        let output = std::process::Command::new("du").args(["-s", option]).arg(path).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    (run("-B1"), run("--inodes"))
}

fn assert_usage_is_true(bench: &Bench, store: &Store) {
    // The marks that the background sync has yet to make.
    store.0.sync_once().unwrap();
    let usage = store.usage();
    let (bytes, inodes) = du(&bench.root());
    assert!(usage.bytes.abs_diff(bytes) <= bytes / 100, "{} bytes in the books, {bytes} on the disk", usage.bytes);
    assert!(
        usage.inodes.abs_diff(inodes) <= inodes / 100 + 1,
        "{} inodes in the books, {inodes} on the disk",
        usage.inodes
    );
}
