// SPDX-License-Identifier: Apache-2.0
//! The count of the OOM killer, and its announcement.

use husk_cgroups::{Ceiling, Limits};
use rustix::event::{PollFd, Timespec, poll};

use crate::cgroup_guard::{OwnCgroup, PATIENCE};
use crate::child_guard::Shell;

#[test]
fn a_process_beyond_its_limit_is_counted_and_announced() {
    let most = Some(Ceiling::At(8 << 20));
    let limits = Limits { memory_limit_bytes: most, memory_swap_limit_bytes: most, ..Limits::default() };
    let own = OwnCgroup::new(&limits);
    // tail keeps the last line, and this one has no end.
    let mut shell = Shell::start(own.cgroup.join_paths(), "exec tail /dev/zero");
    assert_eq!(own.cgroup.oom_kills().unwrap(), Some(0));
    let watch = own.cgroup.oom_watch().unwrap().unwrap();
    let wake_ups = |timeout: &Timespec| poll(&mut [PollFd::new(&watch, watch.poll_flags())], Some(timeout)).unwrap();
    assert_eq!(wake_ups(&Timespec::default()), 0);
    shell.go();
    assert_eq!(wake_ups(&Timespec::try_from(PATIENCE).unwrap()), 1);
    shell.wait_killed();
    assert_eq!(own.cgroup.oom_kills().unwrap(), Some(1));
}

#[test]
fn a_process_in_an_inner_cgroup_is_counted() {
    let most = Some(Ceiling::At(8 << 20));
    let limits = Limits { memory_limit_bytes: most, memory_swap_limit_bytes: most, ..Limits::default() };
    let own = OwnCgroup::new(&limits);
    let inner = own.hierarchy.create(&own.path.join("inner").unwrap(), &Limits::default()).unwrap();
    let mut shell = Shell::start(inner.join_paths(), "exec tail /dev/zero");
    shell.go();
    shell.wait_killed();
    assert_eq!(own.cgroup.oom_kills().unwrap(), Some(1));
}
