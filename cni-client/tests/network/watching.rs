// SPDX-License-Identifier: Apache-2.0
//! The configuration follows the directory, whatever happens to it.

use std::env;
use std::fs;
use std::process::Command;
use std::time::Duration;

use husk_cni_client::{Client, Snapshot};
use tokio::time::timeout;

use crate::fake::Bench;

fn conf(name: &str) -> String {
    format!(r#"{{"cniVersion":"1.0.0","name":"{name}","type":"t"}}"#)
}

/// Waits for a snapshot that says this: the name in force and the number of faults.
async fn becomes(client: &Client, name: Option<&str>, faults: usize) {
    let mut snapshots = client.watch_configuration();
    let says = |snapshot: &Snapshot| {
        snapshot.network.as_ref().map(|list| list.name.as_str()) == name && snapshot.faults.len() == faults
    };
    let seen = timeout(Duration::from_secs(20), snapshots.wait_for(|now| says(now))).await;
    assert!(seen.is_ok(), "never {name:?} with {faults} faults: {:?}", client.configuration());
    assert!(says(&client.configuration()));
}

#[tokio::test]
async fn every_way_to_change_a_file_is_seen() {
    let bench = Bench::new();
    let client = bench.client().await;
    let dir = bench.path("net.d");
    becomes(&client, None, 0).await;
    fs::write(dir.join("20.conf"), conf("written")).unwrap();
    becomes(&client, Some("written"), 0).await;
    fs::write(bench.path("new"), conf("renamed")).unwrap();
    fs::rename(bench.path("new"), dir.join("10.conf")).unwrap();
    becomes(&client, Some("renamed"), 0).await;
    // Half written: the last good state stays in force, and the fault is told.
    fs::write(dir.join("10.conf"), &conf("changed")[..25]).unwrap();
    becomes(&client, Some("renamed"), 1).await;
    fs::write(dir.join("10.conf"), conf("changed")).unwrap();
    becomes(&client, Some("changed"), 0).await;
    fs::rename(dir.join("10.conf"), dir.join("10.conf.disabled")).unwrap();
    becomes(&client, Some("written"), 0).await;
    fs::remove_file(dir.join("20.conf")).unwrap();
    becomes(&client, None, 0).await;
}

#[tokio::test]
async fn the_directory_itself_comes_and_goes() {
    let bench = Bench::new();
    let mut settings = bench.settings();
    settings.conf_dir = bench.path("a/b/net.d");
    let client = Client::start(settings).await.unwrap();
    becomes(&client, None, 0).await;
    let dir = bench.path("a/b/net.d");
    for round in ["first", "second"] {
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("10.conf"), conf(round)).unwrap();
        becomes(&client, Some(round), 0).await;
        fs::rename(&dir, bench.path("away")).unwrap();
        becomes(&client, None, 0).await;
        fs::rename(bench.path("away"), &dir).unwrap();
        becomes(&client, Some(round), 0).await;
        fs::remove_dir_all(bench.path("a")).unwrap();
        becomes(&client, None, 0).await;
    }
}

#[tokio::test]
async fn a_busy_directory_is_read_all_the_same() {
    let bench = Bench::new();
    let client = bench.client().await;
    fs::write(bench.path("net.d/10.conf"), conf("busy")).unwrap();
    let noise = bench.path("net.d/noise");
    let busy = async {
        loop {
            fs::write(&noise, "x").unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = busy => {}
        () = becomes(&client, Some("busy"), 0) => {}
    }
}

/// The node has no inotify instance left. Run in a user namespace, whose own limit is then none, by a
/// process of its own: this very program with this very test.
#[tokio::test]
async fn without_inotify_it_is_polled() {
    const INSIDE: &str = "HUSK_TEST_WITHOUT_INOTIFY";
    const NAME: &str = "watching::without_inotify_it_is_polled";
    if env::var_os(INSIDE).is_none() {
        let program = env::current_exe().unwrap();
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c"])
            .arg("echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" --exact \"$1\"")
            .arg(program)
            .arg(NAME)
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
        return;
    }
    assert!(inotify::Inotify::init().is_err(), "the limit does not hold");
    let bench = Bench::new();
    let client = bench.client().await;
    fs::write(bench.path("net.d/10.conf"), conf("polled")).unwrap();
    becomes(&client, Some("polled"), 0).await;
}
