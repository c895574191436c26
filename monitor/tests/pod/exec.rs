// SPDX-License-Identifier: Apache-2.0
//! Execs.

use std::time::{Duration, Instant};

use wire::limits::EXEC_OUTPUT_BYTES;
use wire::{ExecEnd, ExitStatus, FailureKind, PidNamespace, Reply, Request};

use crate::harness::{Choice, Output, Pod, choice, code, go, handle, wait_for_end};

fn exited(number: u8, stdout: &[u8], stderr: &[u8]) -> Output {
    Output { end: ExecEnd::Exited(code(number)), stdout: stdout.to_vec(), stderr: stderr.to_vec() }
}

#[test]
fn output_and_code() {
    let mut pod = Pod::open();
    let (id, ..) = pod.start("sleep 1000");
    assert_eq!(pod.exec(id, "echo out; echo err >&2; exit 9", None), exited(9, b"out\n", b"err\n"));
    assert_eq!(pod.exec(id, "cat", None), exited(0, b"", b""), "standard input is /dev/null");
    let killed = pod.exec(id, "echo x; kill -9 $$", None);
    assert_eq!((killed.end, killed.stdout.as_slice()), (ExecEnd::Exited(ExitStatus::Signal(9)), b"x\n".as_slice()));
    assert_eq!(pod.exec_cgroups(), 0, "sub-cgroups are left");

    let mut missing = pod.exec_request(id, "", None);
    if let Request::Exec(exec) = &mut missing {
        exec.process.args = vec!["nosuch".into()];
    }
    let Reply::Failed(failure) = pod.client.call(missing) else { panic!() };
    assert_eq!(failure.kind, FailureKind::ProgramMissing);
    assert_eq!(pod.exec_cgroups(), 0);
}

#[test]
fn output_of_every_size_up_to_the_limit_and_beyond() {
    let mut pod = Pod::open();
    let (id, ..) = pod.start("sleep 1000");
    for bytes in [20_480, 20_481, 60_000, 1 << 20, EXEC_OUTPUT_BYTES, EXEC_OUTPUT_BYTES + (3 << 20)] {
        let script = format!("head -c {bytes} /dev/zero | tr '\\0' x; head -c 30000 /dev/zero >&2");
        let output = pod.exec(id, &script, None);
        assert_eq!(output.end, ExecEnd::Exited(code(0)));
        assert!(output.stdout.len() == bytes.min(EXEC_OUTPUT_BYTES) && output.stdout.iter().all(|&byte| byte == b'x'));
        assert_eq!(output.stderr, [0; 30_000]);
    }
}

#[test]
fn a_background_child_keeps_neither_the_answer_nor_its_life() {
    let mut pod = Pod::open();
    let (id, ..) = pod.start("sleep 1000");
    let begun = Instant::now();
    let output = pod.exec(id, "sleep 999 & echo $!", None);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(output.end, ExecEnd::Exited(code(0)));
    let child = String::from_utf8(output.stdout).unwrap();
    let alive = format!("kill -0 {}", child.trim());
    assert_eq!(pod.exec(id, &alive, None), exited(0, b"", b""), "the child lives");
    assert_eq!(pod.exec_cgroups(), 1, "the child is in the sub-cgroup of its exec");
    assert_eq!(pod.exec(id, &format!("kill -9 {}", child.trim()), None).end, ExecEnd::Exited(code(0)));
    // The exec that follows comes after the news that the sub-cgroup is empty.
    while pod.exec_cgroups() > 0 {
        pod.exec(id, "true", None);
    }
    let output = pod.exec(id, "setsid sleep 998 & echo", None);
    assert_eq!(output.end, ExecEnd::Exited(code(0)));
    assert_eq!(pod.client.call(Request::Kill { container: id }), Reply::Done);
    assert_eq!(pod.client.exit_of(id).status, ExitStatus::Signal(9));
    pod.only_pause_is_left();
}

#[test]
fn a_timeout_kills_everything_that_the_exec_started() {
    let mut pod = Pod::open();
    for (pid_namespace, unified) in [(PidNamespace::Own, true), (PidNamespace::Pod, true), (PidNamespace::Pod, false)] {
        let (id, pid, _) = pod.start_as(Choice { pid_namespace, unified, ..choice("exec sleep 1000") });
        let script = if unified {
            "setsid sleep 999 & sleep 999 & echo begun; sleep 999"
        } else {
            "sleep 999 & echo begun; sleep 999"
        };
        let output = pod.exec(id, script, Some(Duration::from_millis(300)));
        assert_eq!((output.end, output.stdout.as_slice()), (ExecEnd::TimedOut, b"begun\n".as_slice()));
        assert_eq!(pod.exec_cgroups(), 0, "the sub-cgroup is empty and removed");
        if !unified {
            // Without a sub-cgroup nothing tells when the last of them is gone.
            wait_until_alone(&pod, pid);
        }
        let left: Vec<u32> = pod.pids().iter().map(|pid| pid.as_raw_nonzero().get() as u32).collect();
        let mut expected = [pod.pause_pid, pid];
        expected.sort_unstable();
        assert_eq!(left, expected);
        assert_eq!(pod.client.call(Request::Kill { container: id }), Reply::Done);
        pod.client.exit_of(id);
    }
}

fn wait_until_alone(pod: &Pod, pid: u32) {
    for other in pod.pids() {
        let other = other.as_raw_nonzero().get() as u32;
        if other != pid && other != pod.pause_pid && std::fs::exists(format!("/proc/{other}")).unwrap() {
            wait_for_end(&handle(other));
        }
    }
}

#[test]
fn many_at_a_time_and_not_more() {
    let mut pod = Pod::open();
    let (id, first, _) = pod.start("sleep 1000");
    let script = "while ! test -e /tmp/go; do usleep 10000; done; echo done";
    let waiting: Vec<u32> = (0..64).map(|_| pod.client.ask(pod.exec_request(id, script, None))).collect();
    let Reply::Failed(failure) = pod.client.call(pod.exec_request(id, "true", None)) else { panic!() };
    assert_eq!(failure.kind, FailureKind::Exhausted);
    // What the container itself does needs no exec.
    let (_, pid, _) = pod.start("sleep 1000");
    assert!(pid > 0);
    go(first);
    for sequence in waiting {
        assert_eq!(pod.output(sequence), exited(0, b"done\n", b""));
    }
    assert_eq!(pod.exec_cgroups(), 0);
    assert_eq!(pod.exec(id, "true", None), exited(0, b"", b""));
}

#[test]
fn only_a_running_container_has_execs() {
    let mut pod = Pod::open();
    let (id, _) = pod.run("true");
    let Reply::Failed(failure) = pod.client.call(pod.exec_request(id, "true", None)) else { panic!() };
    assert_eq!(failure.kind, FailureKind::WrongState);
    let unknown = wire::Id::from_bytes([0; 32]);
    let Reply::Failed(failure) = pod.client.call(pod.exec_request(unknown, "true", None)) else { panic!() };
    assert_eq!(failure.kind, FailureKind::UnknownContainer);
}

#[test]
fn the_end_of_the_container_answers_its_execs() {
    let mut pod = Pod::open();
    for pid_namespace in [PidNamespace::Own, PidNamespace::Pod] {
        let (id, ..) = pod.start_as(Choice { pid_namespace, ..choice("sleep 1000") });
        let script = "echo begun; echo begun > /proc/1/root/tmp/begun; sleep 1000";
        let sequence = pod.client.ask(pod.exec_request(id, script, None));
        assert_eq!(pod.client.call(Request::Kill { container: id }), Reply::Done);
        assert_eq!(pod.client.exit_of(id).status, ExitStatus::Signal(9));
        let (reply, _) = pod.client.reply(sequence);
        let is_end = match &reply {
            Reply::Executed(executed) => executed.end == ExecEnd::Exited(ExitStatus::Signal(9)),
            // It was still on its way.
            Reply::Failed(failure) => matches!(failure.kind, FailureKind::Launch | FailureKind::WrongState),
            _ => false,
        };
        assert!(is_end, "{reply:?}");
    }
}
