// SPDX-License-Identifier: Apache-2.0
//! DEL: from the ledger and never from today's configuration, until it succeeds (R48 to R51).

use std::fs;
use std::path::Path;

use husk_cni_client::Kind;
use husk_cni_client::attachment::Progress;

use crate::fake::{Bench, GOOD, NETNS, id, request};

#[tokio::test]
async fn del_uses_what_add_used_whatever_the_configuration_is_now() {
    let bench = Bench::with_list("1.0.0", &["one", "two"]);
    let client = bench.client().await;
    client.add(request("c1")).await.unwrap();
    bench.calls();
    bench.configure(r#"{"cniVersion":"0.4.0","name":"other","plugins":[{"type":"two"}]}"#);
    drop(client);

    let client = bench.client().await;
    assert_eq!(client.configuration().network().unwrap().name.as_str(), "other");
    let found = client.attached(&id("c1")).unwrap();
    assert!(matches!(found.progress, Progress::Attached(_)));
    let again = found.attached().unwrap().unwrap();
    assert_eq!(again.ips[0].address.to_string(), "10.1.0.5/16");
    fs::remove_dir_all(bench.path("net.d")).unwrap();
    client.del(&id("c1"), Some(Path::new(NETNS))).await.unwrap();
    assert_eq!(bench.calls(), ["two DEL", "one DEL"]);
    let stdin = bench.stdin("one.DEL");
    assert!(stdin.contains(r#""name":"pods""#) && stdin.contains(r#""cniVersion":"1.0.0""#), "{stdin}");
    assert!(stdin.contains(r#""prevResult":{"cniVersion":"1.0.0""#) && stdin.contains("1e400"), "{stdin}");
    assert_eq!(bench.variable("one.DEL", "CNI_NETNS").unwrap(), NETNS);
    assert_eq!(bench.variable("one.DEL", "CNI_IFNAME").unwrap(), "eth0");

    client.del(&id("c1"), None).await.unwrap();
    client.del(&id("never"), None).await.unwrap();
    assert!(bench.calls().is_empty());
    assert_eq!(fs::read_dir(bench.path("ledger")).unwrap().count(), 0);
}

#[tokio::test]
async fn before_0_4_0_del_gets_no_result() {
    for (version, expected) in [("0.3.1", false), ("0.4.0", true), ("1.1.0", true)] {
        let bench = Bench::with_list(version, &["one"]);
        let client = bench.client().await;
        client.add(request("c1")).await.unwrap();
        client.del(&id("c1"), None).await.unwrap();
        assert_eq!(bench.stdin("one.DEL").contains("prevResult"), expected, "{version}");
    }
}

#[tokio::test]
async fn a_namespace_that_is_gone_is_an_empty_path() {
    let bench = Bench::with_list("1.0.0", &["one"]);
    let client = bench.client().await;
    let leftover = bench.path("leftover");
    fs::write(&leftover, "").unwrap();
    let absent = bench.path("absent");
    for netns in [None, Some(absent.as_path()), Some(leftover.as_path())] {
        client.add(request("c1")).await.unwrap();
        client.del(&id("c1"), netns).await.unwrap();
        assert_eq!(bench.variable("one.DEL", "CNI_NETNS").unwrap(), "", "{netns:?}");
    }
}

#[tokio::test]
async fn after_a_reboot_the_recorded_path_is_not_believed() {
    let bench = Bench::with_list("1.0.0", &["one"]);
    bench.client().await.add(request("c1")).await.unwrap();
    let file = bench.path("ledger/c1.json");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let record = fs::read_to_string(&file).unwrap();
    assert!(record.contains(boot.trim()));
    fs::write(&file, record.replace(boot.trim(), "an-earlier-boot")).unwrap();

    let client = bench.client().await;
    client.del(&id("c1"), Some(Path::new(NETNS))).await.unwrap();
    assert_eq!(bench.variable("one.DEL", "CNI_NETNS").unwrap(), "");
}

#[tokio::test]
async fn a_failed_del_stays_pending_until_one_succeeds_also_after_a_restart() {
    let bench = Bench::with_list("1.0.0", &["one", "two"]);
    bench.plugin("two", &format!("[ $CNI_COMMAND = ADD ] || [ -e $DIR/mended ] || exit 1\n{GOOD}"));
    let client = bench.client().await;
    client.add(request("c1")).await.unwrap();
    assert!(client.ledger().pending().is_empty());
    bench.calls();
    for attempts in 1..=2 {
        let error = client.del(&id("c1"), None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::PluginFailed);
        let pending = client.ledger().pending();
        let failed = pending[0].failed_del.clone().unwrap();
        assert_eq!((pending.len(), failed.attempts), (1, attempts));
        assert!(failed.error.contains("two failed at DEL: exit status: 1"), "{}", failed.error);
        // An address must not be free again while a rule for it still stands.
        assert_eq!(bench.calls(), ["two DEL"]);
    }
    drop(client);

    let client = bench.client().await;
    assert_eq!(client.ledger().pending()[0].failed_del.as_ref().unwrap().attempts, 2);
    fs::write(bench.path("mended"), "").unwrap();
    client.del(&id("c1"), None).await.unwrap();
    assert_eq!(bench.calls(), ["two DEL", "one DEL"]);
    assert!(client.ledger().entries().is_empty());
}

#[tokio::test]
async fn a_plugin_that_is_gone_keeps_the_entry_and_says_so() {
    let bench = Bench::with_list("1.0.0", &["one"]);
    let client = bench.client().await;
    client.add(request("c1")).await.unwrap();
    fs::rename(bench.path("bin/one"), bench.path("one")).unwrap();
    let error = client.del(&id("c1"), None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::PluginMissing);
    assert!(error.to_string().contains("one cannot do DEL"), "{error}");
    assert_eq!(client.ledger().pending().len(), 1);
    fs::rename(bench.path("one"), bench.path("bin/one")).unwrap();
    client.del(&id("c1"), None).await.unwrap();
    assert!(client.ledger().entries().is_empty());
}

#[tokio::test]
async fn an_attached_container_is_not_attached_twice_and_an_unfinished_one_begins_anew() {
    let bench = Bench::with_list("1.0.0", &["one"]);
    let client = bench.client().await;
    client.add(request("c1")).await.unwrap();
    let error = client.add(request("c1")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidInput);
    assert!(error.to_string().contains("c1 is attached to network pods already"), "{error}");
    assert_eq!(bench.calls(), ["one ADD"]);

    // As after a death between intent and result.
    let file = bench.path("ledger/c1.json");
    let record = fs::read_to_string(&file).unwrap();
    let (intent, _result) = record.split_once(",\"result\":").unwrap();
    fs::write(&file, format!("{intent}}}")).unwrap();
    let client = bench.client().await;
    client.add(request("c1")).await.unwrap();
    assert_eq!(bench.calls(), ["one DEL", "one ADD"]);
}
