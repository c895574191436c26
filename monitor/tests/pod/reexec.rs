// SPDX-License-Identifier: Apache-2.0
//! The monitor becomes another program under a running pod.

use std::fs;
use std::os::fd::AsFd;
use std::time::Duration;

use sys::{MemfdUse, memfd_sealed};
use wire::{ContainerPhase, ExecEnd, Frame, Inventory, PROTOCOL_VERSION, Reply, Request, Stdin};

use crate::client::Client;
use crate::harness::{Choice, Pod, choice, code, go, monitor_program};
use crate::rootfs;

fn inventory(pod: &mut Pod) -> Inventory {
    match pod.client.call(Request::Inspect) {
        Reply::Inspected(inventory) => inventory,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_lost_under_a_pod_that_logs_and_execs() {
    let mut pod = Pod::open();
    const LINES: usize = 200_000;
    let (logging, ..) = pod.start(&format!("seq 1 {LINES}; printf rest"));
    let waiting = choice("printf half; read line; echo \" and $line\"; exit 4");
    let (waiting, waiting_pid, _) = pod.start_as(Choice { stdin: Stdin::Pipe, ..waiting });
    let (ended, ended_exit) = pod.run("exit 3");
    let exec = pod.exec_request(waiting, "echo begun; while ! test -e /tmp/go; do usleep 1000; done; echo done", None);
    let exec = pod.client.ask(exec);
    let timed = pod.exec_request(waiting, "echo begun; sleep 1000", Some(Duration::from_secs(4)));
    let timed = pod.client.ask(timed);
    let left = pod.exec(waiting, "sleep 1000 & echo $!", None);
    let before = inventory(&mut pod);
    let program = monitor_program();
    let mut other = Client::greet(&pod.state());
    for _ in 0..20 {
        pod.client.send_frame(&Frame::Reexec, &[program.as_fd()]);
        let welcome = pod.client.welcome();
        assert_eq!((welcome.protocol, welcome.pod), (PROTOCOL_VERSION, pod.id));
        assert_eq!(other.welcome(), welcome, "every connection is greeted anew");
    }
    let after = inventory(&mut pod);
    assert_eq!((after.monitor_pid, after.pause), (before.monitor_pid, before.pause));
    assert_eq!(after.containers.len(), 3);
    for (one, other) in before.containers.iter().zip(&after.containers) {
        match (&one.phase, &other.phase) {
            (ContainerPhase::Running { .. }, ContainerPhase::Exited(_)) => assert_eq!(one.container, logging),
            (one, other) => assert_eq!(one, other),
        }
    }
    let comm = fs::read_to_string(format!("/proc/{}/comm", after.monitor_pid)).unwrap();
    assert_eq!(comm, "husk-monitor\n");

    assert_eq!(pod.client.exit_of(logging).status, code(0));
    let expected: String = (1..=LINES).map(|number| format!("{number}\n")).chain(["rest".to_owned()]).collect();
    let (stdout, _) = pod.decoded(logging);
    assert!(stdout == expected.as_bytes(), "{} bytes", stdout.len());

    go(waiting_pid);
    let output = pod.output(exec);
    assert_eq!((output.end, output.stdout.as_slice()), (ExecEnd::Exited(code(0)), b"begun\ndone\n".as_slice()));
    let output = pod.output(timed);
    assert_eq!((output.end, output.stdout.as_slice()), (ExecEnd::TimedOut, b"begun\n".as_slice()));
    let child = String::from_utf8(left.stdout).unwrap();
    assert_eq!(pod.exec_cgroups(), 1);
    pod.exec(waiting, &format!("kill -9 {child}"), None);
    while pod.exec_cgroups() > 0 {
        pod.exec(waiting, "true", None);
    }

    fs::write(format!("/proc/{waiting_pid}/fd/0"), "whole\n").unwrap();
    assert_eq!(pod.client.exit_of(waiting).status, code(4));
    assert_eq!(pod.decoded(waiting).0, b"half and whole\n");
    assert_eq!(pod.record(ended), Some(ended_exit));
    pod.only_pause_is_left();
    assert_eq!(pod.client.call(Request::CloseSandbox), Reply::Done);
    assert!(pod.monitor_ended().success());
}

#[test]
fn starts_and_ends_around_it_are_told_exactly() {
    let mut pod = Pod::open();
    let program = monitor_program();
    for number in 0..20 {
        let start = pod.start_request(choice(&format!("echo {number}; exit {number}")));
        let id = start.container;
        let sequence = pod.client.ask(Request::Start(Box::new(start)));
        pod.client.send_frame(&Frame::Reexec, &[program.as_fd()]);
        pod.client.welcome();
        assert_eq!(pod.client.exit_of(id).status, code(number));
        assert!(pod.client.came(sequence));
        assert!(matches!(pod.client.reply(sequence).0, Reply::Started { .. }));
        assert_eq!(pod.decoded(id).0, format!("{number}\n").into_bytes());
    }
    pod.only_pause_is_left();
}

#[test]
fn a_terminal_goes_with_it() {
    let mut pod = Pod::open();
    let mut process = rootfs::process(&[
        "sh",
        "-c",
        "echo before; printf half; while ! test -e /tmp/go; do usleep 1000; done; test -t 1 && echo; echo after",
    ]);
    process.terminal = true;
    let (id, pid, _) = pod.start_as(Choice { process, ..choice("") });
    pod.wait_for_log(id, b"before\r\n");
    let program = monitor_program();
    pod.client.send_frame(&Frame::Reexec, &[program.as_fd()]);
    pod.client.welcome();
    go(pid);
    assert_eq!(pod.client.exit_of(id).status, code(0));
    assert_eq!(pod.decoded(id).0, b"before\r\nhalf\r\nafter\r\n");
}

#[test]
fn a_program_that_cannot_run_is_refused_and_nothing_changes() {
    let mut pod = Pod::open();
    let (id, pid, _) = pod.start("echo before; while ! test -e /tmp/go; do usleep 1000; done; echo after");
    pod.wait_for_log(id, b"before\n");
    let garbage = memfd_sealed(c"garbage", b"no program", MemfdUse::Program).unwrap();
    pod.client.send_frame(&Frame::Reexec, &[garbage.as_fd()]);
    let refusal = pod.client.refusal();
    assert!(refusal.contains("execveat") && refusal.contains("Exec format error"), "{refusal}");
    pod.client.send_frame(&Frame::Reexec, &[]);
    assert!(pod.client.refusal().contains("exactly one descriptor"));
    assert!(all_close_on_exec(pod.monitor.id()), "a descriptor that was prepared for the next program stays so");
    assert_eq!(pod.exec(id, "readlink /proc/self/fd/3", None).stdout, b"");
    go(pid);
    assert_eq!(pod.client.exit_of(id).status, code(0));
    assert_eq!(pod.decoded(id).0, b"before\nafter\n");
}

/// Whether every descriptor of a process but the standard ones is close-on-exec (proc_pid_fdinfo(5): `flags`, octal).
fn all_close_on_exec(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap().map(Result::unwrap).all(|entry| {
        let info = fs::read_to_string(entry.path()).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let is_standard = ["0", "1", "2"].iter().any(|name| entry.file_name() == *name);
        is_standard || u32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 != 0
    })
}
