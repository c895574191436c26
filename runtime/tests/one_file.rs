// SPDX-License-Identifier: Apache-2.0
//! husk is one file: a copy of it, alone in another directory, is all that is needed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn copy_to(directory: &Path) -> PathBuf {
    let copy = directory.join("husk");
    fs::copy(env!("CARGO_BIN_EXE_husk"), &copy).expect("copy the binary");
    copy
}

#[test]
fn a_lone_copy_answers_and_serves() {
    let directory = tempfile::tempdir().unwrap();
    let husk = copy_to(directory.path());
    let version = Command::new(&husk).arg("--version").env_clear().output().unwrap();
    assert!(version.status.success());
    assert_eq!(String::from_utf8_lossy(&version.stdout), format!("husk {}\n", env!("CARGO_PKG_VERSION")));

    let config = directory.path().join("husk.toml");
    let [root, state] = ["root", "state"].map(|name| directory.path().join(name));
    fs::write(&config, format!("root = {root:?}\nstate = {state:?}\n")).unwrap();
    let mut daemon = Command::new(&husk)
        .args(["serve", "--config"])
        .arg(&config)
        .env_clear()
        .current_dir(directory.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(daemon.stderr.take().unwrap());
    let ready = log.lines().map_while(Result::ok).find(|line| line.contains("husk is ready"));
    assert!(ready.is_some(), "the daemon ended before it was ready: {:?}", daemon.wait());
    assert!(state.join("husk.sock").exists());
    kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
    assert!(daemon.wait().unwrap().success());
    let beside: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside.len(), 4, "it writes nowhere but below its root and state: {beside:?}");
}

#[test]
fn a_wrong_configuration_is_told_whole_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("husk.toml");
    let root = directory.path().join("root");
    fs::write(&config, format!("root = {root:?}\nrooot = 1\n\n[log]\nlevel = \"loud\"\n")).unwrap();
    let husk = env!("CARGO_BIN_EXE_husk");
    let output = Command::new(husk).args(["serve", "--config"]).arg(&config).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8_lossy(&output.stderr);
    for part in ["rooot", "line 2", "loud"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    assert!(!root.exists(), "something was made all the same");
}
