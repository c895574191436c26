// SPDX-License-Identifier: Apache-2.0
//! Pause, its template, and what dies with whom.

use std::fs;
use std::os::fd::AsFd;

use husk_launch::{PauseJob, Report};
use rustix::process::Signal;
use sys::{CloneFlags, clone3, seqpacket};
use wire::{ExitStatus, FailureKind, PidNamespace};

use crate::Case;
use crate::container::Container;
use crate::world::{Pod, World, collect, end_of, failure_of, sandbox, wait_readable};

pub(crate) const CASES: &[Case] = &[
    ("pause_has_no_rights", pause_has_no_rights),
    ("the_template_keeps_nothing_of_the_host", the_template_keeps_nothing_of_the_host),
    ("pause_ignores_signals_from_inside_and_reaps", pause_ignores_signals_from_inside_and_reaps),
    ("a_host_network_pod_has_the_hosts_namespaces", a_host_network_pod_has_the_hosts_namespaces),
    ("a_pause_that_cannot_run_says_why", a_pause_that_cannot_run_says_why),
    ("nothing_starts_in_a_dead_pod", nothing_starts_in_a_dead_pod),
    ("processes_die_with_the_monitor", processes_die_with_the_monitor),
];

fn field<'t>(status: &'t str, name: &str) -> &'t str {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim()
}

fn pause_has_no_rights(world: &World) {
    let pod = Pod::new(world);
    // The channel ends with the execution; the name is the first thing that the program sets.
    until(|| field(&pod.status(), "Name:") == "husk-pause");
    let status = pod.status();
    assert_eq!(field(&status, "Uid:"), "65534\t65534\t65534\t65534");
    assert_eq!(field(&status, "Gid:"), "65534\t65534\t65534\t65534");
    assert_eq!(field(&status, "Groups:"), "");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&status, "NoNewPrivs:"), "1");
    assert_eq!(field(&status, "NSpid:"), format!("{}\t1", pod.pid));
    assert_eq!(fs::read(format!("/proc/{}/environ", pod.pid)).unwrap(), b"");
    assert_eq!(fs::read(format!("/proc/{}/cmdline", pod.pid)).unwrap(), b"husk-pause\0");
    let mut fds: Vec<_> = fs::read_dir(format!("/proc/{}/fd", pod.pid))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    fds.sort();
    assert_eq!(fds, ["0", "1", "2"]);
    for line in fs::read_to_string(format!("/proc/{}/cgroup", pod.pid)).unwrap().lines() {
        assert!(line.ends_with(&format!(":/husk-test-launch-{}", std::process::id())), "{line}");
    }
}

/// For what the kernel tells by no event.
fn until(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it does not happen");
        std::thread::yield_now();
    }
}

fn the_template_keeps_nothing_of_the_host(world: &World) {
    let pod = Pod::new(world);
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", pod.pid)).unwrap();
    let seen: Vec<_> =
        mounts.lines().map(|line| line.split(' ').skip(4).take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(seen, ["/ rw,nosuid,nodev,noexec,relatime", "/shm rw,nosuid,nodev,noexec,relatime"]);
    assert!(mounts.lines().all(|line| line.contains(" - tmpfs ") && !line.contains("shared:")), "{mounts}");
    assert!(mounts.contains("size=1024k"), "{mounts}");
    let root = format!("/proc/{}/root", pod.pid);
    let mut names: Vec<_> =
        fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["root", "shm"]);
}

fn pause_ignores_signals_from_inside_and_reaps(world: &World) {
    let pod = Pod::new(world);
    let script =
        "for signal in 1 2 3 9 15 17 31; do kill -$signal 1; done; (sleep 0.01 & echo $!); readlink /proc/1/exe; true";
    let outcome = Container::new(&pod, script).pids(PidNamespace::Pod).run().text();
    assert!(outcome.lines().nth(1).is_none_or(|exe| !exe.contains("busybox")), "{outcome}");
    // The orphan belongs to pause now. When it has ended and was collected, pause has no children.
    let children = format!("/proc/{0}/task/{0}/children", pod.pid);
    until(|| fs::read_to_string(&children).unwrap().is_empty());
    assert_eq!(field(&pod.status(), "State:"), "S (sleeping)");
}

fn a_host_network_pod_has_the_hosts_namespaces(world: &World) {
    let spec = wire::OpenSandbox { own_network: false, own_ipc: false, hostname: None, ..sandbox(world) };
    let pod = Pod::open(world, &spec);
    for namespace in ["net", "ipc", "uts", "cgroup", "user"] {
        let link = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        assert_eq!(link(&pod.pid.to_string()), link("self"), "{namespace}");
    }
    for namespace in ["mnt", "pid"] {
        let link = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        assert_ne!(link(&pod.pid.to_string()), link("self"), "{namespace}");
    }
}

fn a_pause_that_cannot_run_says_why(world: &World) {
    let directory = fs::File::open("/").unwrap();
    let spec = sandbox(world);
    let job = PauseJob { program: directory.as_fd(), netns: Some(world.netns.as_fd()), spec: &spec };
    let (child, reports) = collect(husk_launch::pause(&world.single, job).unwrap());
    let failure = failure_of(reports);
    assert!(failure.to_string().starts_with("execute pause: Permission denied"), "{failure}");
    assert_eq!(end_of(&child.pidfd), ExitStatus::Code(1));

    let job = PauseJob { program: world.pause.as_fd(), netns: None, spec: &spec };
    assert_eq!(husk_launch::pause(&world.single, job).unwrap_err().kind, FailureKind::Internal);

    let mut spec = sandbox(world);
    spec.cgroup.unified = Some("/sys/fs/cgroup/unified/husk-no-such".to_owned());
    let job = PauseJob { program: world.pause.as_fd(), netns: Some(world.netns.as_fd()), spec: &spec };
    let failure = husk_launch::pause(&world.single, job).unwrap_err();
    assert!(failure.to_string().starts_with("open the cgroup: No such file"), "{failure}");
}

fn nothing_starts_in_a_dead_pod(world: &World) {
    let pod = Pod::new(world);
    let own = Container::new(&pod, "true");
    let shared = Container::new(&pod, "true").pids(PidNamespace::Pod);
    rustix::process::pidfd_send_signal(&pod.pidfd, Signal::KILL).unwrap();
    wait_readable(pod.pidfd.as_fd());

    let failure = own.run().failure();
    assert_eq!(failure.kind, FailureKind::WrongState);
    assert!(failure.to_string().contains("the pod's pause process has ended"), "{failure}");
    let job = husk_launch::StartJob {
        plan: &shared.plan,
        cgroup: &shared.cgroup,
        pid_namespace: PidNamespace::Pod,
        stdio: null_streams(),
        log: None,
        pause: pod.pidfd.as_fd(),
    };
    let failure = husk_launch::start(&world.single, job).unwrap_err();
    assert_eq!(failure.kind, FailureKind::WrongState, "{failure}");
    // The pid namespace of this process's children is its own again.
    assert_eq!(fs::read_link("/proc/self/ns/pid_for_children").unwrap(), fs::read_link("/proc/self/ns/pid").unwrap());
}

fn null_streams() -> husk_launch::Stdio {
    let null = || fs::File::options().read(true).write(true).open("/dev/null").unwrap().into();
    husk_launch::Stdio::Pipes { stdin: null(), stdout: null(), stderr: null() }
}

/// A child plays the monitor, starts a pod and a container, and dies.
fn processes_die_with_the_monitor(world: &World) {
    let (ours, theirs) = seqpacket::pair().unwrap();
    let monitor = clone3(&world.single, CloneFlags::NONE, None, |_| {
        let pod = Pod::new(world);
        let container = Container::new(&pod, "sleep 1000").start();
        assert!(matches!(container.reports.last(), Some(Report::Ready)));
        seqpacket::send(theirs.as_fd(), b"started", &[pod.pidfd.as_fd(), container.pidfd.as_fd()]).unwrap();
        sys::exit_now(0)
    })
    .unwrap();
    let (_, fds) = seqpacket::receive(ours.as_fd(), 10).unwrap().unwrap();
    assert_eq!(end_of(&monitor.pidfd), ExitStatus::Code(0));
    assert_eq!(fds.len(), 2);
    for fd in fds {
        assert_eq!(end_of(&fd), ExitStatus::Signal(9));
    }
}
