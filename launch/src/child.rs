// SPDX-License-Identifier: Apache-2.0
//! What every child does first: get rid of what is its parent's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use sys::Child;
use wire::{CgroupJoin, Failure, FailureKind};

use crate::channel::Reporter;
use crate::failure::{Because, Named, Result, from_errno};

/// The first descriptor that is no standard stream.
const FIRST_FREE: i32 = 3;

/// What becomes descriptors 0, 1 and 2.
#[derive(Debug)]
pub(crate) enum Streams {
    /// The host's `/dev/null` for all three, for now or for good.
    Null,
    /// These.
    Given {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
}

/// A copy of `fd` that no standard stream will be put on.
pub(crate) fn above_streams(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, FIRST_FREE).because(|| "fcntl(F_DUPFD_CLOEXEC)".to_owned())
}

/// Gives the child its standard streams and closes every other descriptor but the reporter's and copies of `keep`,
/// which it returns; resets signals and umask, and makes the child unreadable for those it will live among.
///
/// The copies have no owner that could be dropped: what executes the program closes everything once more, and an owner
/// that closed its number after that would abort.
///
/// This comes first because everything later may hang in a dead volume, and a child in that state must not hold the
/// pipes of another container open.
pub(crate) fn settle(
    child: &Child,
    reporter: &Reporter,
    streams: &Streams,
    keep: &[BorrowedFd<'_>],
) -> Result<Vec<BorrowedFd<'static>>> {
    let kept = keep.iter().map(|fd| above_streams(*fd).map(leak)).collect::<Result<Vec<_>>>()?;
    put_streams(streams)?;
    let mut open = vec![rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr(), reporter.fd()];
    open.extend(&kept);
    sys::close_all_but(child, &open).or_fail()?;
    sys::reset_signals(child).or_fail()?;
    // CVE-2016-9962: nothing in the pod may look into this process before it is one of them.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .because(|| "prctl(PR_SET_DUMPABLE, 0)".to_owned())?;
    rustix::process::umask(Mode::empty());
    Ok(kept)
}

/// The child ends by exec or exit: what it leaks lives just as long as it.
pub(crate) fn leak(fd: OwnedFd) -> BorrowedFd<'static> {
    let fd: &'static OwnedFd = Box::leak(Box::new(fd));
    fd.as_fd()
}

fn put_streams(streams: &Streams) -> Result<()> {
    match streams {
        Streams::Null => {
            let null = rustix::fs::openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                .because(|| "open(/dev/null)".to_owned())?;
            let null = above_streams(null.as_fd())?;
            put_on_streams([null.as_fd(); 3])
        }
        Streams::Given { stdin, stdout, stderr } => {
            // Copies first: one of them might have the number that another one shall get.
            let [stdin, stdout, stderr] = [stdin, stdout, stderr].map(|fd| above_streams(fd.as_fd()));
            put_on_streams([stdin?.as_fd(), stdout?.as_fd(), stderr?.as_fd()])
        }
    }
}

/// Makes the three descriptors 0, 1 and 2.
pub(crate) fn put_on_streams([stdin, stdout, stderr]: [BorrowedFd<'_>; 3]) -> Result<()> {
    rustix::stdio::dup2_stdin(stdin)
        .and_then(|()| rustix::stdio::dup2_stdout(stdout))
        .and_then(|()| rustix::stdio::dup2_stderr(stderr))
        .because(|| "dup2 onto the standard streams".to_owned())
}

/// Joins the version 1 cgroups; the unified one was joined by the clone.
pub(crate) fn join_cgroups(cgroup: &CgroupJoin) -> Result<()> {
    cgroups::join_v1(&cgroup.v1).map_err(|error| Failure {
        kind: FailureKind::Launch,
        step: Some("join the cgroup".to_owned()),
        errno: None,
        detail: Some(error.to_string()),
    })
}

/// Sets `oom_score_adj` through the host's procfs, which no container can have tampered with. A value that may not be
/// set (a lower one, without CAP_SYS_RESOURCE) leaves what was inherited.
pub(crate) fn set_oom_score_adj(value: i32) -> Result<()> {
    write_oom_score_adj(value).step(|| format!("set oom_score_adj {value}"))
}

fn write_oom_score_adj(value: i32) -> Result<()> {
    let path = "/proc/self/oom_score_adj";
    let file = rustix::fs::openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .because(|| format!("open({path})"))?;
    match rustix::io::write(&file, value.to_string().as_bytes()) {
        Ok(_) | Err(Errno::ACCESS) => Ok(()),
        Err(errno) => Err(from_errno(errno, Some(format!("write({path})")))),
    }
}
