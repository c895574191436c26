// SPDX-License-Identifier: Apache-2.0
//! A process in a cgroup that is gone when the test ends.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use husk_cgroups::{JoinPaths, join_v1};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::cgroup_guard::PATIENCE;

/// A shell that runs a script after it has read a line.
pub(crate) struct Shell {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Shell {
    /// Starts a shell inside the cgroup: it is forked from a thread that has joined the v1 hierarchies, as a launch
    /// child does; a thread of a test cannot be cloned into the unified one, so the shell is moved there.
    pub(crate) fn start(paths: &JoinPaths, script: &str) -> Self {
        let mut child = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let home = v1_dirs_of_this_thread(&paths.v1);
                    join_v1(&paths.v1).unwrap();
                    let child = Command::new("/bin/sh")
                        .args(["-c", &format!("read go; {script}")])
                        .stdin(Stdio::piped())
                        .stdout(Stdio::piped())
                        .spawn();
                    // The end of a thread is seen by its joiner before the kernel takes it out of its cgroups, and
                    // until then a kill of the cgroup would kill the test.
                    join_v1(&home).unwrap();
                    child.unwrap()
                })
                .join()
                .unwrap()
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let shell = Self { child, stdout };
        if let Some(unified) = &paths.unified {
            shell.move_to(unified);
        }
        shell
    }

    /// A shell that echoes each line.
    pub(crate) fn echo(paths: &JoinPaths) -> Self {
        Self::start(paths, "while read line; do echo $line; done")
    }

    pub(crate) fn move_to(&self, dir: &Path) {
        std::fs::write(dir.join("cgroup.procs"), self.child.id().to_string()).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Lets the script run.
    pub(crate) fn go(&mut self) {
        self.send("go");
    }

    pub(crate) fn send(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next line; empty at the end of the output.
    pub(crate) fn line(&mut self) -> String {
        if self.stdout.buffer().is_empty() {
            assert!(is_ready(self.stdout.get_ref(), PATIENCE), "the shell says nothing");
        }
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        assert!(self.ends_within(PATIENCE), "the shell does not end");
        self.child.wait().unwrap()
    }

    fn ends_within(&self, most: Duration) -> bool {
        match pidfd_open(self.pid(), PidfdFlags::empty()) {
            Ok(fd) => is_ready(&fd, most),
            // It was waited for.
            Err(_) => true,
        }
    }

    /// Waits for the end by SIGKILL.
    pub(crate) fn wait_killed(&mut self) {
        assert_eq!(self.wait().signal(), Some(9));
    }

    /// The v1 and unified cgroups of the process, as `/proc/<pid>/cgroup` names them.
    pub(crate) fn cgroups(&self) -> Vec<String> {
        let text = std::fs::read_to_string(PathBuf::from(format!("/proc/{}/cgroup", self.child.id()))).unwrap();
        text.lines().map(|line| line.splitn(3, ':').nth(2).unwrap().to_owned()).collect()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Fails when it was waited for, and then there is nothing to do.
        let _ = self.child.kill();
        // One that a failed test left frozen ends when the cgroup is taken away, after this.
        if self.ends_within(Duration::from_secs(1)) {
            let _ = self.child.wait();
        }
    }
}

fn is_ready(fd: impl AsFd, most: Duration) -> bool {
    let timeout = Timespec::try_from(most).unwrap();
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap() == 1
}

/// Where this thread is now, in the hierarchies that `dirs` are of.
fn v1_dirs_of_this_thread(dirs: &[PathBuf]) -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/thread-self/cgroup").unwrap();
    let path_in = |mount: &str| {
        text.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next().unwrap();
            let name = controllers.strip_prefix("name=").unwrap_or(controllers);
            (name == mount).then(|| fields.next().unwrap().trim_start_matches('/'))
        })
    };
    dirs.iter()
        .map(|dir| {
            let top = Path::new("/sys/fs/cgroup");
            let mount = dir.strip_prefix(top).unwrap().components().next().unwrap().as_os_str().to_str().unwrap();
            top.join(mount).join(path_in(mount).unwrap())
        })
        .collect()
}
