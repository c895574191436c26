// SPDX-License-Identifier: Apache-2.0
//! Removal of cgroups in which something is left.

use std::fs;
use std::time::{Duration, Instant};

use husk_cgroups::{Error, Limits};

use crate::cgroup_guard::{OwnCgroup, PATIENCE, children};
use crate::child_guard::Shell;

#[test]
fn with_a_straggler() {
    let own = OwnCgroup::new(&Limits::default());
    let mut shell = Shell::echo(own.cgroup.join_paths());
    own.cgroup.remove(PATIENCE).unwrap();
    assert!(own.remaining().is_empty());
    shell.wait_killed();
    // It is gone, which is a success.
    own.cgroup.remove(Duration::ZERO).unwrap();
}

#[test]
fn with_a_straggler_on_v1_alone() {
    let own = OwnCgroup::new(&Limits::default());
    let cgroup = own.v1_only();
    let mut shell = Shell::echo(cgroup.join_paths());
    cgroup.remove(PATIENCE).unwrap();
    shell.wait_killed();
    assert!(cgroup.join_paths().v1.iter().all(|dir| !dir.exists()));
}

#[test]
fn with_cgroups_made_inside_and_a_process_in_the_deepest() {
    let own = OwnCgroup::new(&Limits::default());
    let inner = own.path.join("system.slice").unwrap().join("a.service").unwrap();
    let inner = own.hierarchy.create(&inner, &Limits::default()).unwrap();
    let mut shell = Shell::echo(inner.join_paths());
    own.cgroup.remove(PATIENCE).unwrap();
    assert!(own.remaining().is_empty());
    shell.wait_killed();
}

#[test]
fn with_a_deep_and_a_wide_tree_inside() {
    let own = OwnCgroup::new(&Limits::default());
    for top in own.dirs().into_iter().filter(|dir| dir.join("pids.max").exists() || dir.join("cgroup.kill").exists()) {
        let mut deep = top.clone();
        // Longer than PATH_MAX in all, so that it cannot be removed by path; made by steps for the same reason.
        let mut at = rustix::fs::open(&top, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
        let name = "d".repeat(200);
        for _ in 0..30 {
            rustix::fs::mkdirat(&at, &name, rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
            at = rustix::fs::openat(&at, &name, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
            deep.push(&name);
        }
        assert!(deep.as_os_str().len() > 4096);
        for number in 0..50 {
            fs::create_dir_all(top.join(format!("wide-{number}/leaf"))).unwrap();
        }
    }
    own.cgroup.kill().unwrap();
    own.cgroup.remove(PATIENCE).unwrap();
    assert!(own.remaining().is_empty());
}

#[test]
fn a_process_that_does_not_die_is_named_at_the_deadline() {
    // A v1 freezer above holds it: the kernel lets it die only after the thaw, as with a process in state D.
    let own = OwnCgroup::new(&Limits::default());
    let inner = own.hierarchy.create(&own.path.join("held").unwrap(), &Limits::default()).unwrap();
    let mut shell = Shell::echo(inner.join_paths());
    own.v1_only().freeze(PATIENCE).unwrap();
    let deadline = Duration::from_millis(100);
    let (begin, begin_cpu) = (Instant::now(), cpu_time_of_thread());
    let error = inner.remove(deadline).unwrap_err();
    assert!(begin.elapsed() >= deadline);
    // It waited, instead of asking again and again.
    assert!(cpu_time_of_thread() - begin_cpu < deadline / 8);
    match &error {
        Error::StillBusy { pids, waited, .. } => {
            assert_eq!(pids, &[shell.pid()]);
            assert_eq!(*waited, deadline);
        }
        other => panic!("{other}"),
    }
    assert!(shell.is_running());
    own.v1_only().thaw().unwrap();
    inner.remove(PATIENCE).unwrap();
    shell.wait_killed();
    assert!(own.dirs().iter().all(|dir| children(dir).is_empty()));
}

#[test]
fn one_directory_taken_away_by_somebody_else_is_no_obstacle() {
    let own = OwnCgroup::new(&Limits::default());
    for dir in own.dirs().iter().step_by(2) {
        fs::remove_dir(dir).unwrap();
    }
    own.cgroup.remove(PATIENCE).unwrap();
    assert!(own.remaining().is_empty());
}

fn cpu_time_of_thread() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).try_into().unwrap()
}
