// SPDX-License-Identifier: Apache-2.0
//! A full file system (threats.md R29, R30): a small tmpfs in a mount namespace of a process of its own.

use std::fs;
use std::process::Command;

use super::*;
use crate::error::Kind;
use crate::sample::image::{Form, Sample};
use crate::sample::script::{Files, Script};
use crate::sample::tar::{Tar, noise};

const ROOT: &str = "HUSK_TEST_ROOT";

#[test]
fn forgetting_works_without_a_free_byte() {
    let directory = tempfile::tempdir().unwrap();
    for options in ["size=8m", "size=64m,nr_inodes=90"] {
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-ec", "mount -t tmpfs -o \"$1\" tmpfs \"$2\"; exec \"$3\" --exact store::tests::full::on_a_small_file_system --ignored --nocapture", "sh", options])
            .arg(directory.path())
            .arg(std::env::current_exe().unwrap())
            .env(ROOT, directory.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{options}: {text}{errors}");
    }
}

/// Uses up all inodes and bytes.
fn fill(directory: &Path) {
    for number in 0.. {
        if fs::write(directory.join(format!("fill{number}")), vec![1; 1 << 20]).is_err() {
            return;
        }
    }
}

#[tokio::test]
#[ignore = "run by forgetting_works_without_a_free_byte, on a small file system"]
async fn on_a_small_file_system() {
    let root = PathBuf::from(std::env::var_os(ROOT).unwrap());
    let many = (0..100).fold(Tar::new().dir("./", 0o755), |tar, n| tar.file(&format!("n{n}"), ""));
    let big = Sample::new("big", vec![(many.file("noise", noise(1, 12 << 20)), Form::Gzip)]);
    let small = Sample::small("small");
    let files = Files::default()
        .image("big", "1", &big)
        .image("a", "1", &small)
        .image("a", "2", &small)
        .image("a", "3", &small);
    let script = Script::start(move |request| files.answer(request));
    let options =
        Options { unpack: crate::unpack::Limits { reserve_bytes: 0, ..Default::default() }, ..Bench::new().options() };
    let store = Store::open(&root.join("images"), options).unwrap();
    let name = |tag: &str| format!("{}/{tag}", script.host());
    for tag in ["a:1", "a:2", "a:3"] {
        pull(&store, &name(tag)).await.unwrap();
    }
    let before = store.usage();
    let error = pull(&store, &name("big:1")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Exhausted, "{error}");
    assert!(error.to_string().contains("no space left"), "{error}");
    store.collect_garbage().await.unwrap();
    assert_eq!(store.usage(), before, "a failed pull leaves nothing");
    fill(&root);
    assert_eq!(pull(&store, &name("big:1")).await.unwrap_err().kind(), Kind::Exhausted);
    assert_eq!(store.list().len(), 1);
    let untagged = store.remove(&name("a:1")).await.unwrap();
    assert_eq!((untagged.names.len(), untagged.image), (1, None));
    let reopened = Store::open(&root.join("images"), Options::default()).unwrap();
    assert_eq!(reopened.list()[0].repo_tags, [name("a:2"), name("a:3")]);
    let removed = store.remove(&small.id().to_string()).await.unwrap();
    assert_eq!(removed.image, Some(small.id()));
    assert!(store.list().is_empty() && removed.freed_bytes > 0);
}
