// SPDX-License-Identifier: Apache-2.0
//! What all cases share: an image layer, cgroups, a network namespace and the program of pause.

use std::cell::Cell;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use husk_launch::{Launched, PauseJob, Report};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Signal, WaitId, WaitIdOptions};
use sys::{CloneFlags, MemfdUse, SingleThreaded, memfd_sealed, seqpacket};
use wire::{CgroupJoin, CgroupMount, ExitStatus, Failure, OpenSandbox};

/// Longest that a case waits for anything, in seconds; nothing takes a tenth of that.
const PATIENCE_SECONDS: i64 = 20;

/// The applets that the scripts use.
const APPLETS: &[&str] = &[
    "sh", "cat", "ls", "stat", "id", "tty", "echo", "touch", "mkdir", "hostname", "tr", "sleep", "true", "grep",
    "readlink", "test", "kill", "find", "env", "pwd", "rm", "wc", "cut", "sort", "df", "rmdir",
];

pub(crate) struct World {
    pub(crate) single: SingleThreaded,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) pause: OwnedFd,
    pub(crate) netns: OwnedFd,
    cgroups: Cgroups,
    containers: Cell<u32>,
}

impl World {
    pub(crate) fn new(single: SingleThreaded) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layer = directory.path().join("layer");
        for name in ["bin", "etc", "tmp", "home"] {
            fs::create_dir_all(layer.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", layer.join("bin/busybox")).unwrap();
        for applet in APPLETS {
            symlink("busybox", layer.join("bin").join(applet)).unwrap();
        }
        rustix::fs::chmod(layer.join("tmp"), Mode::from_raw_mode(0o1777)).unwrap();
        fs::write(layer.join("etc/os-release"), "NAME=test\n").unwrap();
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let netns = new_netns(&single);
        let pause = memfd_sealed(c"husk-pause", &fs::read(build_pause()).unwrap(), MemfdUse::Program).unwrap();
        World { single, directory, pause, netns, cgroups: Cgroups::new(), containers: Cell::new(0) }
    }

    /// A fresh directory for one container or one source.
    pub(crate) fn fresh(&self, kind: &str) -> PathBuf {
        let number = self.containers.replace(self.containers.get() + 1);
        let path = self.directory.path().join(format!("{kind}-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        path
    }

    pub(crate) fn layer(&self) -> PathBuf {
        self.directory.path().join("layer")
    }

    pub(crate) fn cgroup(&self) -> CgroupJoin {
        self.cgroups.join()
    }

    /// Every hierarchy of this machine, the unified one last.
    pub(crate) fn cgroup_mounts(&self) -> Vec<CgroupMount> {
        let mount = |point: &Path, options: &str| CgroupMount {
            name: point.file_name().unwrap().to_str().unwrap().to_owned(),
            options: options.to_owned(),
        };
        let v1 = self.cgroups.mounts.iter().map(|(point, options)| mount(point, options));
        v1.chain(self.cgroups.unified.iter().map(|point| mount(point, ""))).collect()
    }

    /// What must be the same before and after a case: mounts, children, descriptors, processes in the cgroup.
    pub(crate) fn census(&self) -> (usize, String, usize, Vec<String>) {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
        let children = fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id())).unwrap();
        let fds = fs::read_dir("/proc/self/fd").unwrap().count();
        (mounts, children, fds, self.cgroups.members())
    }
}

/// A pod: a running pause.
pub(crate) struct Pod<'w> {
    pub(crate) world: &'w World,
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
}

impl<'w> Pod<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        Self::open(world, &sandbox(world))
    }

    pub(crate) fn open(world: &'w World, spec: &OpenSandbox) -> Self {
        let netns = spec.own_network.then(|| world.netns.as_fd());
        let launched =
            husk_launch::pause(&world.single, PauseJob { program: world.pause.as_fd(), netns, spec }).unwrap();
        let (launched, reports) = collect(launched);
        assert!(matches!(reports[..], [Report::Ready]), "{reports:?}");
        let OwnedChild { pid, pidfd } = launched;
        Self { world, pid, pidfd }
    }

    pub(crate) fn status(&self) -> String {
        fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap()
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        // It may have been ended by the case.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        end_of(&self.pidfd);
    }
}

/// An ordinary pod.
pub(crate) fn sandbox(world: &World) -> OpenSandbox {
    OpenSandbox {
        own_network: true,
        own_ipc: true,
        hostname: Some("test-pod".to_owned()),
        shm_bytes: 1 << 20,
        cgroup: world.cgroup(),
        oom_score_adj: -998,
    }
}

/// A child whose channel has ended.
pub(crate) struct OwnedChild {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
}

/// Reads reports until the channel ends.
pub(crate) fn collect(launched: Launched) -> (OwnedChild, Vec<Report>) {
    let Launched { pid, pidfd, channel } = launched;
    let mut reports = Vec::new();
    loop {
        wait_readable(channel.fd());
        match channel.read() {
            Ok(Report::Closed) => return (OwnedChild { pid, pidfd }, reports),
            Ok(report) => reports.push(report),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
        }
    }
}

/// The failure among the reports.
pub(crate) fn failure_of(reports: Vec<Report>) -> Failure {
    let text = format!("{reports:?}");
    let failure = reports.into_iter().find_map(|report| match report {
        Report::Failed(failure) => Some(failure),
        _ => None,
    });
    failure.unwrap_or_else(|| panic!("a failure is expected: {text}"))
}

pub(crate) fn wait_readable(fd: std::os::fd::BorrowedFd<'_>) {
    let mut poll = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let patience = Timespec { tv_sec: PATIENCE_SECONDS, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut poll, Some(&patience)), Ok(1), "nothing happened for a long time");
}

/// Waits for the end of a child and collects it.
pub(crate) fn end_of(pidfd: &OwnedFd) -> ExitStatus {
    wait_readable(pidfd.as_fd());
    let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).unwrap().unwrap();
    match status.exit_status() {
        Some(code) => ExitStatus::Code(u8::try_from(code).unwrap()),
        None => ExitStatus::Signal(u8::try_from(status.terminating_signal().unwrap()).unwrap()),
    }
}

/// Builds pause as the daemon's build does: static, because its root is empty. In its own target directory, because the
/// flags differ.
fn build_pause() -> PathBuf {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pause");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "husk-pause", "--target", &target, "--target-dir"])
        .arg(&directory)
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(built.success(), "pause does not build");
    directory.join(target).join("debug/husk-pause")
}

fn new_netns(single: &SingleThreaded) -> OwnedFd {
    let (ours, theirs) = seqpacket::pair().unwrap();
    let holder = sys::clone3(single, CloneFlags::NEWNET, None, |_| {
        let netns = rustix::fs::open("/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        seqpacket::send(theirs.as_fd(), b"n", &[netns.as_fd()]).map_or(1, |()| 0)
    })
    .unwrap();
    let (_, fds) = seqpacket::receive(ours.as_fd(), 1).unwrap().unwrap();
    assert_eq!(end_of(&holder.pidfd), ExitStatus::Code(0));
    fds.into_iter().next().unwrap()
}

/// A cgroup of this test's own in every hierarchy.
struct Cgroups {
    /// Mount point and options of each version 1 hierarchy.
    mounts: Vec<(PathBuf, String)>,
    unified: Option<PathBuf>,
    name: String,
}

impl Cgroups {
    fn new() -> Self {
        let text = fs::read_to_string("/proc/mounts").unwrap();
        let mut cgroups =
            Self { mounts: Vec::new(), unified: None, name: format!("husk-test-launch-{}", std::process::id()) };
        for line in text.lines() {
            let fields: Vec<_> = line.split(' ').collect();
            let point = PathBuf::from(fields[1]);
            match fields[2] {
                "cgroup2" => cgroups.unified = Some(point),
                "cgroup" => {
                    let general = ["rw", "ro", "relatime", "nosuid", "nodev", "noexec", "xattr", "clone_children"];
                    let options: Vec<_> = fields[3].split(',').filter(|option| !general.contains(option)).collect();
                    cgroups.mounts.push((point, options.join(",")));
                }
                _ => {}
            }
        }
        for directory in cgroups.directories() {
            fs::create_dir(&directory).unwrap();
            let parent = directory.parent().unwrap();
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if directory.join(file).exists() && parent.join(file).exists() {
                    fs::write(directory.join(file), fs::read(parent.join(file)).unwrap()).unwrap();
                }
            }
        }
        cgroups
    }

    fn directories(&self) -> Vec<PathBuf> {
        let v1 = self.mounts.iter().map(|(point, _)| point);
        v1.chain(&self.unified).map(|point| point.join(&self.name)).collect()
    }

    fn join(&self) -> CgroupJoin {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        CgroupJoin {
            unified: self.unified.as_ref().map(|point| text(&point.join(&self.name))),
            v1: self.mounts.iter().map(|(point, _)| text(&point.join(&self.name))).collect(),
        }
    }

    fn members(&self) -> Vec<String> {
        let read = |directory: PathBuf| fs::read_to_string(directory.join("cgroup.procs")).unwrap();
        self.directories().into_iter().flat_map(|d| read(d).lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for pid in self.members() {
            let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        // As subreaper of everything that was started, this process sees the last of them go.
        while rustix::process::wait(rustix::process::WaitOptions::empty()).is_ok() {}
        for directory in self.directories() {
            // The runner looks whether they are gone.
            let _ = fs::remove_dir(&directory);
        }
    }
}
