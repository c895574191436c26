// SPDX-License-Identifier: Apache-2.0
//! The committed corpora as tests: every file is replayed, and its name says what the verdict must be. Corpora of binary formats are
//! written by the generators here and compared with what is committed; `HUSK_FUZZ_WRITE=1 cargo test` writes them anew.

mod entries;
mod frames;
mod layers;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::Verdict;

/// Files of a corpus, by name.
type Files = BTreeMap<&'static str, Vec<u8>>;

/// Fewer files than this are no corpus.
const FEWEST: usize = 15;

/// How long one input may take; each takes milliseconds, so this is a hang on the busiest machine.
const LONGEST: Duration = Duration::from_secs(10);

fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn replay(target: &str, run: fn(&[u8]) -> Verdict) {
    let mut count = 0;
    let mut failures = Vec::new();
    for entry in fs::read_dir(directory(target)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let expected = match name.split_once('-') {
            Some(("accepted", _)) => Verdict::Accepted,
            Some(("refused", _)) => Verdict::Refused,
            _ => panic!("{} is not named after its verdict", path.display()),
        };
        let bytes = fs::read(&path).unwrap();
        match verdict_within_time(run, bytes) {
            Ok(verdict) if verdict == expected => {}
            Ok(verdict) => failures.push(format!("{}: {verdict:?}", path.display())),
            Err(what) => failures.push(format!("{}: {what}", path.display())),
        }
        count += 1;
    }
    assert!(failures.is_empty(), "{} of {count} files fail:\n{}", failures.len(), failures.join("\n"));
    assert!(count >= FEWEST, "{target} has {count} files");
}

/// One bad input must not hide the others, and one that hangs must not hold up the test: its thread ends with the process. The words of
/// a panic are printed by the hook.
fn verdict_within_time(run: fn(&[u8]) -> Verdict, input: Vec<u8>) -> Result<Verdict, &'static str> {
    let (done, verdict) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody listens any more after a hang.
        let _ = done.send(run(&input));
    });
    verdict.recv_timeout(LONGEST).map_err(|error| match error {
        RecvTimeoutError::Timeout => "it hangs",
        RecvTimeoutError::Disconnected => "it panics",
    })
}

/// Compares generated files with the committed ones, or writes them.
fn committed(target: &str, files: &Files) {
    for (name, bytes) in files {
        let path = directory(target).join(name);
        if std::env::var_os("HUSK_FUZZ_WRITE").is_some() {
            fs::write(&path, bytes).unwrap();
        }
        let on_disk = fs::read(&path).unwrap_or_default();
        assert!(on_disk == *bytes, "{} is not what the generator writes; HUSK_FUZZ_WRITE=1 writes it", path.display());
    }
}

macro_rules! replays {
    ($($target:ident)*) => {
        mod replay {
            $(#[test]
            fn $target() {
                super::replay(stringify!($target), crate::$target::run);
            })*

            #[test]
            fn every_target_has_a_corpus_and_every_corpus_a_target() {
                let mut targets: Vec<String> = vec![$(stringify!($target).into()),*];
                let root = super::Path::new(env!("CARGO_MANIFEST_DIR"));
                let names = |directory: &str, suffix: &str| {
                    let list = super::fs::read_dir(root.join(directory)).unwrap();
                    let mut names: Vec<String> = list
                        .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(suffix).into())
                        .collect();
                    names.sort();
                    names
                };
                targets.sort();
                assert_eq!(names("corpus", ""), targets);
                assert_eq!(names("fuzz_targets", ".rs"), targets);
            }
        }
    };
}

replays! {
    cni_conf cni_result image_reference ledger_record manifest monitor_wire record_loader tar_applier tar_entries
}
