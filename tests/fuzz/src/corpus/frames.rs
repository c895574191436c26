// SPDX-License-Identifier: Apache-2.0
//! Frames of the monitor protocol. Those of the frozen core are bytes by hand: no later version may read them differently.

use wire::{
    Access, Blob, ByteVec, CapabilitySets, CgroupJoin, CgroupMount, ContainerInventory, ContainerPhase, DeviceNode,
    Event, Exec, ExecEnd, Executed, Exit, ExitStatus, Failure, FailureKind, Frame, Id, Inventory, Log, MissingSource,
    Namespaces, NodeKind, OpenSandbox, PausePhase, PidNamespace, Plan, Process, Reply, Request, Rlimit, Start, Stdin,
    Step,
};

use super::{Files, committed};

const ID: Id = Id::from_bytes([0xab; 32]);

#[test]
fn generated() {
    let mut files = core();
    files.extend(messages());
    files.extend(damaged());
    committed("monitor_wire", &files);
}

fn core() -> Files {
    let pod = [0xab; 32];
    [
        ("accepted-hello", b"\x01husk\x01\x00\x01\x00husk 0.1".to_vec()),
        ("accepted-hello-without-build", b"\x01husk\x01\x00\x01\x00".to_vec()),
        ("accepted-hello-of-a-later-core", b"\x01husk\xff\x7f\x09\x00x".to_vec()),
        ("accepted-hello-longest-build", [&b"\x01husk\x01\x00\x01\x00"[..], &[b'b'; 64]].concat()),
        ("accepted-hello-build-is-not-utf8", [&b"\x01husk\x01\x00\x01\x00"[..], &[0xff; 64]].concat()),
        ("accepted-welcome", [&b"\x02husk\x01\x00\x01\x00"[..], &pod, b"husk 0.1"].concat()),
        ("accepted-reexec", b"\x03".to_vec()),
        ("accepted-refused", "\u{4}no memfd – try again".as_bytes().to_vec()),
        ("accepted-kill", b"\x05".to_vec()),
        ("accepted-spilled", b"\x1f".to_vec()),
    ]
    .into()
}

fn messages() -> Files {
    let request = |request| Frame::Request { sequence: 7, request }.to_bytes();
    let reply = |reply| Frame::Reply { sequence: u32::MAX, reply }.to_bytes();
    let exit = |status| Exit { status, started_at_ns: 1, finished_at_ns: u64::MAX, oom_kills: 2, oom_killed: true };
    let failure =
        Failure { step: Some("mount proc at /proc".into()), errno: Some(-1), ..Failure::new(FailureKind::Launch, "x") };
    let open = OpenSandbox {
        own_network: true,
        own_ipc: false,
        hostname: Some("web".into()),
        shm_bytes: 64 << 20,
        cgroup: CgroupJoin { unified: Some("/sys/fs/cgroup/x".into()), v1: vec!["/sys/fs/cgroup/pids/x".into()] },
        oom_score_adj: -998,
    };
    let executed = Executed {
        end: ExecEnd::Exited(ExitStatus::Code(3)),
        stdout: Blob::Inline(ByteVec::from(vec![0, 255])),
        stderr: Blob::Attached,
    };
    let inventory = Inventory {
        monitor_pid: 1,
        pause: PausePhase::Running { pid: 2 },
        containers: [
            ContainerPhase::Starting,
            ContainerPhase::Running { pid: 3, started_at_ns: 4 },
            ContainerPhase::Exited(exit(ExitStatus::Signal(9))),
            ContainerPhase::Failed(failure.clone()),
        ]
        .map(|phase| ContainerInventory { container: ID, phase, dropped_log_bytes: u64::MAX })
        .into(),
    };
    [
        ("accepted-request-open", request(Request::OpenSandbox(open))),
        ("accepted-request-start", request(Request::Start(Box::new(start())))),
        ("accepted-request-signal", request(Request::Signal { container: ID, signal: 15 })),
        (
            "accepted-request-exec",
            request(Request::Exec(Box::new(Exec { container: ID, process: process(), timeout_ms: Some(1) }))),
        ),
        ("accepted-request-inspect", request(Request::Inspect)),
        ("accepted-request-close", request(Request::CloseSandbox)),
        ("accepted-reply-done", reply(Reply::Done)),
        ("accepted-reply-failed", reply(Reply::Failed(failure))),
        ("accepted-reply-started", reply(Reply::Started { pid: 4, started_at_ns: 5 })),
        ("accepted-reply-executed", reply(Reply::Executed(executed))),
        ("accepted-reply-inspected", reply(Reply::Inspected(inventory))),
        (
            "accepted-event-exited",
            Frame::Event(Event::ContainerExited { container: ID, exit: exit(ExitStatus::Signal(255)) }).to_bytes(),
        ),
        ("accepted-event-pause", Frame::Event(Event::PauseExited { exit: exit(ExitStatus::Code(0)) }).to_bytes()),
        ("accepted-exit-record", exit(ExitStatus::Code(255)).to_bytes()),
    ]
    .into()
}

fn damaged() -> Files {
    let start = Frame::Request { sequence: 1, request: Request::Start(Box::new(start())) }.to_bytes();
    [
        ("refused-empty", Vec::new()),
        ("refused-unknown-kind", b"\xff".to_vec()),
        ("refused-hello-of-somebody-else", b"\x01hush\x01\x00\x01\x00".to_vec()),
        ("refused-hello-cut", b"\x01husk\x01\x00\x01".to_vec()),
        ("refused-hello-build-too-long", [&b"\x01husk\x01\x00\x01\x00"[..], &[b'b'; 65]].concat()),
        ("refused-welcome-without-pod", b"\x02husk\x01\x00\x01\x00\xab\xab".to_vec()),
        ("refused-kill-with-a-body", b"\x05\x00".to_vec()),
        ("refused-text-is-not-utf8", b"\x04\xff".to_vec()),
        ("refused-request-without-sequence", b"\x10\x01\x00\x00".to_vec()),
        ("refused-request-cut", start[..start.len() - 1].to_vec()),
        ("refused-request-trailing", [&start[..], b"\x00"].concat()),
        ("refused-request-of-a-later-version", b"\x10\x01\x00\x00\x00\x82\x18\x63\x80".to_vec()),
        (
            "refused-bytes-of-2-to-the-64",
            b"\x11\x01\x00\x00\x00\x82\x04\x81\x83\x01\x82\x00\x81\x5b\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        ),
        (
            "refused-list-of-2-to-the-64",
            b"\x11\x01\x00\x00\x00\x82\x05\x81\x83\x01\x82\x00\x80\x9b\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        ),
        ("refused-deep", [&b"\x12"[..], &[0x81; 4096]].concat()),
        ("refused-deep-in-an-unknown-field", [&b"\x12\x82\x01\x82\xa1\x09"[..], &[0x81; 4096]].concat()),
    ]
    .into()
}

fn start() -> Start {
    Start {
        container: ID,
        plan: Plan { steps: steps(), process: process() },
        cgroup: CgroupJoin::default(),
        pid_namespace: PidNamespace::Pod,
        stdin: Stdin::Pipe,
        log: Some(Log { directory: "/var/log/pods/x".into(), file: "app/0.log".into() }),
        deadline_ms: 90_000,
    }
}

fn steps() -> Vec<Step> {
    let target = || "/x".to_owned();
    let node =
        DeviceNode { name: "null".into(), kind: NodeKind::Character, major: 1, minor: 3, mode: 0o666, uid: 0, gid: 0 };
    let mount = CgroupMount { name: "memory".into(), options: "memory".into() };
    vec![
        Step::Overlay { lower: vec!["/l1".into(), "/l2".into()], upper: "/u".into(), work: "/w".into() },
        Step::OpenSource { slot: 1, path: "/srv".into(), missing: MissingSource::MakeDirectory },
        Step::EnterPod { namespaces: Namespaces { network: true, ipc: true, uts: false } },
        Step::UnshareCgroup,
        Step::AttachRoot,
        Step::Proc { target: target() },
        Step::Sysfs { target: target(), access: Access::ReadOnly },
        Step::Cgroups { target: target(), mounts: vec![mount], access: Access::ReadWrite },
        Step::Mqueue { target: target() },
        Step::Dev { target: target(), nodes: vec![node], tty_gid: 5 },
        Step::Shm { target: target() },
        Step::Tmpfs { target: target(), data: "size=64k".into(), access: Access::ReadOnly },
        Step::Attach { slot: 1, target: target(), access: Access::ReadOnly },
        Step::Mask { target: target() },
        Step::ReadonlyPath { target: target() },
        Step::ReadonlyRoot,
        Step::Pivot,
    ]
}

fn process() -> Process {
    Process {
        args: vec!["sh".into(), "-c".into(), "true".into()],
        env: vec![ByteVec::from(b"A=\xff".to_vec())],
        cwd: "/".into(),
        make_cwd: true,
        uid: u32::MAX,
        gid: 0,
        groups: vec![1, 2],
        umask: 0o22,
        capabilities: CapabilitySets { bounding: u64::MAX, ..CapabilitySets::default() },
        no_new_privs: true,
        oom_score_adj: Some(-1000),
        rlimits: vec![Rlimit { resource: 7, soft: 1, hard: u64::MAX }],
        terminal: false,
    }
}
