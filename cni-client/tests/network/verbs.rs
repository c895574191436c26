// SPDX-License-Identifier: Apache-2.0
//! CHECK, STATUS, GC and VERSION, and lists that do not know them.

use husk_cni_client::client::Verified;
use husk_cni_client::{Kind, PluginType};

use crate::fake::{Bench, GOOD, id, request};

#[tokio::test]
async fn check_asks_in_order_with_the_result_where_the_version_has_it() {
    for (version, expected) in [("0.3.1", Verified::NotAsked), ("0.4.0", Verified::Asked), ("1.1.0", Verified::Asked)] {
        let bench = Bench::with_list(version, &["one", "two"]);
        let client = bench.client().await;
        assert_eq!(client.check(&id("c1")).await.unwrap_err().kind(), Kind::InvalidInput);
        client.add(request("c1")).await.unwrap();
        bench.calls();
        assert_eq!(client.check(&id("c1")).await.unwrap(), expected, "{version}");
        if expected == Verified::Asked {
            assert_eq!(bench.calls(), ["one CHECK", "two CHECK"]);
            assert!(bench.stdin("one.CHECK").contains("prevResult"));
            bench.plugin("two", "echo '{\"code\":9,\"msg\":\"gone\"}'; exit 1");
            let error = client.check(&id("c1")).await.unwrap_err().to_string();
            assert_eq!(error, "the CNI plugin two failed at CHECK: gone [code 9]");
        }
    }
}

#[tokio::test]
async fn an_administrator_switches_check_and_gc_off() {
    let bench = Bench::with_list("1.1.0", &["one"]);
    bench.configure(
        r#"{"cniVersion":"1.1.0","name":"pods","disableCheck":true,"disableGC":true,"plugins":[{"type":"one"}]}"#,
    );
    let client = bench.client().await;
    client.add(request("c1")).await.unwrap();
    bench.calls();
    assert_eq!(client.check(&id("c1")).await.unwrap(), Verified::NotAsked);
    assert_eq!(client.gc().await.unwrap(), Verified::NotAsked);
    assert!(bench.calls().is_empty());
}

#[tokio::test]
async fn status_is_the_word_of_the_first_plugin_that_is_not_ready() {
    let bench = Bench::with_list("1.1.0", &["one", "two", "three"]);
    let client = bench.client().await;
    assert_eq!(client.status().await.unwrap(), Verified::Asked);
    assert_eq!(bench.calls(), ["one STATUS", "two STATUS", "three STATUS"]);
    bench.plugin("two", "echo '{\"code\":50,\"msg\":\"daemon is down\"}'; exit 1");
    let error = client.status().await.unwrap_err();
    assert_eq!(error.to_string(), "the CNI plugin two failed at STATUS: daemon is down [code 50]");
    assert_eq!(bench.calls(), ["one STATUS", "two STATUS"]);
    assert_eq!(bench.variable("one.STATUS", "CNI_CONTAINERID"), None);

    let old = Bench::with_list("1.0.0", &["one"]);
    assert_eq!(old.client().await.status().await.unwrap(), Verified::NotAsked);
    assert!(old.calls().is_empty());
    let none = Bench::new();
    assert_eq!(none.client().await.status().await.unwrap_err().kind(), Kind::NotConfigured);
}

#[tokio::test]
async fn gc_names_what_must_stay_and_goes_on_after_a_failure() {
    let bench = Bench::with_list("1.1.0", &["one", "two"]);
    bench.plugin("one", &format!("[ $CNI_COMMAND = GC ] && exit 1\n{}", GOOD.replace("1.0.0", "1.1.0")));
    let client = bench.client().await;
    client.add(request("c1")).await.unwrap();
    client.add(request("c2")).await.unwrap();
    bench.calls();
    let failures = client.gc().await.unwrap_err();
    assert_eq!(failures.len(), 1);
    assert!(failures[0].to_string().contains("one failed at GC"), "{}", failures[0]);
    assert_eq!(bench.calls(), ["one GC", "two GC"]);
    let valid =
        r#""cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"},{"containerID":"c2","ifname":"eth0"}]"#;
    assert!(bench.stdin("two.GC").contains(valid), "{}", bench.stdin("two.GC"));

    let old = Bench::with_list("1.0.0", &["one"]);
    assert_eq!(old.client().await.gc().await.unwrap(), Verified::NotAsked);
    assert!(old.calls().is_empty());
}

#[tokio::test]
async fn versions() {
    let bench = Bench::with_list("1.1.0", &["one"]);
    let client = bench.client().await;
    let one = PluginType::parse("one").unwrap();
    let nonsense = client.versions(&one).await.unwrap_err();
    assert!(nonsense.to_string().contains("one to VERSION cannot be used"), "{nonsense}");
    bench.plugin("one", r#"echo '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","9.9.9"]}'"#);
    assert_eq!(client.versions(&one).await.unwrap(), ["0.4.0", "9.9.9"]);
    assert_eq!(bench.stdin("one.VERSION"), r#"{"cniVersion":"1.1.0"}"#);
}
