// SPDX-License-Identifier: Apache-2.0
//! A container of a case: a plan to change, and what came out of it.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use husk_launch::{ExecJob, Report, StartJob, Stdio};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions};
use wire::{
    Access, ByteVec, CapabilitySets, CgroupJoin, DeviceNode, ExitStatus, Failure, Log, Namespaces, NodeKind,
    PidNamespace, Plan, Process, Step,
};

use crate::world::{Pod, collect, end_of, failure_of};

/// The capabilities that both peers give by default.
pub(crate) const DEFAULT_CAPABILITIES: u64 = 0xa804_25fb;

/// The devices that every container has.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// What a case may change before it starts the container.
pub(crate) struct Container<'p, 'w> {
    pub(crate) pod: &'p Pod<'w>,
    pub(crate) plan: Plan,
    pub(crate) cgroup: CgroupJoin,
    pub(crate) pids: PidNamespace,
    pub(crate) log: Option<Log>,
    pub(crate) upper: std::path::PathBuf,
}

/// What came out of a container that has ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) reports: Vec<Report>,
}

/// A container that runs.
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) stdout: File,
    pub(crate) stderr: File,
    pub(crate) reports: Vec<Report>,
    collected: bool,
}

impl Drop for Running {
    /// A case that fails leaves no process behind.
    fn drop(&mut self) {
        if !self.collected {
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        }
    }
}

impl Outcome {
    /// Standard output of a container that must have ended well.
    pub(crate) fn text(self) -> String {
        assert_eq!(self.status, ExitStatus::Code(0), "{self:?}");
        self.stdout
    }

    /// The failure of a launch, after which the child must have exited with 1.
    pub(crate) fn failure(self) -> Failure {
        assert_eq!(self.status, ExitStatus::Code(1), "{self:?}");
        failure_of(self.reports)
    }
}

impl<'p, 'w> Container<'p, 'w> {
    /// A container that runs `script` in a shell, as root with the default capabilities.
    pub(crate) fn new(pod: &'p Pod<'w>, script: &str) -> Self {
        Self::with_layer(pod, script, &pod.world.layer())
    }

    pub(crate) fn with_layer(pod: &'p Pod<'w>, script: &str, layer: &std::path::Path) -> Self {
        let directory = pod.world.fresh("container");
        let text = |name: &str| {
            fs::create_dir(directory.join(name)).unwrap();
            directory.join(name).to_str().unwrap().to_owned()
        };
        let steps = steps(pod, vec![layer.to_str().unwrap().to_owned()], text("upper"), text("work"));
        let upper = directory.join("upper");
        let plan = Plan { steps, process: process(script) };
        Self { pod, plan, cgroup: pod.world.cgroup(), pids: PidNamespace::Own, log: None, upper }
    }

    /// Puts a step that runs on the host first.
    pub(crate) fn prepare(mut self, step: Step) -> Self {
        self.plan.steps.insert(0, step);
        self
    }

    /// Puts a step before the pivot.
    pub(crate) fn then(mut self, step: Step) -> Self {
        let last = self.plan.steps.len() - 1;
        self.plan.steps.insert(last, step);
        self
    }

    pub(crate) fn process(mut self, change: impl FnOnce(&mut Process)) -> Self {
        change(&mut self.plan.process);
        self
    }

    pub(crate) fn pids(mut self, pids: PidNamespace) -> Self {
        self.pids = pids;
        self
    }

    pub(crate) fn start(&self) -> Running {
        running(|stdio| {
            let job = StartJob {
                plan: &self.plan,
                cgroup: &self.cgroup,
                pid_namespace: self.pids,
                stdio,
                log: self.log.as_ref(),
                pause: self.pod.pidfd.as_fd(),
            };
            husk_launch::start(&self.pod.world.single, job).unwrap()
        })
    }

    pub(crate) fn run(&self) -> Outcome {
        self.start().finish()
    }

    pub(crate) fn exec(&self, init: &Running, script: &str) -> Outcome {
        self.exec_process(init, &Process { args: sh(script), ..self.plan.process.clone() }).finish()
    }

    pub(crate) fn exec_process(&self, init: &Running, process: &Process) -> Running {
        running(|stdio| {
            let job =
                ExecJob { process, cgroup: &self.cgroup, pid_namespace: self.pids, init: init.pidfd.as_fd(), stdio };
            husk_launch::exec(&self.pod.world.single, job).unwrap()
        })
    }
}

fn running(launch: impl FnOnce(Stdio) -> husk_launch::Launched) -> Running {
    let (stdin, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (stdout_reader, stdout) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (stderr_reader, stderr) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    drop(writer);
    let (child, reports) = collect(launch(Stdio::Pipes { stdin, stdout, stderr }));
    Running {
        pid: child.pid,
        pidfd: child.pidfd,
        stdout: stdout_reader.into(),
        stderr: stderr_reader.into(),
        reports,
        collected: false,
    }
}

impl Running {
    /// Waits for the end of output and process.
    pub(crate) fn finish(mut self) -> Outcome {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.stderr.read_to_string(&mut stderr).unwrap();
        self.collected = true;
        Outcome { status: end_of(&self.pidfd), stdout, stderr, reports: std::mem::take(&mut self.reports) }
    }

    pub(crate) fn kill(self) -> Outcome {
        rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL).unwrap();
        self.finish()
    }

    /// Reads output until `text` appears.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut buffer = [0; 512];
            let count = self.stdout.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "output ended after {:?}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..count]);
        }
    }
}

pub(crate) fn sh(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

pub(crate) fn process(script: &str) -> Process {
    let capabilities = CapabilitySets {
        bounding: DEFAULT_CAPABILITIES,
        effective: DEFAULT_CAPABILITIES,
        permitted: DEFAULT_CAPABILITIES,
        ..CapabilitySets::default()
    };
    Process {
        args: sh(script),
        env: vec![ByteVec::from(b"PATH=/bin".to_vec())],
        cwd: "/".to_owned(),
        make_cwd: false,
        uid: 0,
        gid: 0,
        groups: vec![0],
        umask: 0o022,
        capabilities,
        no_new_privs: false,
        oom_score_adj: None,
        rlimits: Vec::new(),
        terminal: false,
    }
}

fn steps(pod: &Pod<'_>, lower: Vec<String>, upper: String, work: String) -> Vec<Step> {
    let target = |path: &str| path.to_owned();
    let nodes = DEVICES.map(|(name, major, minor)| DeviceNode {
        name: name.to_owned(),
        kind: NodeKind::Character,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    });
    vec![
        Step::Overlay { lower, upper, work },
        Step::EnterPod { namespaces: Namespaces { network: true, ipc: true, uts: true } },
        Step::UnshareCgroup,
        Step::AttachRoot,
        Step::Proc { target: target("/proc") },
        Step::Dev { target: target("/dev"), nodes: nodes.to_vec(), tty_gid: 5 },
        Step::Shm { target: target("/dev/shm") },
        Step::Mqueue { target: target("/dev/mqueue") },
        Step::Sysfs { target: target("/sys"), access: Access::ReadOnly },
        Step::Cgroups { target: target("/sys/fs/cgroup"), mounts: pod.world.cgroup_mounts(), access: Access::ReadOnly },
        Step::Pivot,
    ]
}
