// SPDX-License-Identifier: Apache-2.0
//! The census is shown to see: one leak of each kind is planted, and each is reported.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use husk_tests::census::{Census, Kind, Scope};
use husk_tests::cgroup::CgroupParent;
use husk_tests::node::Node;
use tempfile::TempDir;

/// A program that stands in for the daemon: it does what is written to its stdin.
struct Puppet(Child);

impl Puppet {
    fn new(node: &Node) -> Result<Puppet> {
        let mut command = Command::new("/bin/busybox");
        // The shell's own descriptors above 2 are the same before and after.
        command
            .args(["sh", "-c", "while read line; do eval \"$line\"; echo done; done"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Ok(Puppet(node.run(move || command.spawn())??))
    }

    fn order(&mut self, line: &str) -> Result<()> {
        let stdin = self.0.stdin.as_mut().context("its stdin")?;
        writeln!(stdin, "{line}")?;
        let mut answer = String::new();
        BufReader::new(self.0.stdout.as_mut().context("its stdout")?).read_line(&mut answer)?;
        ensure!(answer == "done\n", "the puppet said {answer:?}");
        Ok(())
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everything a scope looks at, without a daemon.
struct Stage {
    scope: Scope,
    puppet: Puppet,
    machine: Node,
    directory: TempDir,
    before: Census,
}

impl Stage {
    fn new(name: &str) -> Result<Stage> {
        let directory = tempfile::Builder::new().prefix("husk-test-").tempdir_in("/tmp")?;
        let node = Arc::new(Node::new(name)?);
        // A second node plays the machine, whose real mounts no test may touch.
        let machine = Node::new("machine")?;
        let cgroup = CgroupParent::new(&format!("husk-test-{}-{name}", std::process::id()))?;
        let mut puppet = Puppet::new(&node)?;
        puppet.order(":")?;
        for inner in ["leases/net", "root", "state"] {
            fs::create_dir_all(directory.path().join(inner))?;
        }
        let scope = Scope {
            node,
            directory: directory.path().to_owned(),
            machine_mounts: machine.proc_directory().join("mountinfo"),
            cgroup: Arc::new(cgroup),
            leases: directory.path().join("leases"),
            files: vec![directory.path().join("root"), directory.path().join("state")],
            daemon: Some(puppet.0.id()),
        };
        let before = scope.take()?;
        Ok(Stage { scope, puppet, machine, directory, before })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The kinds that the census reports now, each once.
    fn reported(&self) -> Result<Vec<Kind>> {
        let mut kinds: Vec<Kind> = self.scope.take()?.since(&self.before).into_iter().map(|leak| leak.kind).collect();
        kinds.dedup();
        Ok(kinds)
    }

    /// Plants with `plant`, sees exactly `expected`, takes back with `take_back`, and is clean again.
    fn check(
        &mut self,
        expected: &[Kind],
        plant: impl FnOnce(&mut Stage) -> Result<()>,
        take_back: impl FnOnce(&mut Stage) -> Result<()>,
    ) -> Result<()> {
        plant(self)?;
        let reported = self.reported();
        take_back(self)?;
        assert_eq!(reported?, expected);
        self.scope.assert_clean(&self.before)
    }
}

fn tmpfs(node: &Node, at: &Path) -> Result<()> {
    let at = at.display().to_string();
    node.output("mount", &["-t", "tmpfs", "leak", &at])?;
    Ok(())
}

fn unmount(node: &Node, at: &Path) -> Result<()> {
    node.output("umount", &[&at.display().to_string()])?;
    Ok(())
}

#[test]
fn nothing_planted_nothing_reported() -> Result<()> {
    let stage = Stage::new("quiet")?;
    assert_eq!(stage.reported()?, []);
    stage.scope.assert_clean(&stage.before)
}

#[test]
fn a_process_is_seen_by_each_of_its_marks() -> Result<()> {
    let mut stage = Stage::new("process")?;
    let sleeper = || {
        let mut command = Command::new("/bin/busybox");
        command.args(["sleep", "1000"]).env_clear();
        command
    };
    let mark = stage.directory.path().display().to_string();
    let join = stage.scope.cgroup.child("stray")?[0].clone();
    stage.before = stage.scope.take()?;
    let mut commands = Vec::new();
    let mut marked = sleeper();
    marked.env(husk_tests::daemon::MARK, &mark);
    commands.push(marked);
    let mut named = Command::new("/bin/busybox");
    named.args(["tail", "-f", "/dev/null", &mark]).env_clear().stderr(Stdio::null());
    commands.push(named);
    let mut grouped = Command::new("/bin/busybox");
    let script = format!("echo 0 > {}; exec sleep 1000", join.display());
    // The script must not name the directory of the world; the cgroup's name is another.
    grouped.args(["sh", "-c", &script]).env_clear();
    commands.push(grouped);
    for mut command in commands {
        let mut child = command.spawn()?;
        // The exec and the join happen at their own pace.
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut reported = Vec::new();
        while reported.is_empty() && Instant::now() < deadline {
            reported = stage.reported()?;
        }
        child.kill()?;
        child.wait()?;
        assert_eq!(reported, [Kind::Process], "{command:?}");
        stage.scope.assert_clean(&stage.before)?;
    }
    Ok(())
}

#[test]
fn a_process_in_the_node_is_seen() -> Result<()> {
    let mut stage = Stage::new("resident")?;
    let node = Arc::clone(&stage.scope.node);
    let mut child = node.run(|| Command::new("/bin/busybox").args(["sleep", "1000"]).env_clear().spawn())??;
    assert_eq!(stage.reported()?, [Kind::Process]);
    child.kill()?;
    child.wait()?;
    stage.scope.assert_clean(&stage.before)?;
    stage.check(&[], |_| Ok(()), |_| Ok(()))
}

#[test]
fn a_pinned_namespace_and_mounts_are_seen() -> Result<()> {
    let mut stage = Stage::new("mounts")?;
    // `ip netns` makes /run/netns a mount of its own, once; that is no leak.
    stage.scope.node.output("ip", &["netns", "add", "first"])?;
    stage.scope.node.output("ip", &["netns", "delete", "first"])?;
    stage.before = stage.scope.take()?;
    stage.check(
        &[Kind::NetworkNamespace, Kind::NodeMount],
        |stage| stage.scope.node.output("ip", &["netns", "add", "leak"]).map(drop),
        |stage| stage.scope.node.output("ip", &["netns", "delete", "leak"]).map(drop),
    )?;
    let at = stage.path("leases");
    stage.check(&[Kind::NodeMount], |stage| tmpfs(&stage.scope.node, &at), |stage| unmount(&stage.scope.node, &at))?;
    stage.check(&[Kind::MachineMount], |stage| tmpfs(&stage.machine, &at), |stage| unmount(&stage.machine, &at))
}

#[test]
fn a_namespace_held_by_a_process_is_seen() -> Result<()> {
    let stage = Stage::new("holder")?;
    let mut command = Command::new("unshare");
    command
        .args(["--net", "/bin/busybox", "sh", "-c", "echo ready; read end"])
        .env_clear()
        .env("PATH", "/bin:/usr/bin")
        .env(husk_tests::daemon::MARK, stage.directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().context("its stdout")?).read_line(&mut line)?;
    let reported = stage.reported();
    child.kill()?;
    child.wait()?;
    assert_eq!(reported?, [Kind::Process, Kind::NetworkNamespace]);
    stage.scope.assert_clean(&stage.before)
}

#[test]
fn a_cgroup_of_any_hierarchy_is_seen() -> Result<()> {
    let mut stage = Stage::new("cgroups")?;
    let directories: Vec<PathBuf> = stage.scope.cgroup.directories().map(Path::to_path_buf).collect();
    assert!(!directories.is_empty());
    for directory in directories {
        let leak = directory.join("leak");
        stage.check(&[Kind::Cgroup], |_| Ok(fs::create_dir(&leak)?), |_| Ok(fs::remove_dir(&leak)?))?;
    }
    Ok(())
}

#[test]
fn links_and_rules_are_seen() -> Result<()> {
    let mut stage = Stage::new("net")?;
    let run = |stage: &Stage, line: &str| -> Result<()> {
        let words: Vec<&str> = line.split(' ').collect();
        stage.scope.node.output(words[0], &words[1..])?;
        Ok(())
    };
    stage.check(
        &[Kind::Link],
        |stage| run(stage, "ip link add leak0 type veth peer name leak1"),
        |stage| run(stage, "ip link delete leak0"),
    )?;
    stage.check(
        &[Kind::NftRule],
        |stage| run(stage, "nft add table inet leak"),
        |stage| run(stage, "nft delete table inet leak"),
    )?;
    // The tables and chains that iptables makes at its first rule stay, as on any node.
    run(&stage, "iptables -A FORWARD -s 203.0.113.1 -j DROP")?;
    run(&stage, "iptables -D FORWARD -s 203.0.113.1 -j DROP")?;
    stage.before = stage.scope.take()?;
    stage.check(
        &[Kind::NftRule, Kind::IptablesRule],
        |stage| run(stage, "iptables -A FORWARD -s 203.0.113.1 -j DROP"),
        |stage| run(stage, "iptables -D FORWARD -s 203.0.113.1 -j DROP"),
    )
}

#[test]
fn a_link_that_goes_later_is_waited_for() -> Result<()> {
    let stage = Stage::new("later")?;
    let node = Arc::clone(&stage.scope.node);
    node.output("ip", &["netns", "add", "away"])?;
    node.output("ip", &["link", "add", "leak0", "type", "veth", "peer", "name", "leak1", "netns", "away"])?;
    // Its peer's namespace goes, and the kernel removes the pair when it gets round to it.
    node.output("ip", &["netns", "delete", "away"])?;
    let mut before = stage.before.clone();
    if let Ok(now) = stage.scope.take() {
        // The mount that `ip netns` leaves on /run/netns is not what this test is about.
        for leak in now.since(&before) {
            if leak.kind == Kind::NodeMount {
                before.expect(leak);
            }
        }
    }
    stage.scope.assert_clean(&before)
}

#[test]
fn files_leases_sockets_and_descriptors_are_seen() -> Result<()> {
    let mut stage = Stage::new("files")?;
    let (file, lease) = (stage.path("root/a"), stage.path("leases/net/10.9.9.9"));
    let (lock, socket) = (stage.path("leases/net/lock"), stage.path("socket"));
    for directory in ["root", "state"] {
        let inner = stage.path(directory).join("inner");
        stage.check(&[Kind::File], |_| Ok(fs::create_dir(&inner)?), |_| Ok(fs::remove_dir(&inner)?))?;
    }
    stage.check(&[Kind::File], |_| Ok(fs::write(&file, "x")?), |_| Ok(fs::remove_file(&file)?))?;
    stage.check(&[Kind::Lease], |_| Ok(fs::write(&lease, "id")?), |_| Ok(fs::remove_file(&lease)?))?;
    stage.check(&[], |_| Ok(fs::write(&lock, "")?), |_| Ok(fs::remove_file(&lock)?))?;
    let listener = RefCell::new(None);
    stage.check(
        &[Kind::Socket],
        |stage| {
            let path = socket.clone();
            *listener.borrow_mut() = Some(stage.scope.node.run(move || UnixListener::bind(path))??);
            Ok(())
        },
        |_| {
            listener.take();
            Ok(())
        },
    )?;
    stage.check(
        &[Kind::DaemonFd],
        |stage| stage.puppet.order("exec 7</etc/passwd"),
        |stage| stage.puppet.order("exec 7<&-"),
    )
}

#[test]
fn a_leak_that_stays_is_named_after_a_bounded_time() -> Result<()> {
    let stage = Stage::new("stays")?;
    fs::write(stage.path("state/forgotten"), "")?;
    let begun = Instant::now();
    let error = stage.scope.assert_clean(&stage.before).err().context("a leak was not reported")?;
    assert!(begun.elapsed() < 2 * husk_tests::limits::SETTLE);
    let text = error.to_string();
    assert!(text.contains("1 things") && text.contains("state/forgotten"), "{text}");
    Ok(())
}
