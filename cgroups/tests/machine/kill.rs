// SPDX-License-Identifier: Apache-2.0
//! Kills in each hierarchy alone and in all together.

use std::time::Instant;

use husk_cgroups::{Ceiling, JoinPaths, Limits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cgroup_guard::{OwnCgroup, PATIENCE};
use crate::child_guard::Shell;

/// Joins `paths`, kills the whole cgroup, and looks before and after.
fn check(own: &OwnCgroup, paths: &JoinPaths) {
    let mut shell = Shell::echo(paths);
    shell.go();
    shell.send("ready");
    assert_eq!(shell.line(), "ready");
    assert!(own.cgroup.populated().unwrap());
    assert_eq!(own.cgroup.pids().unwrap(), [shell.pid()]);
    own.cgroup.kill().unwrap();
    shell.wait_killed();
    assert!(!own.cgroup.populated().unwrap());
    assert!(own.cgroup.pids().unwrap().is_empty());
    // Nobody is left: a success.
    own.cgroup.kill().unwrap();
}

#[test]
fn joined_everywhere() {
    let own = OwnCgroup::new(&Limits::default());
    check(&own, own.cgroup.join_paths());
}

#[test]
fn joined_in_the_unified_hierarchy_only() {
    let own = OwnCgroup::new(&Limits::default());
    let unified = own.cgroup.join_paths().unified.clone();
    assert!(unified.is_some(), "this machine has no unified hierarchy");
    check(&own, &JoinPaths { unified, v1: vec![] });
}

#[test]
fn joined_in_one_v1_hierarchy_only() {
    let own = OwnCgroup::new(&Limits::default());
    for dir in &own.v1_only().join_paths().v1 {
        check(&own, &JoinPaths { unified: None, v1: vec![dir.clone()] });
    }
}

#[test]
fn forking_processes_do_not_get_away() {
    let limits = Limits { pids_limit: Some(Ceiling::At(60)), ..Limits::default() };
    for v1_only in [false, true] {
        let own = OwnCgroup::new(&limits);
        let cgroup = if v1_only { own.v1_only() } else { own.cgroup.clone() };
        // At the limit a fork fails, and the shell begins again: whatever is killed is replaced at once.
        let fork = "while :; do (while :; do (:; sleep 100) & done) 2>/dev/null; echo full; done";
        let mut shell = Shell::start(cgroup.join_paths(), fork);
        shell.go();
        assert_eq!(shell.line(), "full");
        assert!(cgroup.pids().unwrap().len() > 50);
        cgroup.kill().unwrap();
        // Every one of them has the pipe, so its end is theirs.
        let begin = Instant::now();
        while !shell.line().is_empty() {
            assert!(begin.elapsed() < PATIENCE, "somebody got away");
        }
        shell.wait_killed();
        cgroup.remove(PATIENCE).unwrap();
    }
}

#[test]
fn one_exec_is_killed_without_the_others() {
    let own = OwnCgroup::new(&Limits::default());
    let exec = own.cgroup.child("exec-1").unwrap();
    assert_eq!(own.cgroup.child("exec-1").unwrap(), exec);
    let mut main = Shell::echo(own.cgroup.join_paths());
    let mut other = Shell::echo(own.cgroup.join_paths());
    other.move_to(exec.join_paths().unified.as_deref().unwrap());
    let mut both = vec![main.pid(), other.pid()];
    both.sort_by_key(|pid| pid.as_raw_nonzero());
    assert_eq!(own.cgroup.pids().unwrap(), both);
    assert_eq!(exec.pids().unwrap(), [other.pid()]);
    exec.kill().unwrap();
    other.wait_killed();
    main.go();
    main.send("alive");
    assert_eq!(main.line(), "alive");
    exec.remove(PATIENCE).unwrap();
    assert!(own.cgroup.child("../x").is_err());
    assert!(own.v1_only().child("exec-1").is_err());
}

#[test]
fn the_end_of_the_last_process_is_an_event() {
    let own = OwnCgroup::new(&Limits::default());
    let mut shell = Shell::echo(own.cgroup.join_paths());
    let events = own.cgroup.events_fd().unwrap().unwrap();
    assert!(events.read().unwrap().unwrap().populated);
    let wake_ups = |timeout: &Timespec| poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(timeout)).unwrap();
    assert_eq!(wake_ups(&Timespec::default()), 0);
    own.cgroup.kill().unwrap();
    assert_eq!(wake_ups(&Timespec::try_from(PATIENCE).unwrap()), 1);
    assert!(!events.read().unwrap().unwrap().populated);
    shell.wait_killed();
    own.cgroup.remove(PATIENCE).unwrap();
    assert_eq!(events.read().unwrap(), None);
}
