// SPDX-License-Identifier: Apache-2.0
//! Logs under load.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use wire::{FailureKind, Reply, Request};

use crate::harness::{Pod, choice, code, decode, go};

#[test]
fn rotation_every_ten_milliseconds_loses_and_doubles_nothing() {
    let mut pod = Pod::open();
    const LINES: usize = 300_000;
    // Both streams at once, and a line that is longer than a log line may be.
    let script = format!("seq 1 {LINES} & head -c 40000 /dev/zero | tr '\\0' y >&2; seq 1 {LINES} >&2; wait");
    let (id, ..) = pod.start(&script);
    let path = pod.log(id);
    let mut parts = Vec::new();
    loop {
        let part = path.with_extension(parts.len().to_string());
        fs::rename(&path, &part).unwrap();
        parts.push(part);
        match pod.client.call(Request::ReopenLog { container: id }) {
            Reply::Done => assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640),
            Reply::Failed(failure) => {
                assert_eq!(failure.kind, FailureKind::WrongState, "{failure}");
                assert!(!path.exists(), "a new file in spite of the error");
                break;
            }
            other => panic!("{other:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(pod.client.exit_of(id).status, code(0));
    let whole: Vec<u8> = parts.iter().flat_map(|part| fs::read(part).unwrap()).collect();
    let (stdout, stderr) = decode(&whole);
    let numbers: String = (1..=LINES).map(|number| format!("{number}\n")).collect();
    assert!(stdout == numbers.as_bytes(), "{} bytes", stdout.len());
    assert!(stderr == ["y".repeat(40_000), numbers].concat().as_bytes(), "{} bytes", stderr.len());
    assert!(parts.len() > 5, "{} rotations", parts.len());
}

#[test]
fn a_gigabyte_without_newline_needs_no_memory() {
    let mut pod = Pod::open();
    const BYTES: u64 = 1 << 30;
    let gate = "busybox mkfifo /tmp/gate; head -c 1000 /dev/zero; echo; read go < /tmp/gate";
    let (id, pid, _) = pod.start(&format!("{gate}; head -c {BYTES} /dev/zero"));
    pod.wait_for_log(id, &[[0; 1000].as_slice(), b"\n"].concat());
    let before = resident_kib(pod.monitor.id());
    fs::write(format!("/proc/{pid}/root/tmp/gate"), "go\n").unwrap();
    let mut grown = 0;
    let exit = loop {
        let ended = pod.client.exit_within(id, Duration::from_millis(20));
        grown = grown.max(resident_kib(pod.monitor.id()) - before);
        if let Some(exit) = ended {
            break exit;
        }
    };
    assert_eq!(exit.status, code(0));
    // 1 GiB in pieces of 16 KiB, each with 41 bytes around it, behind what was there.
    let first = 1000 + 41;
    assert_eq!(fs::metadata(pod.log(id)).unwrap().size(), first + BYTES + BYTES / 16_384 * 41);
    assert!(grown < 64, "grew by {grown} KiB");
    eprintln!("the monitor grew by {grown} KiB");
}

/// Exact, unlike `VmRSS` of `status`, which lags behind by the kernel's batches for each processor.
fn resident_kib(pid: u32) -> i64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[test]
fn a_flood_does_not_starve_the_neighbour() {
    let mut pod = Pod::open();
    let (flood, ..) = pod.start("yes");
    let begun = Instant::now();
    let (id, exit) = pod.run("echo quiet");
    assert_eq!(exit.status, code(0));
    assert_eq!(pod.decoded(id).0, b"quiet\n");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(pod.client.call(Request::Kill { container: flood }), Reply::Done);
    pod.client.exit_of(flood);
    let (stdout, _) = pod.decoded(flood);
    assert!(stdout.chunks(2).all(|line| line == b"y\n" || line == b"y"));
}

#[test]
fn a_log_that_cannot_be_opened_fails_the_start_and_not_the_reopening() {
    let mut pod = Pod::open();
    let mut start = pod.start_request(choice("sleep 1000"));
    if let Some(log) = &mut start.log {
        log.directory = pod.path().join("nowhere").to_str().unwrap().into();
    }
    assert!(matches!(pod.client.call(Request::Start(Box::new(start))), Reply::Failed(_)));

    let (id, pid, _) = pod.start("echo before; while ! test -e /tmp/go; do usleep 1000; done; echo after");
    pod.wait_for_log(id, b"before\n");
    let (logs, aside) = (pod.path().join("logs"), pod.path().join("aside"));
    fs::rename(&logs, &aside).unwrap();
    let Reply::Failed(failure) = pod.client.call(Request::ReopenLog { container: id }) else { panic!() };
    assert_eq!(failure.errno, Some(2), "{failure}");
    fs::rename(&aside, &logs).unwrap();
    go(pid);
    assert_eq!(pod.client.exit_of(id).status, code(0));
    assert_eq!(pod.decoded(id).0, b"before\nafter\n", "the old file was written to its end");
}

#[test]
fn without_a_log_output_is_discarded() {
    let mut pod = Pod::open();
    let mut start = pod.start_request(choice("seq 1 100000; exit 6"));
    start.log = None;
    let id = start.container;
    assert!(matches!(pod.client.call(Request::Start(Box::new(start))), Reply::Started { .. }));
    assert_eq!(pod.client.exit_of(id).status, code(6));
    assert!(!pod.log(id).exists());
}
