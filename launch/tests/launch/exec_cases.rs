// SPDX-License-Identifier: Apache-2.0
//! Exec: the same world and the same identity as the container's main process.

use std::fs;

use wire::{ExitStatus, FailureKind, PidNamespace};

use crate::Case;
use crate::container::Container;
use crate::world::{Pod, World};

pub(crate) const CASES: &[Case] = &[
    ("an_exec_is_where_the_container_is", an_exec_is_where_the_container_is),
    ("an_exec_is_who_the_container_is", an_exec_is_who_the_container_is),
    ("an_exec_is_explained_like_a_start", an_exec_is_explained_like_a_start),
    ("no_exec_in_a_container_that_has_ended", no_exec_in_a_container_that_has_ended),
];

fn an_exec_is_where_the_container_is(world: &World) {
    let pod = Pod::new(world);
    for pids in [PidNamespace::Own, PidNamespace::Pod, PidNamespace::Host] {
        let container = Container::new(&pod, "echo mark > /tmp/mark; echo up; sleep 1000").pids(pids);
        let mut init = container.start();
        init.wait_for("up");
        let namespaces = ["mnt", "net", "ipc", "uts", "pid", "cgroup", "user"];
        let script =
            format!("cat /tmp/mark; for name in {}; do readlink /proc/self/ns/$name; done", namespaces.join(" "));
        let text = container.exec(&init, &script).text();
        let expected: Vec<_> = namespaces
            .iter()
            .map(|name| {
                fs::read_link(format!("/proc/{}/ns/{name}", init.pid)).unwrap().into_os_string().into_string().unwrap()
            })
            .collect();
        assert_eq!(text, format!("mark\n{}\n", expected.join("\n")), "{pids:?}");
        let script = "ls /proc/$$/fd; hostname; pwd; cat /proc/self/cgroup | cut -d: -f3 | sort -u";
        assert_eq!(container.exec(&init, script).text(), "0\n1\n2\ntest-pod\n/\n/\n", "{pids:?}");
        let outcome = init.kill();
        assert_eq!(outcome.status, ExitStatus::Signal(9));
    }
}

fn an_exec_is_who_the_container_is(world: &World) {
    let pod = Pod::new(world);
    let script = "cat /proc/self/status /proc/self/limits /proc/self/oom_score_adj; echo $PATH; pwd";
    for uid in [0, 1000] {
        let container = Container::new(&pod, &format!("{script}; echo up; sleep 1000")).process(|process| {
            process.uid = uid;
            process.groups = vec![0, 44];
            process.no_new_privs = uid != 0;
            process.oom_score_adj = Some(777);
            process.cwd = "/home".to_owned();
            process.rlimits = vec![wire::Rlimit { resource: 7, soft: 64, hard: 64 }];
        });
        let mut init = container.start();
        let started = read_until_up(&mut init.stdout);
        let executed = container.exec(&init, script).text();
        init.kill();
        assert_eq!(facts(&started), facts(&executed));
        assert!(facts(&started).len() > 40, "{started}");
    }
}

fn read_until_up(stdout: &mut fs::File) -> String {
    use std::io::{BufRead, BufReader};
    let mut text = String::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.unwrap();
        if line == "up" {
            return text;
        }
        text.push_str(&line);
        text.push('\n');
    }
    panic!("output ended: {text}");
}

/// Everything but numbers that belong to the one process or the moment.
fn facts(text: &str) -> Vec<&str> {
    let moving = [
        "Tgid:",
        "Pid:",
        "PPid:",
        "Ngid:",
        "NS",
        "Vm",
        "Rss",
        "voluntary",
        "nonvoluntary",
        "Hugetlb",
        "State:",
        "SigQ:",
    ];
    text.lines().filter(|line| !moving.iter().any(|prefix| line.starts_with(prefix))).collect()
}

fn an_exec_is_explained_like_a_start(world: &World) {
    let pod = Pod::new(world);
    let container = Container::new(&pod, "echo up; sleep 1000");
    let mut init = container.start();
    init.wait_for("up");
    let mut process = container.plan.process.clone();
    process.args = vec!["/no/such".to_owned()];
    let failure = container.exec_process(&init, &process).finish().failure();
    assert_eq!(failure.kind, FailureKind::ProgramMissing, "{failure}");
    process.cwd = "/proc/1/cwd".to_owned();
    let failure = container.exec_process(&init, &process).finish().failure();
    assert!(failure.to_string().contains("magic link"), "{failure}");
    let outcome = container.exec(&init, "exit 3");
    assert_eq!(outcome.status, ExitStatus::Code(3));
    init.kill();
}

fn no_exec_in_a_container_that_has_ended(world: &World) {
    let pod = Pod::new(world);
    for pids in [PidNamespace::Own, PidNamespace::Host] {
        let container = Container::new(&pod, "true").pids(pids);
        let init = container.start();
        crate::world::wait_readable(std::os::fd::AsFd::as_fd(&init.pidfd));
        // Dead, not yet collected; then collected.
        for _ in 0..2 {
            let job = husk_launch::ExecJob {
                process: &container.plan.process,
                cgroup: &container.cgroup,
                pid_namespace: pids,
                init: std::os::fd::AsFd::as_fd(&init.pidfd),
                stdio: streams(),
            };
            let failure = match husk_launch::exec(&world.single, job) {
                Err(failure) => failure,
                Ok(launched) => {
                    let (child, reports) = crate::world::collect(launched);
                    assert_eq!(crate::world::end_of(&child.pidfd), ExitStatus::Code(1));
                    crate::world::failure_of(reports)
                }
            };
            assert_eq!(failure.kind, FailureKind::WrongState, "{pids:?}: {failure}");
            assert!(failure.to_string().contains("the container has just ended"), "{failure}");
            let _ = rustix::process::waitid(
                rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&init.pidfd)),
                rustix::process::WaitIdOptions::EXITED,
            );
        }
    }
}

fn streams() -> husk_launch::Stdio {
    let null = || fs::File::options().read(true).write(true).open("/dev/null").unwrap().into();
    husk_launch::Stdio::Pipes { stdin: null(), stdout: null(), stderr: null() }
}
