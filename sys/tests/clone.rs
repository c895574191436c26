// SPDX-License-Identifier: Apache-2.0
//! Cloning, cleaning and executing, in a program that has a single thread.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking; clippy does not see a test without libtest")]

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use husk_sys::{
    Child, CloneFlags, Cloned, Depth, MemfdUse, MountChange, Propagation, SingleThreaded, clone3, close_all_but,
    execveat, memfd_sealed, mount_setattr, reset_signals, seqpacket, setns, unshare,
};
use rustix::io::{Errno, FdFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use rustix::process::{WaitId, WaitIdOptions};

type Case = (&'static str, fn(&SingleThreaded));

const CASES: &[Case] = &[
    ("the_exit_code_comes_back", the_exit_code_comes_back),
    ("a_child_that_panics_exits_101_and_nothing_unwinds", a_child_that_panics_exits_101_and_nothing_unwinds),
    ("a_pid_namespace_begins_with_the_child", a_pid_namespace_begins_with_the_child),
    ("a_pidfd_gives_namespaces", a_pidfd_gives_namespaces),
    ("only_kept_descriptors_stay", only_kept_descriptors_stay),
    ("signals_are_reset", signals_are_reset),
    ("a_sealed_program_runs", a_sealed_program_runs),
    ("mount_attributes_change_on_a_detached_tree", mount_attributes_change_on_a_detached_tree),
    ("no_token_with_two_threads", no_token_with_two_threads),
    ("a_failed_clone_prints_like_strace", a_failed_clone_prints_like_strace),
];

fn main() {
    let single = SingleThreaded::assert().unwrap();
    let mut failed = 0;
    for (name, case) in CASES {
        let ok = catch_unwind(AssertUnwindSafe(|| case(&single))).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        failed += usize::from(!ok);
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {} passed; {failed} failed", CASES.len() - failed);
    std::process::exit(i32::from(failed != 0));
}

/// Waits for a child and returns its exit code, or minus the signal that ended it.
fn end_of(child: &Cloned) -> i32 {
    let status = rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED).unwrap().unwrap();
    status.exit_status().unwrap_or_else(|| -status.terminating_signal().unwrap())
}

fn run(single: &SingleThreaded, flags: CloneFlags, child: impl FnOnce(&Child) -> u8) -> i32 {
    end_of(&clone3(single, flags, None, child).unwrap())
}

fn the_exit_code_comes_back(single: &SingleThreaded) {
    for code in [0, 1, 42, 255] {
        assert_eq!(run(single, CloneFlags::NONE, |_| code), i32::from(code));
    }
}

fn a_child_that_panics_exits_101_and_nothing_unwinds(single: &SingleThreaded) {
    assert_eq!(run(single, CloneFlags::NONE, |_| panic!("on purpose")), 101);
}

fn a_pid_namespace_begins_with_the_child(single: &SingleThreaded) {
    let code = run(single, CloneFlags::NEWPID, |_| u8::from(std::process::id() != 1));
    assert_eq!(code, 0);
    let parent = std::process::id();
    let code = run(single, CloneFlags::NONE, |_| u8::from(std::process::id() == parent || std::process::id() == 1));
    assert_eq!(code, 0);
}

fn a_pidfd_gives_namespaces(single: &SingleThreaded) {
    let (ours, theirs) = seqpacket::pair().unwrap();
    let holder = clone3(single, CloneFlags::NEWUTS | CloneFlags::NEWPID, None, |_| {
        rustix::system::sethostname(b"husk-holder").unwrap();
        seqpacket::send(theirs.as_fd(), b"ready", &[]).unwrap();
        // Until the parent has seen enough.
        seqpacket::receive(theirs.as_fd(), 1).map_or(1, |_| 0)
    })
    .unwrap();
    seqpacket::receive(ours.as_fd(), 10).unwrap().unwrap();

    let joined = run(single, CloneFlags::NONE, |_| {
        setns(single, holder.pidfd.as_fd(), CloneFlags::NEWUTS).unwrap();
        u8::from(rustix::system::uname().nodename().to_bytes() != b"husk-holder")
    });
    assert_eq!(joined, 0);
    let separate = run(single, CloneFlags::NONE, |_| {
        unshare(single, CloneFlags::NEWUTS).unwrap();
        rustix::system::sethostname(b"husk-other").unwrap();
        0
    });
    assert_eq!(separate, 0);
    assert_ne!(rustix::system::uname().nodename().to_bytes(), b"husk-other");

    seqpacket::send(ours.as_fd(), b"x", &[]).unwrap();
    assert_eq!(end_of(&holder), 0);
    let error = setns(single, holder.pidfd.as_fd(), CloneFlags::NEWUTS).unwrap_err();
    assert_eq!(error.errno(), Errno::SRCH, "{error}");
}

fn only_kept_descriptors_stay(single: &SingleThreaded) {
    let files: Vec<_> = (0..20).map(|_| tempfile::tempfile().unwrap()).collect();
    let code = run(single, CloneFlags::NONE, |child| {
        let keep = [files[3].as_fd(), files[17].as_fd(), files[4].as_fd(), files[3].as_fd()];
        close_all_but(child, &keep).unwrap();
        let open = |fd: BorrowedFd<'_>| rustix::io::fcntl_getfd(fd).is_ok();
        let right = files.iter().enumerate().all(|(index, file)| open(file.as_fd()) == [3, 4, 17].contains(&index));
        let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
        u8::from(!right || streams.into_iter().any(open))
    });
    assert_eq!(code, 0);
    assert!(files.iter().all(|file| rustix::io::fcntl_getfd(file) == Ok(FdFlags::CLOEXEC)));
}

fn signals_are_reset(single: &SingleThreaded) {
    // Rust ignores SIGPIPE (13); a blocked SIGCHLD (17) is what a monitor has.
    let status = |path: &str| std::fs::read_to_string(path).unwrap();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    let before = status("/proc/self/status");
    assert_ne!(field(&before, "SigIgn:") & 1 << 12, 0);
    let code = run(single, CloneFlags::NONE, |child| {
        let mut mask = nix::sys::signal::SigSet::empty();
        mask.add(nix::sys::signal::Signal::SIGCHLD);
        mask.thread_block().unwrap();
        assert_eq!(field(&status("/proc/self/status"), "SigBlk:"), 1 << 16);
        reset_signals(child).unwrap();
        let after = status("/proc/self/status");
        u8::from(["SigIgn:", "SigCgt:", "SigBlk:"].into_iter().any(|name| field(&after, name) != 0))
    });
    assert_eq!(code, 0);
}

fn a_sealed_program_runs(single: &SingleThreaded) {
    let program = memfd_sealed(c"busybox", &std::fs::read("/bin/busybox").unwrap(), MemfdUse::Program).unwrap();
    let args = ["sh", "-c", "test \"$HUSK\" = yes && exit 7"].map(|arg| CString::new(arg).unwrap());
    let code = run(single, CloneFlags::NONE, |_| {
        let error = execveat(program.as_fd(), &args, &[c"HUSK=yes"]);
        u8::try_from(error.errno().raw_os_error()).unwrap_or(1)
    });
    assert_eq!(code, 7);
    let directory = std::fs::File::open("/").unwrap();
    let error = execveat(directory.as_fd(), &args, &[c"A=b"]);
    assert_eq!(error.errno(), Errno::ACCESS, "{error}");
}

fn mount_attributes_change_on_a_detached_tree(_: &SingleThreaded) {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    rustix::mount::fsconfig_create(&context).unwrap();
    let tree = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mkdirat(&tree, "before", mode).unwrap();
    let change = MountChange { set: MountAttrFlags::MOUNT_ATTR_RDONLY, propagation: Some(Propagation::Private) };
    mount_setattr(tree.as_fd(), Depth::Mount, change).unwrap();
    assert_eq!(rustix::fs::mkdirat(&tree, "after", mode), Err(Errno::ROFS));

    let file = tempfile::tempfile().unwrap();
    let error = mount_setattr(file.as_fd(), Depth::Tree, change).unwrap_err();
    assert_eq!(error.errno(), Errno::INVAL, "{error}");
}

fn no_token_with_two_threads(_: &SingleThreaded) {
    let (send, receive) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || receive.recv().unwrap());
    assert_eq!(SingleThreaded::assert().unwrap_err().errno(), Errno::BUSY);
    send.send(()).unwrap();
    other.join().unwrap();
}

fn a_failed_clone_prints_like_strace(single: &SingleThreaded) {
    let file = tempfile::tempfile().unwrap();
    let error = clone3(single, CloneFlags::NEWPID | CloneFlags::NEWUTS, Some(file.as_fd()), |_| 0).unwrap_err();
    let number = std::os::fd::AsRawFd::as_raw_fd(&file);
    assert_eq!(
        error.to_string(),
        format!("clone3(NEWPID|NEWUTS, cgroup=Some({number})): Bad file descriptor (os error 9)")
    );
}
