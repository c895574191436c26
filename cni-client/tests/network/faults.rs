// SPDX-License-Identifier: Apache-2.0
//! ADD against plugins that hang, lie, flood and die (threats.md R45 to R48): a clear error, DEL called,
//! nothing left.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use husk_cni_client::args::CniArgs;
use husk_cni_client::attachment::Progress;
use husk_cni_client::capability::{PortMapping, Protocol};
use husk_cni_client::{CapabilityArgs, Kind};
use rustix::process::{PidfdFlags, Signal, kill_process, pidfd_open};

use crate::fake::{Bench, GOOD, assert_dead, id, request, signal};

#[tokio::test]
async fn a_chain_gets_what_the_specification_says() {
    let bench = Bench::new();
    bench.configure(
        r#"{"cniVersion":"1.0.0","name":"pods","plugins":[
            {"type":"one","big":123456789012345678901},
            {"type":"two","capabilities":{"portMappings":true,"mac":false}}]}"#,
    );
    bench.plugin("one", GOOD);
    bench.plugin("two", "ls /proc/self/fd > $DIR/fds; pwd > $DIR/pwd; cat $DIR/calls/two.ADD.stdin | sed 's/.*\"prevResult\":\\(.*1e400}\\).*/\\1/'");
    let client = bench.client().await;
    // Close-on-exec, as all that Rust opens: it must not be inherited.
    let _secret = fs::File::open("/etc/hostname").unwrap();
    let mut attach = request("c1");
    let args = vec![("IgnoreUnknown".into(), "1".into()), ("K8S_POD_NAME".into(), "web".into())];
    attach.args = CniArgs::parse(args).unwrap();
    attach.capabilities = CapabilityArgs {
        port_mappings: vec![PortMapping {
            host_port: 8080,
            container_port: 80,
            protocol: Protocol::Udp,
            host_ip: None,
        }],
        mac: Some("02:00:00:00:00:01".into()),
        ..CapabilityArgs::default()
    };
    let attached = client.add(attach).await.unwrap();
    assert_eq!(attached.ips.len(), 1);
    assert_eq!(attached.ips[0].address.to_string(), "10.1.0.5/16");
    assert_eq!(bench.calls(), ["one ADD", "two ADD"]);

    let prev = r#""prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/n"}],"ips":[{"address":"10.1.0.5/16","interface":0}],"x":1e400}"#;
    assert_eq!(
        bench.stdin("one.ADD"),
        r#"{"big":123456789012345678901,"cniVersion":"1.0.0","name":"pods","type":"one"}"#
    );
    let second = bench.stdin("two.ADD");
    assert!(second.contains(prev), "{second}");
    let ports = r#""runtimeConfig":{"portMappings":[{"containerPort":80,"hostPort":8080,"protocol":"udp"}]}"#;
    assert!(second.contains(ports), "{second}");
    assert!(attached.raw.get().contains("1e400"));

    let variable = |name| bench.variable("one.ADD", name);
    let bin = bench.path("bin");
    let dirs = format!("{}:{}", bench.path("absent").display(), bin.display());
    assert_eq!(variable("CNI_COMMAND").unwrap(), "ADD");
    assert_eq!(variable("CNI_CONTAINERID").unwrap(), "c1");
    assert_eq!(variable("CNI_NETNS").unwrap(), "/proc/self/ns/net");
    assert_eq!(variable("CNI_IFNAME").unwrap(), "eth0");
    assert_eq!(variable("CNI_ARGS").unwrap(), "IgnoreUnknown=1;K8S_POD_NAME=web");
    assert_eq!(variable("CNI_PATH").unwrap(), dirs);
    assert!(variable("PATH").unwrap().starts_with(&dirs));
    // The test itself has this one.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert_eq!(variable("CARGO_MANIFEST_DIR"), None);
    assert_eq!(variable("HOME"), None);

    // 3 is the directory that ls itself lists.
    let inherited = fs::read_to_string(bench.path("fds")).unwrap();
    let mut inherited: BTreeSet<u32> = inherited.lines().map(|fd| fd.parse().unwrap()).collect();
    inherited.retain(|fd| !open_across_exec(*fd));
    assert_eq!(inherited.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(fs::read_to_string(bench.path("pwd")).unwrap(), "/\n");
}

/// Whether whoever started this test left it a descriptor without close-on-exec. The daemon closes such
/// ones when it starts; a test program has no such moment.
fn open_across_exec(fd: u32) -> bool {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let Ok(text) = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")) else {
        return false;
    };
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    fd > 3 && u32::from_str_radix(flags.trim(), 8).unwrap() & CLOSE_ON_EXEC == 0
}

#[tokio::test]
async fn every_lie_and_death_is_one_sentence_and_is_taken_back() {
    let answer = |from: &str, to: &str| GOOD.replace(from, to);
    let object = r#"{"cniVersion":"1.0.0","code":11,"msg":"no address is free"}"#;
    let table: Vec<(String, Kind, &str)> = vec![
        ("exit 1".into(), Kind::PluginFailed, "exit status: 1, it said nothing"),
        ("echo why >&2; exit 3".into(), Kind::PluginFailed, "exit status: 3, why"),
        (format!("echo '{object}'; exit 1"), Kind::PluginFailed, "no address is free [code 11]"),
        (format!("echo '{object}'"), Kind::PluginFailed, "no address is free [code 11]"),
        ("kill -SEGV $$".into(), Kind::PluginFailed, "signal: 11 (SIGSEGV)"),
        ("".into(), Kind::PluginFailed, "not a CNI result"),
        ("echo garbage".into(), Kind::PluginFailed, "not a CNI result"),
        ("printf '{\"ips\":['".into(), Kind::PluginFailed, "not a CNI result"),
        (format!("{GOOD}; {GOOD}"), Kind::PluginFailed, "not a CNI result"),
        (answer("1.0.0", "0.4.0"), Kind::PluginFailed, "version \"0.4.0\" instead of 1.0.0"),
        (answer("10.1.0.5/16", "10.1.0.5"), Kind::PluginFailed, "the address \"10.1.0.5\""),
        (answer(r#""name":"eth0""#, r#""name":"eth1""#), Kind::PluginFailed, "no address to the interface eth0"),
        ("echo '{}'".into(), Kind::PluginFailed, "no address to the interface eth0"),
        ("exec cat /dev/zero".into(), Kind::PluginFailed, "more than 1024 KiB"),
        (
            "head -c 300000 /dev/zero | tr '\\0' x >&2; echo ' the cause' >&2; exit 1".into(),
            Kind::PluginFailed,
            "the cause",
        ),
    ];
    for (body, kind, because) in table {
        let bench = Bench::with_list("1.0.0", &["liar"]);
        bench.plugin("liar", &format!("[ $CNI_COMMAND = ADD ] || exit 0\n{body}"));
        let client = bench.client().await;
        let error = client.add(request("c1")).await.unwrap_err();
        let line = error.to_line();
        assert_eq!(error.kind(), kind, "{body}: {line}");
        assert!(line.contains("liar") && line.contains("ADD"), "{body}: {line}");
        assert!(line.contains(because), "{body}: {line}");
        assert!(!line.contains('\n') && line.len() < 1500, "{line}");
        assert_eq!(bench.calls(), ["liar ADD", "liar DEL"], "{body}");
        assert!(client.ledger().entries().is_empty());
        assert_eq!(fs::read_dir(bench.path("ledger")).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_hanging_plugin_and_its_children_are_killed_at_the_deadline() {
    let bench = Bench::with_list("1.0.0", &["slow"]);
    bench.plugin(
        "slow",
        "[ $CNI_COMMAND = ADD ] || exit 0\ntrap '' TERM\necho $$ > $DIR/leader\n\
         sleep 60 &\necho $! > $DIR/child\nwait",
    );
    let client = bench.hasty_client(Duration::from_millis(500)).await;
    let begin = Instant::now();
    let error = client.add(request("c1")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    let line = error.to_line();
    assert!(line.contains("slow did not finish ADD within 0.5 seconds"), "{line}");
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_dead(bench.written_pid("leader"));
    assert_dead(bench.written_pid("child"));
    assert_eq!(bench.calls(), ["slow ADD", "slow DEL"]);
    assert!(client.ledger().entries().is_empty());
}

#[tokio::test]
async fn a_child_that_holds_stdout_holds_up_nobody() {
    let bench = Bench::with_list("1.0.0", &["parent"]);
    bench.plugin(
        "parent",
        &format!("sleep 60 &\necho $! > $DIR/member\nsetsid sleep 60 &\necho $! > $DIR/daemon\n{GOOD}"),
    );
    let client = bench.client().await;
    let daemon = Survivor(&bench);
    let begin = Instant::now();
    client.add(request("c1")).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10));
    // What is left in the group goes with the plugin; a daemon with a session of its own stays.
    assert_dead(bench.written_pid("member"));
    assert!(pidfd_open(bench.written_pid("daemon"), PidfdFlags::empty()).is_ok());
    drop(daemon);
}

/// Ends the daemon of the test, also when the test fails.
struct Survivor<'a>(&'a Bench);

impl Drop for Survivor<'_> {
    fn drop(&mut self) {
        if self.0.path("daemon").exists() {
            let _ = kill_process(self.0.written_pid("daemon"), Signal::KILL);
        }
    }
}

#[tokio::test]
async fn a_dropped_add_kills_its_plugin_and_leaves_the_intent() {
    let bench = Bench::with_list("1.0.0", &["slow"]);
    bench.plugin(
        "slow",
        "[ $CNI_COMMAND = ADD ] || exit 0\nsleep 60 &\necho $! > $DIR/child\necho go > $DIR/begun\nwait",
    );
    let begun = signal(&bench.path("begun"));
    let client = Arc::new(bench.client().await);
    let adding = tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.add(request("c1")).await }
    });
    begun.await.unwrap();
    adding.abort();
    assert!(adding.await.unwrap_err().is_cancelled());
    assert_dead(bench.written_pid("child"));
    let entry = client.attached(&id("c1")).unwrap();
    assert!(matches!(entry.progress, Progress::Intended));

    client.del(&id("c1"), None).await.unwrap();
    assert_eq!(bench.calls(), ["slow ADD", "slow DEL"]);
    assert!(client.attached(&id("c1")).is_none());
}

#[tokio::test]
async fn a_failure_in_the_middle_takes_back_the_whole_list_in_reverse() {
    let bench = Bench::with_list("1.0.0", &["one", "two", "three"]);
    bench.plugin("two", "[ $CNI_COMMAND = ADD ] && exit 1; exit 0");
    let client = bench.client().await;
    client.add(request("c1")).await.unwrap_err();
    assert_eq!(bench.calls(), ["one ADD", "two ADD", "three DEL", "two DEL", "one DEL"]);
}

#[tokio::test]
async fn a_plugin_that_cannot_be_executed_blocks_no_way_back() {
    let bench = Bench::with_list("1.0.0", &["one", "two"]);
    let client = bench.client().await;
    let two = bench.path("bin/two");

    fs::set_permissions(&two, fs::Permissions::from_mode(0o644)).unwrap();
    let error = client.add(request("c1")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::PluginMissing);
    assert!(error.to_string().contains("bin/two is not an executable file"), "{error}");
    assert_eq!(bench.calls(), ["one ADD", "one DEL"]);

    fs::remove_file(&two).unwrap();
    let error = client.add(request("c1")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::PluginMissing);
    assert!(error.to_string().contains("two cannot do ADD: it is in none of /"), "{error}");
    assert_eq!(bench.calls(), ["one ADD", "one DEL"]);

    bench.raw_plugin("two", b"\x7fELF of another machine");
    let error = client.add(request("c1")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Internal);
    assert!(error.to_line().contains("cannot be started for ADD from"), "{}", error.to_line());
    assert_eq!(bench.calls(), ["one ADD", "one DEL"]);
    assert!(client.ledger().entries().is_empty());
}

#[tokio::test]
async fn a_bad_request_reaches_no_plugin() {
    let bench = Bench::with_list("1.0.0", &["one"]);
    let client = bench.client().await;
    let plain_file = bench.path("net.d/10-pods.conflist");
    for netns in ["relative".into(), "/absent".into(), "/proc/self/ns/net\n".into(), plain_file] {
        let mut bad = request("c1");
        bad.netns = netns;
        let error = client.add(bad).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidInput, "{error}");
    }
    fs::remove_file(bench.path("net.d/10-pods.conflist")).unwrap();
    let client = bench.client().await;
    let error = client.add(request("c1")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotConfigured);
    assert!(bench.calls().is_empty());
    assert!(client.ledger().entries().is_empty());
}

#[tokio::test]
async fn one_hung_container_delays_no_other_and_its_own_calls_wait() {
    let bench = Bench::with_list("1.0.0", &["picky"]);
    bench.plugin(
        "picky",
        &format!(
            "if [ $CNI_CONTAINERID.$CNI_COMMAND = a.ADD ]; then echo go > $DIR/begun; read x < $DIR/gate; fi\n\
             [ $CNI_COMMAND = DEL ] || {GOOD}"
        ),
    );
    let begun = signal(&bench.path("begun"));
    rustix::fs::mknodat(rustix::fs::CWD, bench.path("gate"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    let client = Arc::new(bench.client().await);
    let call = |add: bool| {
        let client = Arc::clone(&client);
        tokio::spawn(async move {
            match add {
                true => client.add(request("a")).await.map(|_| ()),
                false => client.del(&id("a"), None).await,
            }
        })
    };
    let adding = call(true);
    begun.await.unwrap();
    let deleting = call(false);
    client.add(request("b")).await.unwrap();
    client.del(&id("b"), None).await.unwrap();
    assert_eq!(bench.calls(), ["picky ADD", "picky ADD", "picky DEL"]);
    assert!(!adding.is_finished() && !deleting.is_finished());

    fs::write(bench.path("gate"), "open\n").unwrap();
    adding.await.unwrap().unwrap();
    deleting.await.unwrap().unwrap();
    assert_eq!(bench.calls(), ["picky DEL"]);
}

#[tokio::test]
async fn a_binary_that_is_being_installed_is_waited_for() {
    let bench = Bench::with_list("1.0.0", &["one"]);
    let client = bench.client().await;
    let busy = fs::OpenOptions::new().append(true).open(bench.path("bin/one")).unwrap();
    let adding = tokio::spawn(async move { client.add(request("c1")).await });
    // The task runs up to its first busy attempt, then this one goes on.
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!adding.is_finished());
    drop(busy);
    adding.await.unwrap().unwrap();
}
