// SPDX-License-Identifier: Apache-2.0
//! `clone3(2)`: a child in its cgroup and namespaces from its first instruction on, known by pidfd.

use std::fmt;
use std::marker::PhantomData;
use std::ops::BitOr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::error::{Error, Result};
use crate::exec::exit_now;
use crate::single_threaded::SingleThreaded;

/// Exit code of a child that panicked before it became another program; the number that Rust uses for its own.
const EXIT_PANICKED: u8 = 101;

/// `CLONE_INTO_CGROUP` of `linux/sched.h`; the libc crate has it with a type that is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Namespaces to make, to join or to leave.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CloneFlags(i32);

impl CloneFlags {
    /// No namespace.
    pub const NONE: Self = Self(0);
    /// `CLONE_NEWPID`.
    pub const NEWPID: Self = Self(libc::CLONE_NEWPID);
    /// `CLONE_NEWNS`.
    pub const NEWNS: Self = Self(libc::CLONE_NEWNS);
    /// `CLONE_NEWIPC`.
    pub const NEWIPC: Self = Self(libc::CLONE_NEWIPC);
    /// `CLONE_NEWUTS`.
    pub const NEWUTS: Self = Self(libc::CLONE_NEWUTS);
    /// `CLONE_NEWNET`.
    pub const NEWNET: Self = Self(libc::CLONE_NEWNET);
    /// `CLONE_NEWCGROUP`.
    pub const NEWCGROUP: Self = Self(libc::CLONE_NEWCGROUP);

    /// These flags and, when `condition` holds, `other` too.
    #[must_use]
    pub fn with_if(self, condition: bool, other: Self) -> Self {
        if condition { self | other } else { self }
    }

    pub(crate) fn bits(self) -> i32 {
        self.0
    }
}

impl BitOr for CloneFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for CloneFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::NEWPID, "NEWPID"),
            (Self::NEWNS, "NEWNS"),
            (Self::NEWIPC, "NEWIPC"),
            (Self::NEWUTS, "NEWUTS"),
            (Self::NEWNET, "NEWNET"),
            (Self::NEWCGROUP, "NEWCGROUP"),
        ];
        let mut separator = "";
        for (flag, name) in names {
            if self.0 & flag.0 != 0 {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        if separator.is_empty() { f.write_str("0") } else { Ok(()) }
    }
}

/// Evidence that this code runs in a child of [`clone3`] that will never return to what its parent was doing.
#[derive(Debug)]
pub struct Child {
    _stays_in_the_child: PhantomData<*const ()>,
}

/// A child, as its parent sees it.
#[derive(Debug)]
pub struct Cloned {
    /// Its process id in the parent's pid namespace.
    pub pid: u32,
    /// Its pidfd, close-on-exec.
    pub pidfd: OwnedFd,
}

/// The layout that `linux/sched.h` gives to `struct clone_args`, version 2.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes a child with `SIGCHLD` as its exit signal and runs `child` in it, which usually executes a program and
/// otherwise returns the child's exit code. The parent gets pid and pidfd.
///
/// `into_cgroup` is a directory of the version 2 hierarchy (`CLONE_INTO_CGROUP`). A child that panics exits with 101
/// without unwinding. Nothing that the parent owns is dropped in the child.
///
/// # Errors
/// What `clone3(2)` lists; `EAGAIN` also stands for the pids limit of the cgroup.
pub fn clone3(
    _: &SingleThreaded,
    flags: CloneFlags,
    into_cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce(&Child) -> u8,
) -> Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    let into = if into_cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 };
    let args = CloneArgs {
        flags: flags.bits() as u64 | libc::CLONE_PIDFD as u64 | into,
        pidfd: (&raw mut pidfd).addr() as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: into_cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..CloneArgs::default()
    };
    // Rust must see that the kernel may write there through the integer above.
    (&raw mut pidfd).expose_provenance();
    // SAFETY: `args` is a complete clone_args whose size is passed beside it; the kernel only reads it, and writes one
    // c_int to `pidfd`, which lives on this frame until the call has returned in the parent. Without CLONE_VM the child
    // has a copy of the whole memory, this stack too, so returning twice is what fork does. The token witnesses that no
    // other thread exists whose locks would be copied in a locked state.
    // JUSTIFICATION: neither nix nor rustix has clone3, and fork can't join a cgroup or return a pidfd atomically.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match u32::try_from(pid) {
        Ok(0) => run_child(child),
        Ok(pid) => {
            // SAFETY: clone3 succeeded with CLONE_PIDFD, so the kernel has stored a fresh descriptor that nothing else
            // owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned { pid, pidfd })
        }
        Err(_) => Err(Error::last(format!("clone3({flags:?}, cgroup={:?})", into_cgroup.map(|fd| fd.as_raw_fd())))),
    }
}

/// The C library still believes that it has the parent's thread id, and musl's `abort` sends SIGABRT to that id: a panic
/// must never get as far as to abort, so the hook ends the process.
fn run_child(child: impl FnOnce(&Child) -> u8) -> ! {
    std::panic::set_hook(Box::new(|_| exit_now(EXIT_PANICKED)));
    exit_now(child(&Child { _stays_in_the_child: PhantomData }))
}
