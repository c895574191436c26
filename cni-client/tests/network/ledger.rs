// SPDX-License-Identifier: Apache-2.0
//! The ledger's files: damaged ones never stop a start and are never lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use husk_cni_client::Ledger;

use crate::fake::{Bench, id, request};

#[tokio::test]
async fn the_intent_is_on_disk_while_the_first_plugin_runs() {
    let bench = Bench::with_list("1.0.0", &["one"]);
    bench.plugin("one", "cp $DIR/ledger/c1.json $DIR/seen; exit 1");
    bench.client().await.add(request("c1")).await.unwrap_err();
    let seen: serde_json::Value = serde_json::from_slice(&fs::read(bench.path("seen")).unwrap()).unwrap();
    assert_eq!(seen["version"], 1);
    assert_eq!(seen["network"]["plugins"][0]["type"], "one");
    assert_eq!(seen.get("result"), None);
    let mode = |name: &str| fs::metadata(bench.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ledger"), mode("ledger/c1.json")), (0o700, 0o600));
}

#[tokio::test]
async fn what_cannot_be_read_is_set_aside_and_comes_back_when_it_can() {
    let bench = Bench::with_list("1.0.0", &["one"]);
    let client = bench.client().await;
    client.add(request("good")).await.unwrap();
    client.add(request("newer")).await.unwrap();
    drop(client);
    let dir = bench.path("ledger");
    let newer = fs::read_to_string(dir.join("newer.json")).unwrap();
    fs::write(dir.join("newer.json"), newer.replace("\"version\":1", "\"version\":7")).unwrap();
    fs::write(dir.join("cut.json"), "{\"version\":1").unwrap();
    fs::write(dir.join("-.json"), "{}").unwrap();
    fs::write(dir.join("x.json.tmp"), "half").unwrap();
    fs::write(dir.join("README"), "not ours").unwrap();
    fs::create_dir(dir.join("dir.json")).unwrap();

    for _ in 0..2 {
        let ledger = Ledger::open(&dir).unwrap();
        let ids: Vec<String> = ledger.entries().iter().map(|e| e.container_id.to_string()).collect();
        assert_eq!(ids, ["good"]);
        let aside: Vec<String> = ledger
            .set_aside()
            .iter()
            .map(|aside| aside.path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        let expected = ["-.json", "cut.json", "dir.json", "newer.json"];
        assert_eq!(aside, expected.map(|name| format!("{name}.unreadable")));
        assert!(ledger.set_aside()[3].why.contains("format 7"), "{:?}", ledger.set_aside()[3]);
        assert!(!dir.join("x.json.tmp").exists());
        assert!(dir.join("README").exists());
    }

    fs::write(dir.join("newer.json.unreadable"), newer).unwrap();
    let ledger = Ledger::open(&dir).unwrap();
    assert!(ledger.entry(&id("newer")).is_some());
    assert!(dir.join("newer.json").exists());
    assert_eq!(ledger.set_aside().len(), 3);
}

#[test]
fn a_ledger_that_cannot_be_is_an_error_that_names_it() {
    let bench = Bench::new();
    fs::write(bench.path("file"), "").unwrap();
    let error = Ledger::open(&bench.path("file/ledger")).unwrap_err().to_line();
    assert!(error.contains("file/ledger"), "{error}");
}
