// SPDX-License-Identifier: Apache-2.0
//! Terminals.

use std::os::fd::{AsFd, OwnedFd};

use husk_launch::{ExecJob, Report, StartJob, Stdio};
use rustix::io::Errno;
use wire::{ExitStatus, PidNamespace};

use crate::Case;
use crate::container::{Container, process, sh};
use crate::world::{OwnedChild, Pod, World, collect, end_of, wait_readable};

pub(crate) const CASES: &[Case] = &[
    ("a_container_on_a_terminal", a_container_on_a_terminal),
    ("an_exec_on_a_terminal", an_exec_on_a_terminal),
    ("a_false_devpts_is_refused", a_false_devpts_is_refused),
    ("streams_and_process_must_agree", streams_and_process_must_agree),
];

const SCRIPT: &str = "tty; test -t 0 && test -t 1 && test -t 2 && echo all; echo ctty > /dev/tty; \
    stat -c '%F %t %u:%g:%a' /dev/console; ls -1 /proc/$$/fd; stat -c %a /dev/pts/0";

/// Reads from the master until the other side is closed, which a terminal says with EIO.
fn read_all(master: &OwnedFd) -> String {
    let mut text = Vec::new();
    loop {
        let mut buffer = [0; 1024];
        match rustix::io::read(master, &mut buffer) {
            Ok(0) | Err(Errno::IO) => return String::from_utf8(text).unwrap().replace('\r', ""),
            Ok(count) => text.extend_from_slice(&buffer[..count]),
            Err(Errno::AGAIN) => wait_readable(master.as_fd()),
            Err(errno) => panic!("{errno}"),
        }
    }
}

fn console(reports: Vec<Report>) -> OwnedFd {
    let text = format!("{reports:?}");
    reports
        .into_iter()
        .find_map(|report| match report {
            Report::Console(master) => Some(master),
            _ => None,
        })
        .unwrap_or_else(|| panic!("{text}"))
}

fn a_container_on_a_terminal(world: &World) {
    let pod = Pod::new(world);
    let container = Container::new(&pod, SCRIPT).process(|process| {
        process.terminal = true;
        process.uid = 1000;
    });
    let job = StartJob {
        plan: &container.plan,
        cgroup: &container.cgroup,
        pid_namespace: PidNamespace::Own,
        stdio: Stdio::Terminal,
        log: None,
        pause: pod.pidfd.as_fd(),
    };
    let (child, reports) = collect(husk_launch::start(&world.single, job).unwrap());
    assert!(matches!(reports.last(), Some(Report::Ready)), "{reports:?}");
    let text = read_all(&console(reports));
    assert_eq!(text, "/dev/pts/0\nall\nctty\ncharacter special file 88 1000:5:620\n0\n1\n2\n620\n");
    assert_eq!(end_of(&child.pidfd), ExitStatus::Code(0));
}

fn exec_on_terminal(container: &Container<'_, '_>, init: &OwnedFd, script: &str) -> (OwnedChild, Vec<Report>) {
    let process = wire::Process { terminal: true, args: sh(script), ..process("") };
    let job = ExecJob {
        process: &process,
        cgroup: &container.cgroup,
        pid_namespace: PidNamespace::Own,
        init: init.as_fd(),
        stdio: Stdio::Terminal,
    };
    collect(husk_launch::exec(&container.pod.world.single, job).unwrap())
}

fn an_exec_on_a_terminal(world: &World) {
    let pod = Pod::new(world);
    let container = Container::new(&pod, "echo up; sleep 1000");
    let mut init = container.start();
    init.wait_for("up");
    let (child, reports) = exec_on_terminal(&container, &init.pidfd, "tty; echo ctty > /dev/tty");
    assert_eq!(read_all(&console(reports)), "/dev/pts/0\nctty\n");
    assert_eq!(end_of(&child.pidfd), ExitStatus::Code(0));
    init.kill();
}

/// CVE-2025-52565: the container put something else where the terminals were.
fn a_false_devpts_is_refused(world: &World) {
    let pod = Pod::new(world);
    let mut container = Container::new(&pod, "mkdir /dev/pts; ln -s /proc/sys /dev/pts/ptmx; echo up; sleep 1000");
    // Without the devices' step the container has a /dev of its own making.
    container
        .plan
        .steps
        .retain(|step| !matches!(step, wire::Step::Dev { .. } | wire::Step::Shm { .. } | wire::Step::Mqueue { .. }));
    std::fs::create_dir(container.upper.join("dev")).unwrap();
    let mut init = container.start();
    init.wait_for("up");
    let (child, reports) = exec_on_terminal(&container, &init.pidfd, "tty");
    let failure = crate::world::failure_of(reports);
    assert_eq!(failure.to_string(), "open a terminal: /dev/pts is no devpts file system");
    assert_eq!(end_of(&child.pidfd), ExitStatus::Code(1));
    init.kill();
}

fn streams_and_process_must_agree(world: &World) {
    let pod = Pod::new(world);
    let container = Container::new(&pod, "true");
    let job = StartJob {
        plan: &container.plan,
        cgroup: &container.cgroup,
        pid_namespace: PidNamespace::Own,
        stdio: Stdio::Terminal,
        log: None,
        pause: pod.pidfd.as_fd(),
    };
    assert_eq!(husk_launch::start(&world.single, job).unwrap_err().kind, wire::FailureKind::Internal);
}
