// SPDX-License-Identifier: Apache-2.0
//! A *node*: what a machine of a cluster is to husk, made of namespaces on this one.
//!
//! A node is a thread that has left the machine's network, mount, UTS and IPC namespaces. Programs
//! started from it inherit them (fork copies the calling thread's), so a daemon and the CNI plugins it
//! runs see bridges, rules, sysctls and mounts of their own. `/run`, `/etc` and `/var/lib` of the node are
//! private copies: nothing written there reaches the machine.
//!
//! ```text
//!   test threads ──run(closure)──▶ node thread ──fork──▶ husk serve ──▶ CNI plugins, monitors
//!                                  (own net, mnt, uts, ipc)
//! ```

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// What the node's thread is asked to do.
type Job = Box<dyn FnOnce() + Send>;

/// A machine of its own for network and mounts. Dropping it ends its thread; the kernel takes the
/// namespaces away with the last process in them.
#[derive(Debug)]
pub struct Node {
    name: String,
    thread_id: i32,
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// The wire between two nodes: one address at each end, and the pod subnet behind each.
#[derive(Clone, Debug)]
pub struct Wire {
    /// Address of the first node on the wire.
    pub first: Ipv4Addr,
    /// Address of the second node on the wire.
    pub second: Ipv4Addr,
    /// Subnet of the pods on the first node, as `10.1.0.0/24`.
    pub first_pods: String,
    /// Subnet of the pods on the second node.
    pub second_pods: String,
}

impl Node {
    /// Makes a node whose loopback is up.
    ///
    /// # Errors
    /// When the namespaces or mounts are refused: the caller must be root.
    pub fn new(name: &str) -> Result<Node> {
        let (jobs, queue) = mpsc::sync_channel::<Job>(1);
        let (ready, started) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("node-{name}"))
            .spawn(move || live(&queue, &ready))
            .context("start the node's thread")?;
        let mut node = Node { name: name.to_owned(), thread_id: 0, jobs: Some(jobs), thread: Some(thread) };
        node.thread_id = started
            .recv()
            .context("the node's thread ended at once")?
            .with_context(|| format!("make the node {name}: this needs root"))?;
        node.output("ip", &["link", "set", "lo", "up"])?;
        Ok(node)
    }

    /// Name given at creation.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a closure on the node's thread, inside its namespaces. Sockets that it opens stay in the
    /// node, wherever they are used.
    ///
    /// # Errors
    /// When the closure panicked.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (answer, result) = mpsc::sync_channel(1);
        let job: Job = Box::new(move || {
            // The receiver waits below; it cannot have gone.
            let _ = answer.send(work());
        });
        self.jobs
            .as_ref()
            .and_then(|jobs| jobs.send(job).ok())
            .with_context(|| format!("the thread of node {} has ended", self.name))?;
        result.recv().map_err(|_| anyhow!("a job on node {} panicked", self.name))
    }

    /// Runs a program to its end inside the node and gives its standard output.
    ///
    /// # Errors
    /// When it cannot be started or fails; the message has its standard error.
    pub fn output(&self, program: &str, args: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null());
        let line = format!("{program} {}", args.join(" "));
        let output =
            self.run(move || command.output())?.with_context(|| format!("run `{line}` on node {}", self.name))?;
        if !output.status.success() {
            bail!(
                "`{line}` on node {} failed ({}): {}",
                self.name,
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The node's directory below `/proc`, where its `ns/`, `mountinfo` and `net/` are.
    #[must_use]
    pub fn proc_directory(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/task/{}", std::process::id(), self.thread_id))
    }

    /// A path of one of its namespaces that any process can open.
    #[must_use]
    pub fn namespace(&self, kind: &str) -> PathBuf {
        self.proc_directory().join("ns").join(kind)
    }

    /// The mount table of the node, as `/proc/<pid>/mountinfo`, proc(5).
    ///
    /// # Errors
    /// When the thread has gone.
    pub fn mountinfo(&self) -> Result<String> {
        let path = self.proc_directory().join("mountinfo");
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }

    /// Names of the network interfaces of the node.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn links(&self) -> Result<Vec<String>> {
        let text = self.output("ip", &["-o", "link", "show"])?;
        Ok(text
            .lines()
            .filter_map(|line| line.split(": ").nth(1))
            .map(|name| name.split('@').next().unwrap_or(name).to_owned())
            .collect())
    }

    /// Lays a wire (a veth pair) between two nodes, with routes to the pods behind each end and
    /// forwarding switched on, so that pods reach each other without NAT.
    ///
    /// # Errors
    /// When `ip` refuses, for instance because the two are already linked.
    pub fn link(first: &Node, second: &Node, wire: &Wire) -> Result<()> {
        let (near, far) = (format!("to-{}", second.name), format!("to-{}", first.name));
        let far_namespace = second.namespace("net").display().to_string();
        first.output("ip", &["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &far_namespace])?;
        for (node, end, own, other, pods) in [
            (first, &near, wire.first, wire.second, &wire.second_pods),
            (second, &far, wire.second, wire.first, &wire.first_pods),
        ] {
            let (own, other) = (format!("{own}/30"), other.to_string());
            node.output("ip", &["address", "add", &own, "dev", end])?;
            node.output("ip", &["link", "set", end, "up"])?;
            node.output("ip", &["route", "add", pods, "via", &other])?;
            node.run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1"))?.context("switch forwarding on")?;
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The thread ends when nobody can send it jobs any more.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The life of a node's thread.
fn live(queue: &Receiver<Job>, ready: &SyncSender<Result<i32>>) {
    let made = enter_own_namespaces().map(|()| nix::unistd::gettid().as_raw());
    let failed = made.is_err();
    if ready.send(made).is_err() || failed {
        return;
    }
    while let Ok(job) = queue.recv() {
        // A panicking job drops its answer, which its caller sees; the node lives on.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    }
}

/// Leaves the machine: namespaces first, then everything a daemon or plugin could write to.
fn enter_own_namespaces() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC)
        .context("leave the machine's namespaces")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("make all mounts private")?;
    // Pins of network namespaces and the lock of iptables.
    mount(Some("node"), "/run", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755"))
        .context("mount a private /run")?;
    // Shared, as systemd makes it: programs that pin namespaces below it rely on that or arrange it.
    mount(none, "/run", none, MsFlags::MS_SHARED, none).context("share /run")?;
    fs::create_dir("/run/netns").context("make /run/netns")?;
    // What CNI and its plugins keep: /etc/cni/net.d, /var/lib/cni. The directories may be missing on
    // the machine, and must not be made there.
    for (name, target) in [("etc", "/etc"), ("var-lib", "/var/lib")] {
        cover(Path::new("/run/node").join(name).as_path(), target)?;
    }
    for directory in ["/etc/cni/net.d", "/var/lib/cni"] {
        fs::create_dir_all(directory).with_context(|| format!("make {directory}"))?;
        mount(Some("node"), directory, Some("tmpfs"), MsFlags::empty(), none)
            .with_context(|| format!("mount a private {directory}"))?;
    }
    Ok(())
}

/// Covers a directory of the machine by an overlay whose writes go to `scratch`.
fn cover(scratch: &Path, target: &str) -> Result<()> {
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    for directory in [&upper, &work] {
        fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    }
    let options = format!("lowerdir={target},upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("node"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .with_context(|| format!("cover {target} by a private copy"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Names of the machine's links and its routes; counters change by themselves.
    fn machine_links() -> (Vec<String>, String) {
        let table = fs::read_to_string("/proc/self/net/dev").unwrap();
        let names =
            table.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned()).collect();
        let routes = fs::read_to_string("/proc/self/net/fib_trie").unwrap();
        (names, routes)
    }

    #[test]
    fn programs_started_from_a_node_live_in_its_namespaces() {
        let machine = machine_links();
        let node = Node::new("alone").unwrap();
        for kind in ["net", "mnt", "uts", "ipc"] {
            let inside = node.output("readlink", &[&format!("/proc/self/ns/{kind}")]).unwrap();
            let expected = fs::read_link(node.namespace(kind)).unwrap();
            assert_eq!(inside.trim(), expected.to_str().unwrap());
            let outside = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            assert_ne!(expected, outside, "{kind} is the machine's");
        }
        assert_eq!(node.links().unwrap(), ["lo"]);
        node.output("ip", &["link", "add", "own0", "type", "bridge"]).unwrap();
        assert_eq!(node.links().unwrap(), ["lo", "own0"]);
        assert_eq!(machine_links(), machine);
    }

    #[test]
    fn what_a_node_writes_to_run_etc_and_var_does_not_reach_the_machine() {
        let node = Node::new("writer").unwrap();
        let files = ["/run/netns/x", "/etc/cni/net.d/x.conflist", "/etc/husk-test-probe", "/var/lib/cni/x"];
        node.run(move || {
            for file in files {
                fs::write(file, "x").unwrap();
            }
        })
        .unwrap();
        assert_eq!(node.output("cat", &["/etc/husk-test-probe"]).unwrap(), "x");
        for file in files {
            assert!(!Path::new(file).exists(), "{file} reached the machine");
        }
    }

    #[test]
    fn a_panicking_job_is_reported_and_the_node_lives_on() {
        let node = Node::new("panics").unwrap();
        let lost: Result<()> = node.run(|| panic!("deliberate: a job that panics"));
        assert!(lost.unwrap_err().to_string().contains("panicked"));
        assert_eq!(node.run(|| 7).unwrap(), 7);
        assert!(node.output("false", &[]).is_err());
    }

    #[test]
    fn two_linked_nodes_reach_each_other_and_nobody_else() {
        let machine = machine_links();
        let (first, second) = (Node::new("east").unwrap(), Node::new("west").unwrap());
        let wire = Wire {
            first: Ipv4Addr::new(192, 168, 7, 1),
            second: Ipv4Addr::new(192, 168, 7, 2),
            first_pods: "10.91.0.0/24".to_owned(),
            second_pods: "10.92.0.0/24".to_owned(),
        };
        Node::link(&first, &second, &wire).unwrap();
        let listener = second.run(|| TcpListener::bind(("0.0.0.0", 7000)).unwrap()).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, peer) = listener.accept().unwrap();
            stream.write_all(peer.ip().to_string().as_bytes()).unwrap();
        });
        let seen = first
            .run(|| {
                let mut stream = TcpStream::connect(("192.168.7.2", 7000)).unwrap();
                let mut seen = String::new();
                stream.read_to_string(&mut seen).unwrap();
                seen
            })
            .unwrap();
        server.join().unwrap();
        assert_eq!(seen, "192.168.7.1");
        let routes = first.output("ip", &["route"]).unwrap();
        assert!(routes.contains("10.92.0.0/24 via 192.168.7.2"), "{routes}");
        // The machine itself has neither the links nor a route.
        assert_eq!(machine_links(), machine);
    }
}
