// SPDX-License-Identifier: Apache-2.0
//! What the monitor does to its own process before it watches a pod.

use std::ffi::CStr;
use std::fs;
use std::os::fd::OwnedFd;

use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{DumpableBehavior, getpid, set_child_subreaper, set_dumpable_behavior, setsid};
use sys::SingleThreaded;

use crate::StartError;

/// The name of the process, also after an execution from a memory file, which would leave a number.
pub(crate) const NAME: &CStr = c"husk-monitor";

/// The argument that a re-execution passes.
pub(crate) const RESUME: &CStr = c"--resume";

/// The OOM killer takes the witness last.
const OOM_SCORE_ADJ: &str = "-999";

/// Sets up the process, and returns the evidence that it has one thread and the signals to read.
///
/// # Errors
/// When something fails without which a pod cannot be watched.
pub(crate) fn prepare() -> Result<(SingleThreaded, SigSet), StartError> {
    let failed = |what| move |errno| StartError::Process { what, errno };
    // Everything is blocked: nobody ends the monitor by a signal but SIGKILL, a write beyond a size limit is an error
    // and not SIGXFSZ, and SIGCHLD is read from a descriptor.
    SigSet::all()
        .thread_set_mask()
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))
        .map_err(failed("block signals"))?;
    set_child_subreaper(Some(getpid())).map_err(failed("become the subreaper"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("become undumpable"))?;
    rustix::thread::set_name(NAME).map_err(failed("take its name"))?;
    // EPERM: it leads its session already.
    setsid().ok();
    // EACCES: without CAP_SYS_RESOURCE the score stays as it is (design.md §5).
    fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ).ok();
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    let thread = SingleThreaded::assert().map_err(StartError::Threads)?;
    Ok((thread, signals))
}

/// Closes every descriptor but the standard ones: what the daemon let slip must not stay open as long as the pod.
/// Called before anything of this program is open.
pub(crate) fn close_inherited() -> Result<(), StartError> {
    let failed = |error: std::io::Error| StartError::Process {
        what: "list its descriptors",
        errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
    };
    let mut numbers = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()).filter(|&number| number > 2));
    }
    for number in numbers {
        // EBADF: the descriptor of the list itself, which is closed already.
        nix::unistd::close(number).ok();
    }
    Ok(())
}

/// Takes the listening socket from standard input, where the daemon put it, and leaves `/dev/null` there.
pub(crate) fn take_listener() -> Result<OwnedFd, StartError> {
    let failed = |errno| StartError::Process { what: "take the listening socket from descriptor 0", errno };
    let listener = fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map_err(failed)?;
    rustix::net::sockopt::socket_acceptconn(&listener)
        .and_then(|listens| if listens { Ok(()) } else { Err(Errno::INVAL) })
        .map_err(failed)?;
    rustix::io::ioctl_fionbio(&listener, true).map_err(failed)?;
    let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    rustix::stdio::dup2_stdin(&null).map_err(failed)?;
    Ok(listener)
}
