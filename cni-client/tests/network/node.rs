// SPDX-License-Identifier: Apache-2.0
//! A node of the test's own: a thread in its own mount and network namespaces, with an empty /run and
//! a single-threaded runtime. Programs that it starts inherit the namespaces, so the bridge plugin sets
//! `ip_forward` there and not on the machine. All ends with the thread, also when the test fails.

use std::fs;
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Runs a test's body in a node of its own.
pub(crate) fn in_node<F: Future<Output = ()>>(body: impl FnOnce() -> F + Send) {
    thread::scope(|scope| {
        let node = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("these tests need root (CAP_SYS_ADMIN)");
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            mount(Some("node"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
            run("ip", &["link", "set", "lo", "up"]);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(body());
        });
        if let Err(panic) = node.join() {
            resume_unwind(panic);
        }
    });
}

/// Runs a program in the namespaces of this thread and gives what it prints.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A sysctl of the network namespace that this thread is in.
pub(crate) fn sysctl(name: &str) -> String {
    let path = format!("/proc/sys/net/{name}");
    fs::read_to_string(path).unwrap().trim().to_owned()
}
