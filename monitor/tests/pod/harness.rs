// SPDX-License-Identifier: Apache-2.0
//! One pod with a monitor of its own, and the way back.

use std::collections::VecDeque;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cgroups::{Cgroup, CgroupPath, Hierarchy, Limits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use sys::{MemfdUse, memfd_sealed, seqpacket};
use tempfile::TempDir;
use wire::{
    CgroupJoin, Exec, ExecEnd, Exit, ExitStatus, Id, Log, OpenSandbox, PidNamespace, Plan, Process, Reply, Request,
    Start, Stdin,
};

use crate::client::{Client, bytes};
use crate::rootfs;

/// A pod under test.
pub(crate) struct Pod {
    pub(crate) client: Client,
    pub(crate) monitor: Child,
    pub(crate) id: Id,
    pub(crate) pause_pid: u32,
    /// Holds everything on disk.
    directory: TempDir,
    layer: PathBuf,
    cgroup: Guarded,
    containers: u32,
}

/// A cgroup that is removed with the value, with everything below it.
struct Guarded {
    path: CgroupPath,
    cgroup: Cgroup,
}

/// What a test chooses about a container.
pub(crate) struct Choice<'a> {
    pub(crate) process: Process,
    pub(crate) pid_namespace: PidNamespace,
    pub(crate) stdin: Stdin,
    pub(crate) limits: Limits,
    pub(crate) sources: &'a [&'a Path],
    pub(crate) deadline: Duration,
    pub(crate) unified: bool,
}

/// What an exec gave.
#[derive(Debug, PartialEq)]
pub(crate) struct Output {
    pub(crate) end: ExecEnd,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let removed = self.cgroup.remove(Duration::from_secs(20));
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

fn guarded(path: CgroupPath, limits: &Limits) -> Guarded {
    let cgroup = hierarchy().create(&path, limits).unwrap();
    Guarded { path, cgroup }
}

fn hierarchy() -> &'static Hierarchy {
    static HIERARCHY: OnceLock<Hierarchy> = OnceLock::new();
    HIERARCHY.get_or_init(|| Hierarchy::detect().unwrap())
}

fn fresh_id() -> Id {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let mut id = [0; 32];
    id[..4].copy_from_slice(&std::process::id().to_be_bytes());
    id[4..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Id::from_bytes(id)
}

/// The program of pause, built once by a cargo of its own.
fn pause_program() -> OwnedFd {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = PROGRAM.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pause");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "-p", "husk-pause", "--target-dir"]).arg(&target);
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("CARGO_TARGET_DIR");
        // The template of a pod has no dynamic loader.
        cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
        assert!(cargo.status().unwrap().success(), "pause does not build");
        fs::read(target.join("debug/husk-pause")).unwrap()
    });
    memfd_sealed(c"husk-pause", bytes, MemfdUse::Program).unwrap()
}

/// The program of the monitor in a sealed memory file, as the daemon has it.
pub(crate) fn monitor_program() -> OwnedFd {
    let bytes = fs::read(env!("CARGO_BIN_EXE_husk-monitor")).unwrap();
    memfd_sealed(c"husk-monitor", &bytes, MemfdUse::Program).unwrap()
}

pub(crate) fn cgroup_join(cgroup: &Cgroup) -> CgroupJoin {
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let paths = cgroup.join_paths();
    CgroupJoin { unified: paths.unified.as_ref().map(text), v1: paths.v1.iter().map(text).collect() }
}

impl Pod {
    /// A monitor without pause.
    pub(crate) fn watched() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layer = rootfs::make_layer(directory.path());
        let id = fresh_id();
        let short = id.to_string();
        let name = format!("husk-test-monitor-{}-{}", std::process::id(), &short[8..16]);
        let cgroup = guarded(CgroupPath::top(&name).unwrap(), &Limits::default());
        let state = directory.path().join("state");
        fs::create_dir(&state).unwrap();
        let listener = seqpacket::listen(fs::File::open(&state).unwrap().as_fd(), "monitor.sock").unwrap();
        let monitor = Command::new(env!("CARGO_BIN_EXE_husk-monitor"))
            .arg(id.to_string())
            .arg(&state)
            .stdin(Stdio::from(listener))
            .spawn()
            .unwrap();
        let client = Client::greet(&state);
        Self { client, monitor, id, pause_pid: 0, directory, layer, cgroup, containers: 0 }
    }

    /// A monitor with a running pause.
    pub(crate) fn open() -> Self {
        let mut pod = Self::watched();
        let program = pause_program();
        let sequence = pod.client.ask_with(pod.open_request(), &[program.as_fd()]);
        match pod.client.reply(sequence).0 {
            Reply::SandboxOpened { pause_pid } => pod.pause_pid = pause_pid,
            other => panic!("{other:?}"),
        }
        pod
    }

    pub(crate) fn open_request(&self) -> Request {
        let pause = hierarchy().create(&self.cgroup.path.join("pause").unwrap(), &Limits::default()).unwrap();
        Request::OpenSandbox(OpenSandbox {
            own_network: false,
            own_ipc: true,
            hostname: Some("pod-under-test".into()),
            shm_bytes: 1 << 20,
            cgroup: cgroup_join(&pause),
            oom_score_adj: 0,
        })
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The log directory, and the log file of a container in it.
    pub(crate) fn log(&self, id: Id) -> PathBuf {
        self.directory.path().join("logs").join(format!("{id}.log"))
    }

    /// A request that starts a container with a fresh id and cgroup.
    pub(crate) fn start_request(&mut self, choice: Choice<'_>) -> Start {
        self.containers += 1;
        let id = fresh_id();
        let name = format!("container-{}", self.containers);
        let cgroup = hierarchy().create(&self.cgroup.path.join(&name).unwrap(), &choice.limits).unwrap();
        let logs = self.directory.path().join("logs");
        fs::create_dir_all(&logs).unwrap();
        let own = self.directory.path().join(&name);
        let plan: Plan = rootfs::plan(&self.layer, &own, choice.process, choice.sources);
        let mut join = cgroup_join(&cgroup);
        if !choice.unified {
            join.unified = None;
        }
        Start {
            container: id,
            plan,
            cgroup: join,
            pid_namespace: choice.pid_namespace,
            stdin: choice.stdin,
            log: Some(Log { directory: logs.to_str().unwrap().into(), file: format!("{id}.log") }),
            deadline_ms: choice.deadline.as_millis() as u64,
        }
    }

    /// Starts a shell script; returns the container's id, its process id and when it started.
    pub(crate) fn start(&mut self, script: &str) -> (Id, u32, u64) {
        self.start_as(choice(script))
    }

    pub(crate) fn start_as(&mut self, choice: Choice<'_>) -> (Id, u32, u64) {
        let start = self.start_request(choice);
        let id = start.container;
        match self.client.call(Request::Start(Box::new(start))) {
            Reply::Started { pid, started_at_ns } => (id, pid, started_at_ns),
            other => panic!("{other:?}"),
        }
    }

    /// Runs a shell script to its end.
    pub(crate) fn run(&mut self, script: &str) -> (Id, Exit) {
        let (id, ..) = self.start(script);
        let exit = self.client.exit_of(id);
        (id, exit)
    }

    pub(crate) fn exec_request(&self, id: Id, script: &str, timeout: Option<Duration>) -> Request {
        Request::Exec(Box::new(Exec {
            container: id,
            process: rootfs::process(&["sh", "-c", script]),
            timeout_ms: timeout.map(|time| time.as_millis() as u64),
        }))
    }

    /// Runs a script in a container.
    pub(crate) fn exec(&mut self, id: Id, script: &str, timeout: Option<Duration>) -> Output {
        let sequence = self.client.ask(self.exec_request(id, script, timeout));
        self.output(sequence)
    }

    /// Waits for the reply to an exec.
    pub(crate) fn output(&mut self, sequence: u32) -> Output {
        let (reply, fds) = self.client.reply(sequence);
        let mut fds = VecDeque::from(fds);
        match reply {
            Reply::Executed(executed) => {
                let stdout = bytes(executed.stdout, &mut fds);
                Output { end: executed.end, stdout, stderr: bytes(executed.stderr, &mut fds) }
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn record(&self, id: Id) -> Option<Exit> {
        let bytes = fs::read(self.state().join("exits").join(id.to_string())).ok()?;
        Some(Exit::from_bytes(&bytes).unwrap())
    }

    /// The sub-cgroups of execs that are there.
    pub(crate) fn exec_cgroups(&self) -> usize {
        let Some(unified) = &self.cgroup.cgroup.join_paths().unified else {
            return 0;
        };
        let containers = fs::read_dir(unified).unwrap().filter_map(Result::ok).filter(|entry| entry.path().is_dir());
        containers
            .flat_map(|entry| fs::read_dir(entry.path()).unwrap().filter_map(Result::ok))
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("exec-"))
            .count()
    }

    /// The processes of the whole pod without the monitor.
    pub(crate) fn pids(&self) -> Vec<Pid> {
        self.cgroup.cgroup.pids().unwrap()
    }

    /// The decoded streams of a log.
    pub(crate) fn decoded(&self, id: Id) -> (Vec<u8>, Vec<u8>) {
        decode(&fs::read(self.log(id)).unwrap())
    }

    /// Waits until standard output of a log begins with this, woken by the file itself.
    pub(crate) fn wait_for_log(&self, id: Id, expected: &[u8]) {
        let path = self.log(id);
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watch, &path, inotify::WatchFlags::MODIFY).unwrap();
        while !self.decoded(id).0.starts_with(expected) {
            wait_for(&watch, PollFlags::IN);
            rustix::io::read(&watch, &mut [0; 4096]).unwrap();
        }
    }

    /// Waits until nothing of the pod runs but pause: what was killed takes a moment to be gone.
    pub(crate) fn only_pause_is_left(&self) {
        for number in 1..=self.containers {
            let path = self.cgroup.path.join(&format!("container-{number}")).unwrap();
            wait_until_empty(&hierarchy().open(&path));
        }
        let pids: Vec<u32> = self.pids().into_iter().map(|pid| pid.as_raw_nonzero().get() as u32).collect();
        let expected: Vec<u32> = Some(self.pause_pid).filter(|&pid| pid > 0).into_iter().collect();
        assert_eq!(pids, expected);
    }

    /// Waits until the pod's cgroup is empty: a killed process is listed until it has been reaped.
    pub(crate) fn all_are_gone(&self) {
        wait_until_empty(&self.cgroup.cgroup);
    }

    /// Waits until the monitor has ended, and tells how.
    pub(crate) fn monitor_ended(&mut self) -> std::process::ExitStatus {
        let pid = Pid::from_child(&self.monitor);
        wait_for_end(&pidfd_open(pid, PidfdFlags::empty()).unwrap());
        self.monitor.wait().unwrap()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // The processes of the pod die with it or with their cgroup, which the guard removes.
        self.monitor.kill().ok();
        self.monitor.wait().ok();
    }
}

/// Makes the file `/tmp/go`, for which a container of this process waits.
pub(crate) fn go(pid: u32) {
    fs::write(format!("/proc/{pid}/root/tmp/go"), "").unwrap();
}

/// A container that runs a shell script with everything as usual.
pub(crate) fn choice(script: &str) -> Choice<'static> {
    Choice {
        process: rootfs::process(&["sh", "-c", script]),
        pid_namespace: PidNamespace::Own,
        stdin: Stdin::Null,
        limits: Limits::default(),
        sources: &[],
        deadline: Duration::from_secs(30),
        unified: true,
    }
}

pub(crate) fn code(code: u8) -> ExitStatus {
    ExitStatus::Code(code)
}

/// Waits for the end of a process.
pub(crate) fn wait_for_end(pidfd: &OwnedFd) {
    wait_for(pidfd, PollFlags::IN);
}

fn wait_until_empty(cgroup: &Cgroup) {
    let Some(events) = cgroup.events_fd().unwrap() else {
        return;
    };
    while events.read().unwrap().is_some_and(|events| events.populated) {
        wait_for(&events, PollFlags::PRI);
    }
}

/// Waits for something that comes soon.
fn wait_for(fd: &impl AsFd, what: PollFlags) {
    let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
    let mut fds = [PollFd::new(fd, what)];
    assert_eq!(poll(&mut fds, Some(&patience)).unwrap(), 1, "nothing happens");
}

/// A handle on a process.
pub(crate) fn handle(pid: u32) -> OwnedFd {
    pidfd_open(Pid::from_raw(pid as i32).unwrap(), PidfdFlags::empty()).unwrap()
}

/// Standard output and standard error of a log, decoded as the kubelet does.
pub(crate) fn decode(log: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut out = (Vec::new(), Vec::new());
    for line in log.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\n").expect("every line of a log ends");
        let mut fields = line.splitn(4, |&byte| byte == b' ');
        let time = fields.next().unwrap();
        assert!(time.len() == 30 && time.starts_with(b"20") && time.ends_with(b"Z"), "{}", line.escape_ascii());
        let stream = match fields.next() {
            Some(b"stdout") => &mut out.0,
            Some(b"stderr") => &mut out.1,
            _ => panic!("{}", line.escape_ascii()),
        };
        let tag = fields.next().unwrap();
        let content = fields.next().unwrap();
        assert!(content.len() <= 16_384 && [b"F".as_slice(), b"P"].contains(&tag), "{}", line.escape_ascii());
        stream.extend_from_slice(content);
        if tag == b"F" {
            stream.push(b'\n');
        }
    }
    out
}
