// SPDX-License-Identifier: Apache-2.0
//! Containers from start to end.

use std::fs;

use cgroups::{Ceiling, Limits};
use wire::{ContainerPhase, Event, ExitStatus, FailureKind, PausePhase, PidNamespace, Reply, Request, Stdin};

use crate::client::Client;
use crate::harness::{Choice, Pod, choice, code, handle, wait_for_end};
use crate::rootfs;

#[test]
fn a_container_runs_logs_and_ends() {
    let mut pod = Pod::open();
    let (id, pid, started_at_ns) = pod.start("echo out; echo err >&2; printf rest; exit 3");
    let exit = pod.client.exit_of(id);
    assert_eq!(exit.status, code(3));
    assert!(exit.started_at_ns == started_at_ns && exit.finished_at_ns >= started_at_ns);
    assert!(!exit.oom_killed && exit.oom_kills == 0 && pid > 1);
    assert_eq!(pod.record(id), Some(exit), "the record is there before the news");
    assert_eq!(pod.decoded(id), (b"out\nrest".to_vec(), b"err\n".to_vec()));
    let Reply::Inspected(inventory) = pod.client.call(Request::Inspect) else { panic!() };
    assert_eq!(inventory.monitor_pid, pod.monitor.id());
    assert_eq!(inventory.pause, PausePhase::Running { pid: pod.pause_pid });
    assert_eq!(inventory.containers.len(), 1);
    assert_eq!(inventory.containers[0].phase, ContainerPhase::Exited(exit));
    assert_eq!(pod.client.call(Request::Forget { container: id }), Reply::Done);
    assert_eq!(pod.record(id), None);
    let Reply::Inspected(inventory) = pod.client.call(Request::Inspect) else { panic!() };
    assert!(inventory.containers.is_empty());
    let Reply::Failed(unknown) = pod.client.call(Request::Forget { container: id }) else { panic!() };
    assert_eq!(unknown.kind, FailureKind::UnknownContainer);
}

#[test]
fn hundreds_of_exit_codes_and_signals_eight_at_a_time() {
    let mut pod = Pod::open();
    let ignored = [17, 18, 19, 20, 21, 22, 23, 28];
    let signals = (1..=64).filter(|signal| !ignored.contains(signal)).map(ExitStatus::Signal);
    let wanted: Vec<ExitStatus> = (0..=255).map(ExitStatus::Code).chain(signals).collect();
    for eight in wanted.chunks(8) {
        let running: Vec<_> = eight.iter().map(|status| (ask_for(&mut pod, *status), *status)).collect();
        for ((id, sequence), status) in running {
            let (Reply::Started { started_at_ns, .. }, _) = pod.client.reply(sequence) else { panic!() };
            let mut line = Vec::new();
            match status {
                ExitStatus::Code(code) => line = format!("{code}\n").into_bytes(),
                ExitStatus::Signal(signal) => {
                    assert_eq!(pod.client.call(Request::Signal { container: id, signal }), Reply::Done);
                }
            }
            let exit = pod.client.exit_of(id);
            assert_eq!(exit.status, status);
            assert_eq!(pod.record(id), Some(exit));
            assert!(exit.finished_at_ns >= started_at_ns);
            assert_eq!(pod.decoded(id).0, line);
            assert_eq!(pod.client.call(Request::Forget { container: id }), Reply::Done);
        }
    }
}

/// Asks for a container that ends this way, or for one that a signal can end this way.
fn ask_for(pod: &mut Pod, status: ExitStatus) -> (wire::Id, u32) {
    let process = match status {
        ExitStatus::Code(code) => rootfs::process(&["sh", "-c", &format!("echo {code}; exit {code}")]),
        ExitStatus::Signal(_) => rootfs::process(&["sleep", "1000"]),
    };
    // Process 1 of a pid namespace of its own ignores the signals that it does not handle.
    let start = pod.start_request(Choice { process, pid_namespace: PidNamespace::Pod, ..choice("") });
    (start.container, pod.client.ask(Request::Start(Box::new(start))))
}

#[test]
fn started_is_told_before_the_end_of_the_shortest_life() {
    let mut pod = Pod::open();
    for _ in 0..30 {
        let start = pod.start_request(Choice { process: rootfs::process(&["true"]), ..choice("") });
        let id = start.container;
        let sequence = pod.client.ask(Request::Start(Box::new(start)));
        assert_eq!(pod.client.exit_of(id).status, code(0));
        assert!(pod.client.came(sequence), "the end was told before the start");
        assert!(matches!(pod.client.reply(sequence).0, Reply::Started { .. }));
    }
}

#[test]
fn a_repeated_start_is_answered_and_another_one_is_refused() {
    let mut pod = Pod::open();
    let start = pod.start_request(choice("sleep 1000"));
    let first = pod.client.call(Request::Start(Box::new(start.clone())));
    assert!(matches!(first, Reply::Started { .. }));
    assert_eq!(pod.client.call(Request::Start(Box::new(start.clone()))), first);
    let mut other = start.clone();
    other.deadline_ms += 1;
    let Reply::Failed(refused) = pod.client.call(Request::Start(Box::new(other))) else { panic!() };
    assert_eq!((refused.kind, refused.detail.unwrap().as_str()), (FailureKind::WrongState, "the container is running"));
    let id = start.container;
    let Reply::Failed(refused) = pod.client.call(Request::Forget { container: id }) else { panic!() };
    assert_eq!(refused.kind, FailureKind::WrongState);
    assert_eq!(pod.client.call(Request::Kill { container: id }), Reply::Done);
    assert_eq!(pod.client.exit_of(id).status, ExitStatus::Signal(9));
    assert_eq!(pod.client.call(Request::Kill { container: id }), Reply::Done, "what is dead is killed");
    let Reply::Failed(refused) = pod.client.call(Request::Start(Box::new(start))) else { panic!() };
    assert_eq!(refused.detail.unwrap(), "the container has exited");
}

#[test]
fn a_signal_reaches_the_main_process_and_kill_reaches_all() {
    let mut pod = Pod::open();
    let (id, ..) = pod.start("trap 'echo got it; exit 7' TERM; echo ready; while :; do sleep 0.01; done");
    pod.wait_for_log(id, b"ready\n");
    assert_eq!(pod.client.call(Request::Signal { container: id, signal: 15 }), Reply::Done);
    assert_eq!(pod.client.exit_of(id).status, code(7));
    assert_eq!(pod.decoded(id).0, b"ready\ngot it\n");
    let Reply::Failed(refused) = pod.client.call(Request::Signal { container: id, signal: 15 }) else { panic!() };
    assert_eq!(refused.kind, FailureKind::WrongState);

    let (id, ..) = pod.start("sleep 1000");
    for signal in [0, 65, 200] {
        let Reply::Failed(refused) = pod.client.call(Request::Signal { container: id, signal }) else { panic!() };
        assert_eq!(refused.kind, FailureKind::Unsupported);
    }
    assert_eq!(pod.client.call(Request::Kill { container: id }), Reply::Done);
    pod.client.exit_of(id);

    // The pod's pid namespace: the end of the main process ends nobody else by itself.
    let script = "setsid sleep 1000 & setsid sleep 1000 & echo ready; sleep 1000";
    let (id, ..) = pod.start_as(Choice { pid_namespace: PidNamespace::Pod, ..choice(script) });
    pod.wait_for_log(id, b"ready\n");
    assert_eq!(pod.client.call(Request::Kill { container: id }), Reply::Done);
    assert_eq!(pod.client.exit_of(id).status, ExitStatus::Signal(9));
    pod.only_pause_is_left();
}

#[test]
fn the_end_of_the_main_process_ends_the_rest_and_completes_the_log() {
    let mut pod = Pod::open();
    for (pid_namespace, unified) in [(PidNamespace::Own, true), (PidNamespace::Pod, true), (PidNamespace::Pod, false)] {
        let script = "setsid sleep 1000 & seq 1 20000; printf 'no newline'; exit 5";
        let (id, ..) = pod.start_as(Choice { pid_namespace, unified, ..choice(script) });
        assert_eq!(pod.client.exit_of(id).status, code(5));
        let (stdout, _) = pod.decoded(id);
        let lines: Vec<&str> = std::str::from_utf8(&stdout).unwrap().lines().collect();
        let expected: Vec<String> =
            (1..=20_000).map(|number| number.to_string()).chain(["no newline".to_owned()]).collect();
        assert!(lines == expected, "{} lines", lines.len());
        pod.only_pause_is_left();
    }
}

/// A neighbour holds the pipe of a container that ends: the end must not wait for it.
#[test]
fn a_pipe_that_a_neighbour_holds_does_not_hold_the_end() {
    let mut pod = Pod::open();
    let (first, pid, _) = pod.start_as(Choice { pid_namespace: PidNamespace::Pod, ..choice("echo held; sleep 1000") });
    pod.wait_for_log(first, b"held\n");
    // This process stands for the neighbour.
    let held = fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/fd/1")).unwrap();
    assert_eq!(pod.client.call(Request::Kill { container: first }), Reply::Done);
    assert_eq!(pod.client.exit_of(first).status, ExitStatus::Signal(9));
    assert_eq!(pod.decoded(first).0, b"held\n");
    drop(held);
}

#[test]
fn a_launch_that_fails_names_its_step_and_is_remembered() {
    let mut pod = Pod::open();
    let missing = pod.path().join("missing");
    let sources = [missing.as_path()];
    let start = pod.start_request(Choice { sources: &sources, ..choice("true") });
    let id = start.container;
    let Reply::Failed(failure) = pod.client.call(Request::Start(Box::new(start))) else { panic!() };
    assert_eq!((failure.kind, failure.errno), (FailureKind::Launch, Some(2)));
    assert_eq!(failure.step.as_deref(), Some(format!("open mount source {}", missing.display()).as_str()));
    let Reply::Inspected(inventory) = pod.client.call(Request::Inspect) else { panic!() };
    assert_eq!(inventory.containers[0].phase, ContainerPhase::Failed(failure));
    assert_eq!(pod.client.call(Request::Forget { container: id }), Reply::Done);

    let start = pod.start_request(Choice { process: rootfs::process(&["nosuch"]), ..choice("") });
    let Reply::Failed(failure) = pod.client.call(Request::Start(Box::new(start))) else { panic!() };
    assert_eq!(failure.kind, FailureKind::ProgramMissing);
    pod.only_pause_is_left();
}

#[test]
fn without_pause_nothing_starts() {
    let mut pod = Pod::watched();
    let start = pod.start_request(choice("true"));
    let Reply::Failed(failure) = pod.client.call(Request::Start(Box::new(start))) else { panic!() };
    assert_eq!((failure.kind, failure.to_string().as_str()), (FailureKind::WrongState, "the sandbox is not open"));
    let Reply::Failed(failure) = pod.client.call(pod.open_request()) else { panic!() };
    assert_eq!(failure.kind, FailureKind::Unsupported, "no program was attached");
    assert_eq!(pod.client.call(Request::CloseSandbox), Reply::Done);
    assert!(pod.monitor_ended().success());
}

#[test]
fn standard_input_stays_open_when_it_is_a_pipe() {
    let mut pod = Pod::open();
    let (null, ..) = pod.start("cat; echo end");
    assert_eq!(pod.client.exit_of(null).status, code(0));
    assert_eq!(pod.decoded(null).0, b"end\n");
    let (pipe, pid, _) = pod.start_as(Choice { stdin: Stdin::Pipe, ..choice("echo ready; read line; echo $line") });
    pod.wait_for_log(pipe, b"ready\n");
    fs::write(format!("/proc/{pid}/fd/0"), "hello\n").unwrap();
    assert_eq!(pod.client.exit_of(pipe).status, code(0));
    assert_eq!(pod.decoded(pipe).0, b"ready\nhello\n");
}

#[test]
fn a_terminal_is_logged_as_standard_output() {
    let mut pod = Pod::open();
    let mut process = rootfs::process(&["sh", "-c", "test -t 0 && test -t 2 && echo tty; echo err >&2; printf end"]);
    process.terminal = true;
    let (id, ..) = pod.start_as(Choice { process, ..choice("") });
    assert_eq!(pod.client.exit_of(id).status, code(0));
    assert_eq!(pod.decoded(id), (b"tty\r\nerr\r\nend".to_vec(), Vec::new()));
    pod.only_pause_is_left();
}

#[test]
fn an_oom_kill_is_told() {
    let mut pod = Pod::open();
    let limits = Limits { memory_limit_bytes: Some(Ceiling::At(16 << 20)), ..Limits::default() };
    let script = "exec tail /dev/zero";
    let (id, ..) = pod.start_as(Choice { limits, ..choice(script) });
    let exit = pod.client.exit_of(id);
    assert_eq!((exit.status, exit.oom_killed), (ExitStatus::Signal(9), true));
    assert!(exit.oom_kills >= 1);

    let limits = Limits { memory_limit_bytes: Some(Ceiling::At(16 << 20)), ..Limits::default() };
    let (id, ..) = pod.start_as(Choice { limits, ..choice("tail /dev/zero; exit 4") });
    let exit = pod.client.exit_of(id);
    assert_eq!((exit.status, exit.oom_killed), (code(4), false), "a child's end is not the container's");
    assert!(exit.oom_kills >= 1);
}

#[test]
fn closing_ends_everything_and_the_monitor() {
    let mut pod = Pod::open();
    let (first, ..) = pod.start("setsid sleep 1000 & sleep 1000");
    let (second, ..) = pod.start_as(Choice { pid_namespace: PidNamespace::Host, ..choice("sleep 1000 & sleep 1000") });
    let exec = pod.client.ask(pod.exec_request(first, "sleep 1000", None));
    let pause = handle(pod.pause_pid);
    let mut other = Client::greet(&pod.state());
    assert_eq!(other.call(Request::CloseSandbox), Reply::Done);
    for id in [first, second] {
        assert_eq!(pod.client.exit_of(id).status, ExitStatus::Signal(9));
        assert!(pod.record(id).is_some());
    }
    assert!(matches!(pod.client.reply(exec).0, Reply::Executed(_) | Reply::Failed(_)));
    wait_for_end(&pause);
    assert!(pod.monitor_ended().success());
    assert_eq!(pod.pids(), []);
    assert_eq!(pod.record(pod.id), None, "pause was asked to end");
}

#[test]
fn without_pause_its_containers_end() {
    let mut pod = Pod::open();
    let (first, ..) = pod.start("sleep 1000");
    let (second, ..) = pod.start_as(Choice { pid_namespace: PidNamespace::Host, ..choice("sleep 1000 & sleep 1000") });
    rustix::process::pidfd_send_signal(handle(pod.pause_pid), rustix::process::Signal::KILL).unwrap();
    let mut ended = Vec::new();
    let last = loop {
        match pod.client.event() {
            Event::ContainerExited { container, exit } => {
                assert_eq!(exit.status, ExitStatus::Signal(9));
                assert_eq!(pod.record(container), Some(exit));
                ended.push(container);
            }
            Event::PauseExited { exit } => break exit,
        }
    };
    ended.sort_unstable();
    assert_eq!(ended, [first, second], "the containers end before their sandbox does");
    assert_eq!(last.status, ExitStatus::Signal(9));
    assert_eq!(pod.record(pod.id), Some(last));
    pod.all_are_gone();
    let Reply::Inspected(inventory) = pod.client.call(Request::Inspect) else { panic!() };
    assert_eq!(inventory.pause, PausePhase::Exited(last));
    let start = pod.start_request(choice("true"));
    let Reply::Failed(refused) = pod.client.call(Request::Start(Box::new(start))) else { panic!() };
    assert_eq!(refused.kind, FailureKind::WrongState);
    assert_eq!(pod.client.call(Request::CloseSandbox), Reply::Done);
    assert!(pod.monitor_ended().success());
}
