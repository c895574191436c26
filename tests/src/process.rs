// SPDX-License-Identifier: Apache-2.0
//! Processes as `/proc` shows them.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// One process at one moment. Pid and start time together are unique as long as the machine is up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Process id in the machine's pid namespace.
    pub pid: u32,
    /// Start time in clock ticks since boot: field 22 of `/proc/<pid>/stat`, proc(5).
    pub start_ticks: u64,
    /// Name as in `/proc/<pid>/comm`.
    pub name: String,
    /// Parent's process id.
    pub parent: u32,
    /// State letter, `Z` for a zombie.
    pub state: char,
}

impl Process {
    /// Reads one process. `None` when it has gone.
    #[must_use]
    pub fn read(pid: u32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses and may itself hold spaces and parentheses.
        let open = stat.find('(')?;
        let close = stat.rfind(')')?;
        let name = stat.get(open + 1..close)?.to_owned();
        let rest: Vec<&str> = stat.get(close + 1..)?.split_whitespace().collect();
        Some(Process {
            pid,
            name,
            state: rest.first()?.chars().next()?,
            parent: rest.get(1)?.parse().ok()?,
            start_ticks: rest.get(19)?.parse().ok()?,
        })
    }

    /// All processes of the machine. Kernel threads (children of 2) are left out.
    #[must_use]
    pub fn all() -> Vec<Process> {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(Process::read)
            .filter(|process| process.pid != 2 && process.parent != 2)
            .collect()
    }

    /// Whether this very process still exists (a zombie does not count).
    #[must_use]
    pub fn is_alive(&self) -> bool {
        Process::read(self.pid).is_some_and(|now| now.start_ticks == self.start_ticks && now.state != 'Z')
    }

    /// The command line, words separated by spaces.
    #[must_use]
    pub fn command_line(&self) -> String {
        let raw = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&raw).replace('\0', " ").trim_end().to_owned()
    }

    /// Where the link `/proc/<pid>/ns/<name>` points, for example `net:[4026531840]`.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/ns/{name}", self.pid)).ok()
    }

    /// Children, their children, and so on, of `root`.
    #[must_use]
    pub fn descendants(root: u32) -> Vec<Process> {
        let all = Process::all();
        let mut family = BTreeSet::from([root]);
        loop {
            let before = family.len();
            for process in &all {
                if family.contains(&process.parent) {
                    family.insert(process.pid);
                }
            }
            if family.len() == before {
                break;
            }
        }
        family.remove(&root);
        all.into_iter().filter(|process| family.contains(&process.pid)).collect()
    }

    /// Sends SIGKILL to this very process; nothing happens when it has gone.
    pub fn kill(&self) {
        if let Some(pidfd) = self.pidfd() {
            // ESRCH: it has ended meanwhile, which is what is wanted.
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }

    /// A pidfd of this very process, `None` when it has gone.
    #[must_use]
    pub fn pidfd(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // The pid may have been given to another process since it was read.
        self.is_alive().then_some(pidfd)
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    /// When it lives longer than `limit`.
    pub fn wait_for_end(&self, limit: Duration) -> Result<()> {
        let Some(pidfd) = self.pidfd() else {
            return Ok(());
        };
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
            match poll(&mut fds, Some(&timespec(left))) {
                Ok(0) => bail!("process {} ({}) still runs after {limit:?}", self.pid, self.name),
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("poll a pidfd"),
            }
        }
    }
}

/// A duration as poll(2) wants it.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_child_is_seen_and_its_end_is_an_event() {
        let mut child = Command::new("/bin/busybox").args(["sleep", "1000"]).stdin(Stdio::null()).spawn().unwrap();
        let seen = Process::read(child.id()).unwrap();
        assert_eq!(seen.parent, std::process::id());
        assert!(seen.is_alive());
        let family = Process::descendants(std::process::id());
        assert!(family.iter().any(|one| (one.pid, one.start_ticks) == (seen.pid, seen.start_ticks)));
        assert!(seen.wait_for_end(Duration::from_millis(5)).is_err());
        seen.kill();
        seen.wait_for_end(Duration::from_secs(5)).unwrap();
        assert!(!seen.is_alive(), "a zombie does not count as alive");
        child.wait().unwrap();
        assert!(seen.pidfd().is_none());
    }
}
