// SPDX-License-Identifier: Apache-2.0
//! The *leak census*: everything of a world that could be left behind, counted twice and compared.
//!
//! A census sees only what belongs to its [`Scope`], because other tests and programs live on the same
//! machine. A process belongs to a world when it carries the world's mark in its environment, names the
//! world's directory in its command line, sits in the world's cgroup, or lives in the node's namespaces.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
use rustix::event::{PollFd, PollFlags, poll};

use crate::cgroup::CgroupParent;
use crate::daemon::MARK;
use crate::limits;
use crate::node::Node;
use crate::process::{Process, timespec};

/// Multicast group of link changes: `RTMGRP_LINK` of rtnetlink(7).
const RTMGRP_LINK: u32 = 1;

/// What can leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A process of the world.
    Process,
    /// A network namespace that a process of the world is in or that is pinned on the node.
    NetworkNamespace,
    /// A mount on the node.
    NodeMount,
    /// A mount of this world on the machine.
    MachineMount,
    /// A cgroup below the world's, in some hierarchy.
    Cgroup,
    /// A network interface of the node.
    Link,
    /// A line of the node's nftables rule set.
    NftRule,
    /// A line of the node's iptables rules.
    IptablesRule,
    /// An address that host-local has given away.
    Lease,
    /// A file descriptor of the daemon.
    DaemonFd,
    /// A file below the daemon's root or state.
    File,
    /// A listening unix socket or port: what others could connect to.
    Socket,
}

/// One thing that is there and was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// What it is.
    pub kind: Kind,
    /// Which one.
    pub what: String,
}

impl fmt::Display for Leak {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}: {}", self.kind, self.what)
    }
}

/// Where to look. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The node.
    pub node: Arc<Node>,
    /// The world's directory in `/tmp`.
    pub directory: PathBuf,
    /// The mount table of the machine.
    pub machine_mounts: PathBuf,
    /// The world's cgroup.
    pub cgroup: Arc<CgroupParent>,
    /// Directory in which host-local keeps its files per network.
    pub leases: PathBuf,
    /// Directories whose files are counted.
    pub files: Vec<PathBuf>,
    /// The daemon whose descriptors are counted; `None` while it does not run.
    pub daemon: Option<u32>,
}

/// What was there at one moment: for each kind, each thing and how many of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    found: BTreeMap<Kind, BTreeMap<String, usize>>,
}

impl Census {
    fn add(&mut self, kind: Kind, what: String) {
        *self.found.entry(kind).or_default().entry(what).or_default() += 1;
    }

    /// Makes this census one in which this process is no leak.
    pub fn expect_process(&mut self, process: &Process) {
        self.add(Kind::Process, describe(process));
    }

    /// Makes this census one in which this thing is no leak.
    pub fn expect(&mut self, known: Leak) {
        self.add(known.kind, known.what);
    }

    /// What is in this census and was not in an earlier one.
    #[must_use]
    pub fn since(&self, before: &Census) -> Vec<Leak> {
        let mut leaks = Vec::new();
        for (kind, things) in &self.found {
            let old = before.found.get(kind);
            for (what, count) in things {
                let known = old.and_then(|old| old.get(what)).copied().unwrap_or(0);
                for _ in known..*count {
                    leaks.push(Leak { kind: *kind, what: what.clone() });
                }
            }
        }
        leaks
    }
}

impl Scope {
    /// Counts everything now.
    ///
    /// # Errors
    /// When a source cannot be read: a census that does not see is worth nothing.
    pub fn take(&self) -> Result<Census> {
        let mut census = Census::default();
        let processes = self.processes();
        for process in &processes {
            census.add(Kind::Process, describe(process));
        }
        self.count_namespaces(&mut census, &processes)?;
        self.count_mounts(&mut census)?;
        for directory in self.cgroup.tree() {
            census.add(Kind::Cgroup, directory.display().to_string());
        }
        for link in self.node.links()? {
            census.add(Kind::Link, link);
        }
        self.count_rules(&mut census)?;
        self.count_leases(&mut census);
        self.count_descriptors(&mut census)?;
        for directory in &self.files {
            let mut left = limits::CENSUS_FILES;
            count_files(directory, &mut left, &mut census)?;
        }
        self.count_sockets(&mut census)?;
        Ok(census)
    }

    /// Waits until nothing is there that was not there before.
    ///
    /// The kernel removes a veth some time after its namespace; that is waited for by its RTM_DELLINK,
    /// the end of a process by its pidfd. The rest announces nothing and is looked at again.
    ///
    /// # Errors
    /// When something remains after [`limits::SETTLE`]; the message names each leak.
    pub fn assert_clean(&self, before: &Census) -> Result<()> {
        let links = self.watch_links()?;
        let deadline = Instant::now() + limits::SETTLE;
        loop {
            let leaks = self.take()?.since(before);
            if leaks.is_empty() {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let list: Vec<String> = leaks.iter().map(Leak::to_string).collect();
                bail!("{} things are left behind:\n  {}", list.len(), list.join("\n  "));
            }
            self.wait_for_change(&links, &leaks, left)?;
        }
    }

    /// Waits for an event that may have taken one of the leaks away.
    fn wait_for_change(&self, links: &OwnedFd, leaks: &[Leak], left: Duration) -> Result<()> {
        let announced = |leak: &Leak| matches!(leak.kind, Kind::Link | Kind::Process);
        let patience = if leaks.iter().all(announced) { left } else { left.min(limits::TICK) };
        let ends: Vec<OwnedFd> = self
            .processes()
            .iter()
            .filter(|process| {
                let what = describe(process);
                leaks.iter().any(|leak| leak.what == what)
            })
            .filter_map(Process::pidfd)
            .collect();
        let sources: Vec<BorrowedFd<'_>> = ends.iter().map(AsFd::as_fd).chain([links.as_fd()]).collect();
        let mut fds: Vec<PollFd<'_>> = sources.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        match poll(&mut fds, Some(&timespec(patience))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for a change"),
        }
        // Only the fact that links changed matters.
        while rustix::io::read(links, &mut [0; 4096]).is_ok() {}
        Ok(())
    }

    /// A socket that becomes readable when a link of the node appears or disappears.
    fn watch_links(&self) -> Result<OwnedFd> {
        self.node
            .run(|| {
                let watch = socket(
                    AddressFamily::Netlink,
                    SockType::Raw,
                    SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                    SockProtocol::NetlinkRoute,
                )?;
                bind(std::os::fd::AsRawFd::as_raw_fd(&watch), &NetlinkAddr::new(0, RTMGRP_LINK))?;
                Ok::<_, nix::Error>(watch)
            })?
            .context("watch the node's links")
    }

    /// The processes of this world.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        let spaces = ["net", "mnt"].map(|kind| (kind, fs::read_link(self.node.namespace(kind)).ok()));
        let mine = self.cgroup.pids();
        let directory = self.directory.display().to_string();
        let mark = format!("{MARK}={directory}");
        Process::all()
            .into_iter()
            .filter(|process| process.pid != std::process::id() && process.state != 'Z')
            .filter(|process| {
                let environment = fs::read(format!("/proc/{}/environ", process.pid));
                let marked =
                    environment.is_ok_and(|all| all.split(|byte| *byte == 0).any(|one| one == mark.as_bytes()));
                marked
                    || mine.contains(&process.pid)
                    || process.command_line().contains(&directory)
                    || spaces.iter().any(|(kind, node)| node.is_some() && process.namespace(kind) == *node)
            })
            .collect()
    }

    fn count_namespaces(&self, census: &mut Census, processes: &[Process]) -> Result<()> {
        let node = fs::read_link(self.node.namespace("net")).context("the node's namespace")?;
        let machine = fs::read_link("/proc/self/ns/net").context("the machine's namespace")?;
        let mut seen: Vec<PathBuf> = processes
            .iter()
            .filter_map(|process| process.namespace("net"))
            .filter(|space| *space != node && *space != machine)
            .collect();
        seen.sort();
        seen.dedup();
        for space in seen {
            census.add(Kind::NetworkNamespace, format!("{} with processes", space.display()));
        }
        for line in self.node.mountinfo()?.lines() {
            // Fields of proc(5), mountinfo: 3 the root of the mount, 4 the mount point.
            let fields: Vec<&str> = line.split(' ').collect();
            if let [_, _, _, root, point, ..] = fields[..]
                && root.starts_with("net:[")
            {
                census.add(Kind::NetworkNamespace, format!("{root} pinned at {point}"));
            }
        }
        Ok(())
    }

    fn count_mounts(&self, census: &mut Census) -> Result<()> {
        for line in self.node.mountinfo()?.lines() {
            census.add(Kind::NodeMount, without_numbers(line));
        }
        let table = fs::read_to_string(&self.machine_mounts).context("the machine's mounts")?;
        let directory = self.directory.display().to_string();
        for line in table.lines().filter(|line| line.contains(&directory)) {
            census.add(Kind::MachineMount, without_numbers(line));
        }
        Ok(())
    }

    fn count_rules(&self, census: &mut Census) -> Result<()> {
        let mut place = Vec::new();
        for line in self.node.output("nft", &["--stateless", "list", "ruleset"])?.lines() {
            let line = line.trim();
            if line == "}" {
                place.pop();
            } else if !line.is_empty() {
                census.add(Kind::NftRule, format!("{} {line}", place.join(" ")));
                if let Some(name) = line.strip_suffix(" {") {
                    place.push(name.to_owned());
                }
            }
        }
        for program in ["iptables-save", "ip6tables-save"] {
            let mut table = String::new();
            for line in self.node.output(program, &[])?.lines() {
                if line.starts_with('*') {
                    line.clone_into(&mut table);
                } else if !line.starts_with('#') && line != "COMMIT" {
                    // A chain is `:NAME POLICY [packets:bytes]`: the counters are not the rule.
                    let rule = line.split(" [").next().unwrap_or(line);
                    census.add(Kind::IptablesRule, format!("{program} {table} {rule}"));
                }
            }
        }
        Ok(())
    }

    fn count_leases(&self, census: &mut Census) {
        let networks = fs::read_dir(&self.leases).into_iter().flatten().flatten();
        for file in networks.flat_map(|network| fs::read_dir(network.path()).into_iter().flatten()) {
            let Ok(file) = file else { continue };
            let name = file.file_name().to_string_lossy().into_owned();
            // `lock` and `last_reserved_ip.0` stay by design.
            if name.parse::<std::net::IpAddr>().is_ok() {
                census.add(Kind::Lease, name);
            }
        }
    }

    fn count_descriptors(&self, census: &mut Census) -> Result<()> {
        let Some(pid) = self.daemon else {
            return Ok(());
        };
        let directory = format!("/proc/{pid}/fd");
        let entries = fs::read_dir(&directory).context("the daemon's descriptors: has it ended?")?;
        for entry in entries.flatten() {
            if let Ok(target) = fs::read_link(entry.path()) {
                let target = target.display().to_string();
                // Sockets and pipes have numbers; only their count can be compared.
                let what = match target.split_once(":[") {
                    Some((kind @ ("socket" | "pipe"), _)) => kind.to_owned(),
                    _ => target,
                };
                census.add(Kind::DaemonFd, what);
            }
        }
        Ok(())
    }

    fn count_sockets(&self, census: &mut Census) -> Result<()> {
        let net = self.node.proc_directory().join("net");
        let unix = fs::read_to_string(net.join("unix")).context("the node's unix sockets")?;
        for line in unix.lines().skip(1) {
            // proc(5): flags are field 3 (__SO_ACCEPTCON 0x10000 = listening), the path field 7.
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let [_, _, _, "00010000", _, _, _, path] = fields[..] {
                census.add(Kind::Socket, format!("unix {path}"));
            }
        }
        for table in ["tcp", "tcp6"] {
            let Ok(text) = fs::read_to_string(net.join(table)) else {
                continue;
            };
            for line in text.lines().skip(1) {
                // The fourth column is the state; 0A is LISTEN.
                let fields: Vec<&str> = line.split_whitespace().collect();
                if let [_, local, _, "0A", ..] = fields[..] {
                    census.add(Kind::Socket, format!("{table} {local}"));
                }
            }
        }
        Ok(())
    }
}

/// A process in words that are the same as long as it lives and runs the same program.
fn describe(process: &Process) -> String {
    format!("{} (started at {}) {}: {}", process.pid, process.start_ticks, process.name, process.command_line())
}

/// A line of a mount table without mount ids, device numbers and peer groups, which the kernel gives
/// out anew.
fn without_numbers(line: &str) -> String {
    let mut fields = line.split(' ').skip(3);
    let root = fields.next().unwrap_or_default();
    let point = fields.next().unwrap_or_default();
    let kind = line.split_once(" - ").map_or("", |(_, right)| right);
    format!("{root} on {point} {kind}")
}

/// Counts a directory's entries, without following links.
fn count_files(directory: &Path, left: &mut usize, census: &mut Census) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        *left = left.saturating_sub(1);
        ensure!(*left > 0, "too many files below {}", directory.display());
        census.add(Kind::File, entry.path().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            count_files(&entry.path(), left, census)?;
        }
    }
    Ok(())
}
