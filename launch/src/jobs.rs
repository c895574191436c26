// SPDX-License-Identifier: Apache-2.0
//! The four things that a monitor launches.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::PidfdFlags;
use sys::{Child, CloneFlags, Cloned, SingleThreaded, seqpacket};
use wire::{CgroupJoin, Failure, FailureKind, Log, OpenSandbox, PidNamespace, Plan, Process};

use crate::channel::{Reporter, StartChannel};
use crate::child::{self, Streams};
use crate::failure::{Because, Named, Result, from_errno};
use crate::log_file;
use crate::process::{self, terminal};
use crate::steps::Builder;
use crate::template;

/// A child on its way to become a program.
#[derive(Debug)]
pub struct Launched {
    /// Its process id in the monitor's pid namespace.
    pub pid: u32,
    /// Its pidfd, close-on-exec.
    pub pidfd: OwnedFd,
    /// What it reports.
    pub channel: StartChannel,
}

/// The standard streams of a process.
#[derive(Debug)]
pub enum Stdio {
    /// The child's ends. The monitor's copies are closed when the child has been made, or could not be.
    Pipes {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A terminal of the container's own devpts; its master comes as [`crate::Report::Console`], non-blocking. Must go
    /// with `terminal` of the process.
    Terminal,
}

/// How to start a container's main process.
#[derive(Debug)]
pub struct StartJob<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// The container's cgroup.
    pub cgroup: &'a CgroupJoin,
    /// Its pid namespace.
    pub pid_namespace: PidNamespace,
    /// Its standard streams.
    pub stdio: Stdio,
    /// Its log, opened by the child and sent as [`crate::Report::Log`].
    pub log: Option<&'a Log>,
    /// The pidfd of the pod's pause.
    pub pause: BorrowedFd<'a>,
}

/// How to run a further program in a container.
#[derive(Debug)]
pub struct ExecJob<'a> {
    /// What to run.
    pub process: &'a Process,
    /// The container's cgroup; `unified` may be a child of it.
    pub cgroup: &'a CgroupJoin,
    /// The container's pid namespace.
    pub pid_namespace: PidNamespace,
    /// The pidfd of the container's main process.
    pub init: BorrowedFd<'a>,
    /// Its standard streams.
    pub stdio: Stdio,
}

/// How to start pause.
#[derive(Debug)]
pub struct PauseJob<'a> {
    /// The program of pause, as an open file that can be executed.
    pub program: BorrowedFd<'a>,
    /// The pod's network namespace; `None` for the host's.
    pub netns: Option<BorrowedFd<'a>>,
    /// The rest.
    pub spec: &'a OpenSandbox,
}

/// Starts a container's main process: executes the plan in a child.
///
/// # Errors
/// When no child could be made: `Exhausted`, `WrongState` when pause has ended, otherwise `Launch` or `Internal`. What
/// the child itself fails with comes as [`crate::Report::Failed`].
pub fn start(single: &SingleThreaded, job: StartJob<'_>) -> Result<Launched> {
    let pids = match job.pid_namespace {
        PidNamespace::Own => Pids::New,
        PidNamespace::Pod => Pids::Of(job.pause),
        PidNamespace::Host => Pids::Ours,
    };
    let streams = streams(job.stdio, job.plan.process.terminal)?;
    let clone = Clone { namespaces: CloneFlags::NONE, pids, cgroup: job.cgroup };
    launch(single, clone, |child, reporter| {
        let kept = child::settle(child, reporter, &streams, &[job.pause])?;
        child::join_cgroups(job.cgroup)?;
        if let Some(value) = job.plan.process.oom_score_adj {
            child::set_oom_score_adj(value)?;
        }
        if let Some(log) = job.log {
            reporter.log(log_file::open(log)?.as_fd())?;
        }
        let terminal = Builder::new(single, reporter, kept[0]).run(job.plan)?;
        reporter.progress(job.plan.steps.len())?;
        process::become_program(child, reporter, &job.plan.process, terminal)
    })
}

/// Runs a further program in a container: joins the namespaces of its main process, then becomes the process by the
/// same code as [`start`].
///
/// # Errors
/// As [`start`]; `WrongState` when the container's main process has ended, also from the child.
pub fn exec(single: &SingleThreaded, job: ExecJob<'_>) -> Result<Launched> {
    let pids = match job.pid_namespace {
        PidNamespace::Own | PidNamespace::Pod => Pids::Of(job.init),
        PidNamespace::Host => Pids::Ours,
    };
    let streams = streams(job.stdio, job.process.terminal)?;
    let clone = Clone { namespaces: CloneFlags::NONE, pids, cgroup: job.cgroup };
    launch(single, clone, |child, reporter| {
        let kept = child::settle(child, reporter, &streams, &[job.init])?;
        child::join_cgroups(job.cgroup)?;
        if let Some(value) = job.process.oom_score_adj {
            child::set_oom_score_adj(value)?;
        }
        let all =
            CloneFlags::NEWNS | CloneFlags::NEWNET | CloneFlags::NEWIPC | CloneFlags::NEWUTS | CloneFlags::NEWCGROUP;
        sys::setns(single, kept[0], all)
            .or_fail()
            .map_err(ended)
            .step(|| "enter the container's namespaces".to_owned())?;
        reporter.progress(0)?;
        let terminal = if job.process.terminal { Some(terminal::open_in_container(reporter)?) } else { None };
        process::become_program(child, reporter, job.process, terminal)
    })
}

/// Starts pause: makes the pod's namespaces and its template, then executes the program without any right.
///
/// # Errors
/// As [`start`].
pub fn pause(single: &SingleThreaded, job: PauseJob<'_>) -> Result<Launched> {
    let namespaces = (CloneFlags::NEWPID | CloneFlags::NEWNS)
        .with_if(job.spec.own_ipc, CloneFlags::NEWIPC)
        .with_if(job.spec.hostname.is_some(), CloneFlags::NEWUTS);
    if job.spec.own_network != job.netns.is_some() {
        return Err(Failure::new(FailureKind::Internal, "the network namespace and what is said about it differ"));
    }
    let clone = Clone { namespaces, pids: Pids::Ours, cgroup: &job.spec.cgroup };
    launch(single, clone, |child, reporter| {
        let mut keep = vec![job.program];
        keep.extend(job.netns);
        let kept = child::settle(child, reporter, &Streams::Null, &keep)?;
        child::join_cgroups(&job.spec.cgroup)?;
        child::set_oom_score_adj(job.spec.oom_score_adj)?;
        if let Some(netns) = kept.get(1) {
            let joined = sys::setns(single, *netns, CloneFlags::NEWNET).or_fail();
            joined.step(|| "join the pod's network namespace".to_owned())?;
        }
        if let Some(hostname) = &job.spec.hostname {
            rustix::system::sethostname(hostname.as_bytes())
                .because(|| "sethostname".to_owned())
                .step(|| format!("set host name {hostname}"))?;
        }
        template::enter(job.spec.shm_bytes).step(|| "make the pod's mount template".to_owned())?;
        process::become_pause(child, reporter, kept[0])
    })
}

/// Opens a log file in a child that does nothing else: the report is [`crate::Report::Log`] or
/// [`crate::Report::Failed`], then the channel ends and the child exits 0 or 1.
///
/// # Errors
/// As [`start`].
pub fn open_log(single: &SingleThreaded, log: &Log) -> Result<Launched> {
    let cgroup = CgroupJoin::default();
    let clone = Clone { namespaces: CloneFlags::NONE, pids: Pids::Ours, cgroup: &cgroup };
    launch(single, clone, |child, reporter| {
        child::settle(child, reporter, &Streams::Null, &[])?;
        reporter.log(log_file::open(log)?.as_fd())
    })
}

/// Whose pid namespace a child is in.
#[derive(Clone, Copy, Debug)]
enum Pids<'a> {
    /// The monitor's.
    Ours,
    /// A new one.
    New,
    /// That of the process with this pidfd.
    Of(BorrowedFd<'a>),
}

/// How to clone.
#[derive(Clone, Copy, Debug)]
struct Clone<'a> {
    namespaces: CloneFlags,
    pids: Pids<'a>,
    cgroup: &'a CgroupJoin,
}

fn streams(stdio: Stdio, terminal: bool) -> Result<Streams> {
    match (stdio, terminal) {
        (Stdio::Pipes { stdin, stdout, stderr }, false) => Ok(Streams::Given { stdin, stdout, stderr }),
        (Stdio::Terminal, true) => Ok(Streams::Null),
        _ => Err(Failure::new(FailureKind::Internal, "the standard streams and what the process wants differ")),
    }
}

/// Clones a child that runs `body` and reports its failure.
fn launch(
    single: &SingleThreaded,
    clone: Clone<'_>,
    body: impl FnOnce(&Child, &'static Reporter) -> Result<()>,
) -> Result<Launched> {
    let (ours, theirs) = seqpacket::pair().or_fail()?;
    rustix::io::ioctl_fionbio(&ours, true).because(|| "ioctl(FIONBIO)".to_owned())?;
    let unified = clone.cgroup.unified.as_deref().map(open_unified).transpose()?;
    let new_pids = matches!(clone.pids, Pids::New);
    let flags = clone.namespaces.with_if(new_pids, CloneFlags::NEWPID);
    let cloned = in_pid_namespace(single, clone.pids, || {
        sys::clone3(single, flags, unified.as_ref().map(AsFd::as_fd), |child| run_child(child, &theirs, body))
    })?;
    let Cloned { pid, pidfd } = cloned.or_fail().map_err(|failure| cloned_badly(failure, clone))?;
    Ok(Launched { pid, pidfd, channel: StartChannel::from(ours) })
}

fn open_unified(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .because(|| format!("open({path})"))
        .step(|| "open the cgroup".to_owned())
}

/// Calls `clone` while new children of this process belong to the given pid namespace.
///
/// The namespace is set before every clone, also to our own: if going back failed once, no later child would be in the
/// wrong place.
fn in_pid_namespace<T>(single: &SingleThreaded, pids: Pids<'_>, clone: impl FnOnce() -> T) -> Result<T> {
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
        .because(|| "pidfd_open of the monitor itself".to_owned())?;
    let target = match pids {
        Pids::Of(process) => process,
        Pids::Ours | Pids::New => own.as_fd(),
    };
    sys::setns(single, target, CloneFlags::NEWPID)
        .or_fail()
        .map_err(ended)
        .step(|| "enter the pid namespace".to_owned())?;
    let made = clone();
    // The child is made, and this changes nothing about it; the next clone sets the namespace anew.
    let _ = sys::setns(single, own.as_fd(), CloneFlags::NEWPID);
    Ok(made)
}

/// `ESRCH` of setns: the process whose namespaces were wanted is no more.
fn ended(mut failure: Failure) -> Failure {
    if failure.errno == Some(Errno::SRCH.raw_os_error()) {
        failure.kind = FailureKind::WrongState;
        failure.detail = Some("the container has just ended".to_owned());
    }
    failure
}

/// A refused clone. `ENOMEM` is also what a pid namespace answers whose first process has ended.
fn cloned_badly(mut failure: Failure, clone: Clone<'_>) -> Failure {
    failure.step = Some("clone the process".to_owned());
    if failure.errno == Some(Errno::NOMEM.raw_os_error())
        && let Pids::Of(process) = clone.pids
        && has_ended(process)
    {
        return Failure { errno: Some(Errno::SRCH.raw_os_error()), ..ended(from_errno(Errno::SRCH, None)) };
    }
    if failure.errno == Some(Errno::AGAIN.raw_os_error()) {
        failure.detail = Some("the limit of processes of the cgroup or of the machine is reached".to_owned());
    }
    failure
}

fn has_ended(process: BorrowedFd<'_>) -> bool {
    let mut poll = [PollFd::from_borrowed_fd(process, PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut poll, Some(&now)).is_ok_and(|ready| ready == 1)
}

fn run_child(child: &Child, channel: &OwnedFd, body: impl FnOnce(&Child, &'static Reporter) -> Result<()>) -> u8 {
    let Ok(socket) = child::above_streams(channel.as_fd()) else { return 1 };
    let reporter: &'static Reporter = Box::leak(Box::new(Reporter::new(socket)));
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
        reporter.failed(Failure::new(FailureKind::Internal, format!("the launch panicked{place}")));
        sys::exit_now(1)
    }));
    match body(child, reporter) {
        Ok(()) => 0,
        Err(failure) => {
            reporter.failed(failure);
            1
        }
    }
}
