// SPDX-License-Identifier: Apache-2.0
//! Freezing through the unified hierarchy and through the v1 freezer.

use std::fs;
use std::time::Duration;

use husk_cgroups::{Cgroup, Error, Kind, Limits};

use crate::cgroup_guard::{OwnCgroup, PATIENCE};
use crate::child_guard::Shell;

fn check(own: &OwnCgroup, cgroup: &Cgroup, file: &str, key: &str) {
    let frozen = || own.read(file).contains(key);
    let mut shell = Shell::echo(cgroup.join_paths());
    shell.go();
    assert!(!frozen());
    for _ in 0..2 {
        cgroup.freeze(PATIENCE).unwrap();
        assert!(frozen());
    }
    shell.send("hello");
    for _ in 0..2 {
        cgroup.thaw().unwrap();
        assert!(!frozen());
    }
    assert_eq!(shell.line(), "hello");
    // A frozen process can be killed, and its cgroup removed.
    cgroup.freeze(PATIENCE).unwrap();
    cgroup.kill().unwrap();
    shell.wait_killed();
    cgroup.remove(PATIENCE).unwrap();
}

#[test]
fn unified() {
    let own = OwnCgroup::new(&Limits::default());
    check(&own, &own.cgroup, "cgroup.events", "frozen 1");
}

#[test]
fn v1() {
    let own = OwnCgroup::new(&Limits::default());
    check(&own, &own.v1_only(), "freezer.state", "FROZEN");
}

#[test]
fn a_cgroup_frozen_through_v1_is_killed_beside_a_unified_one() {
    let own = OwnCgroup::new(&Limits::default());
    let mut shell = Shell::echo(own.cgroup.join_paths());
    own.v1_only().freeze(PATIENCE).unwrap();
    own.cgroup.kill().unwrap();
    shell.wait_killed();
    assert_eq!(own.read("freezer.state"), "THAWED");
}

#[test]
fn what_does_not_freeze_in_time_is_thawed_again() {
    // Held by a v1 freezer above, the process can't reach the place where the unified freezer would stop it.
    let own = OwnCgroup::new(&Limits::default());
    let inner = own.hierarchy.create(&own.path.join("held").unwrap(), &Limits::default()).unwrap();
    let mut shell = Shell::echo(inner.join_paths());
    shell.go();
    own.v1_only().freeze(PATIENCE).unwrap();
    let deadline = Duration::from_millis(20);
    let error = inner.freeze(deadline).unwrap_err();
    assert!(matches!(error, Error::NotFrozen { waited, .. } if waited == deadline), "{error}");
    assert_eq!(error.kind(), Kind::Timeout);
    let freeze = inner.join_paths().unified.as_deref().unwrap().join("cgroup.freeze");
    assert_eq!(fs::read_to_string(freeze).unwrap(), "0\n");
    own.v1_only().thaw().unwrap();
    shell.send("alive");
    assert_eq!(shell.line(), "alive");
}
