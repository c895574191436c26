// SPDX-License-Identifier: Apache-2.0
//! A thread with a mount and a network namespace of its own, with an empty /run: what a test does
//! there ends with it, also when it fails.

use std::fs;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::Command;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Runs a test's body in a node of its own.
pub(crate) fn in_node(body: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let node = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("these tests need root (CAP_SYS_ADMIN)");
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            mount(Some("node"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
            body();
        });
        if let Err(panic) = node.join() {
            resume_unwind(panic);
        }
    });
}

/// Runs a program in the namespaces of this thread.
pub(crate) fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

/// How many mounts this thread's mount namespace has at exactly this path.
pub(crate) fn mounts_at(path: &Path) -> usize {
    fs::read_to_string("/proc/thread-self/mountinfo")
        .unwrap()
        .lines()
        .filter(|line| line.split(' ').nth(4) == path.to_str())
        .count()
}
