// SPDX-License-Identifier: Apache-2.0
//! What an exec started, where no unified hierarchy has a sub-cgroup for it: its session and its descendants.
//!
//! A process that makes a session of its own and whose parent has ended gets away; only a cgroup catches that one. It
//! ends with the container.

use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Rounds of looking for processes that were forked while the others were killed.
const ROUNDS: usize = 8;

/// A process, as `/proc/<pid>/stat` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    pid: i32,
    parent: i32,
    session: i32,
}

/// Sends SIGKILL to the processes of the session that `leader` leads and to their descendants.
pub(crate) fn kill(leader: u32) {
    let Ok(leader) = i32::try_from(leader) else {
        return;
    };
    let mut killed = Vec::new();
    for _ in 0..ROUNDS {
        let members = members(leader, &table());
        let fresh: Vec<Entry> = members.into_iter().filter(|entry| !killed.contains(&entry.pid)).collect();
        if fresh.is_empty() {
            return;
        }
        for entry in fresh {
            kill_entry(entry);
            killed.push(entry.pid);
        }
    }
}

/// The number may belong to somebody else by now, so it is turned into a handle first and looked at again.
fn kill_entry(entry: Entry) {
    let Some(pid) = Pid::from_raw(entry.pid) else {
        return;
    };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if read(entry.pid).is_some_and(|again| again.session == entry.session) {
        // ESRCH: it has ended.
        pidfd_send_signal(pidfd, Signal::KILL).ok();
    }
}

fn table() -> Vec<Entry> {
    let Ok(directory) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    directory.filter_map(|entry| read(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

fn read(pid: i32) -> Option<Entry> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// proc_pid_stat(5): `pid (comm) state ppid pgrp session …`; comm may hold anything, a parenthesis too.
fn parse(pid: i32, stat: &str) -> Option<Entry> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Entry { pid, parent, session })
}

fn members(leader: i32, table: &[Entry]) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    loop {
        let before = found.len();
        for entry in table {
            let belongs =
                entry.pid == leader || entry.session == leader || found.iter().any(|member| member.pid == entry.parent);
            if belongs && !found.contains(entry) {
                found.push(*entry);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn stat_lines() {
        let entry = Some(Entry { pid: 7, parent: 1, session: 3 });
        assert_eq!(parse(7, "7 (sh) S 1 2 3 0 -1"), entry);
        assert_eq!(parse(7, "7 (a) b (c)) R 1 2 3 0"), entry);
        assert_eq!(parse(7, "7 (sh) S 1 2"), None);
        assert_eq!(parse(7, ""), None);
    }

    #[test]
    fn members_by_session_and_by_descent() {
        let entry = |pid, parent, session| Entry { pid, parent, session };
        let table = [entry(5, 1, 5), entry(9, 6, 9), entry(6, 5, 5), entry(7, 1, 5), entry(8, 1, 1), entry(10, 9, 9)];
        let mut pids: Vec<i32> = members(5, &table).iter().map(|entry| entry.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [5, 6, 7, 9, 10]);
    }

    #[test]
    fn a_session_with_a_background_child_is_killed() {
        let script = "sleep 1000 & echo $!; exec sleep 1000";
        let mut leader =
            Command::new("setsid").args(["-w", "sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(leader.stdout.take().unwrap()).lines();
        let child: i32 = lines.next().unwrap().unwrap().parse().unwrap();
        let session = read(child).unwrap().session;
        // The child's standard output is the pipe: its end is the child's end.
        kill(session as u32);
        assert!(lines.next().is_none());
        // `setsid` itself is not of the session; it passes on how the leader ended.
        let status = leader.wait().unwrap();
        assert!(status.code() == Some(128 + 9) || status.signal() == Some(9), "{status}");
    }
}
