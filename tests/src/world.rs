// SPDX-License-Identifier: Apache-2.0
//! A *world*: one node, one network, one daemon, one client, and the census that closes it.
//!
//! ```text
//!   World::new ── node, cgroup, network (warmed up), daemon, image ── census ─┐
//!   World::live: the test, pods come and go                                   │ compare
//!   World::finish ── every pod stopped and removed through the CRI ── census ─┘
//!   drop ── daemon and pods killed, cgroup removed, directory removed, node's thread ended
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use proto::cri;
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::census::{Census, Scope};
use crate::cgroup::CgroupParent;
use crate::client::{Client, container_config, pod_config};
use crate::cni::{self, Masquerade, Network};
use crate::daemon::{Daemon, Settings};
use crate::images::Image;
use crate::limits;
use crate::log::Log;
use crate::node::Node;
use crate::sweep;

/// Reference of the image that every world has.
pub const BUSYBOX: &str = "localhost/husk-test/busybox:1";

/// Start of the names of the pods' cgroups.
const POD_CGROUP: &str = "pod";

/// At most this many worlds at a time in one test program.
static PLACES: Semaphore = Semaphore::const_new(limits::WORLDS);
/// Numbers the worlds of this process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The ground that a world stands on: everything but a daemon.
#[derive(Debug)]
pub struct Ground {
    /// The node that the daemon runs on.
    pub node: Arc<Node>,
    /// The cgroup of the daemon and of all its pods.
    pub cgroup: Arc<CgroupParent>,
    /// The node's network configuration.
    pub network: Network,
    /// Everything the test writes.
    directory: TempDir,
}

impl Ground {
    /// A node with a bridge network of this subnet and its own cgroup.
    ///
    /// # Errors
    /// When the machine refuses one of them.
    pub fn new(name: &str, subnet: &str, masquerade: Masquerade) -> Result<Ground> {
        let (directory, node, cgroup) = foundation(name)?;
        let network = Network::bridge(&directory.path().join("cni"), subnet, masquerade)?;
        Ground::warmed(directory, node, cgroup, network)
    }

    /// The same with macvlan instead of a bridge.
    ///
    /// # Errors
    /// When the machine refuses one of them.
    pub fn macvlan(name: &str, subnet: &str) -> Result<Ground> {
        let (directory, node, cgroup) = foundation(name)?;
        let network = Network::macvlan(&node, &directory.path().join("cni"), subnet)?;
        Ground::warmed(directory, node, cgroup, network)
    }

    fn warmed(directory: TempDir, node: Arc<Node>, cgroup: Arc<CgroupParent>, network: Network) -> Result<Ground> {
        network.warm_up(&node)?;
        Ok(Ground { node, cgroup, network, directory })
    }

    /// The directory of the world, removed with it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The settings of a daemon on this ground that keeps its things in the subdirectory `name`.
    #[must_use]
    pub fn settings(&self, name: &str) -> Settings {
        let mut settings = Settings::new(&self.directory().join(name));
        let conf_dir = format!("{:?}", self.network.conf_dir.display().to_string());
        settings.set("cni", "conf_dir", conf_dir);
        settings.set("cni", "bin_dirs", format!("[{:?}]", cni::BIN_DIR));
        let hosts = format!("{:?}", self.hosts_directory().display().to_string());
        settings.set("image", "registry_config", hosts);
        // Pods that name no parent must not reach the machine's own part of the tree.
        settings.set("cgroup", "parent", format!("{:?}", format!("{}/default-{name}", self.cgroup.path())));
        settings
    }

    /// The directory of `<host>/hosts.toml` files; `[image] registry_config`.
    #[must_use]
    pub fn hosts_directory(&self) -> PathBuf {
        self.directory().join("certs.d")
    }

    /// Starts a daemon on this ground, in the cgroup `<name>` below the world's.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn daemon(&self, name: &str) -> Result<Daemon> {
        let settings = self.settings(name);
        fs::create_dir_all(&settings.directory)?;
        if let Some(parent) = settings.socket.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::create_dir_all(self.hosts_directory())?;
        let joins = self.cgroup.child(name)?;
        Daemon::start(&self.node, settings, joins).await
    }

    /// What a census of this ground looks at, for a daemon with these settings.
    #[must_use]
    pub fn scope(&self, daemon: &Daemon) -> Scope {
        let settings = daemon.settings();
        Scope {
            node: Arc::clone(&self.node),
            directory: self.directory().to_owned(),
            machine_mounts: PathBuf::from("/proc/self/mountinfo"),
            cgroup: Arc::clone(&self.cgroup),
            leases: self.network.leases.clone(),
            files: vec![settings.root.clone(), settings.state.clone()],
            daemon: daemon.process().map(|process| process.pid),
        }
    }
}

/// Waits until each layer is marked durable, which the image store does in the background (design.md §3): a mark that
/// appears after the first census would look like a leak.
fn wait_until_durable(layers: &Path) -> Result<()> {
    let deadline = Instant::now() + limits::SETTLE;
    loop {
        let entries = fs::read_dir(layers).with_context(|| format!("read {}", layers.display()))?;
        let mut layers = entries.flatten().map(|entry| entry.path());
        let Some(volatile) = layers.find(|layer| !layer.join("durable").exists()) else {
            return Ok(());
        };
        ensure!(Instant::now() < deadline, "{} does not become durable", volatile.display());
        std::thread::sleep(limits::TICK);
    }
}

/// A directory, a node and a cgroup of the same name.
fn foundation(name: &str) -> Result<(TempDir, Arc<Node>, Arc<CgroupParent>)> {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| {
        if let Err(error) = sweep::sweep() {
            eprintln!("take back what an earlier test program left: {error:#}");
        }
    });
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let unique = format!("{}{}-{number}", sweep::PREFIX, std::process::id());
    // Short, because a socket's path has room for 108 bytes (unix(7)).
    let directory = tempfile::Builder::new()
        .prefix(&format!("{unique}-"))
        .rand_bytes(4)
        .tempdir_in(sweep::DIRECTORY)
        .context("make the world's directory")?;
    let node = Arc::new(Node::new(name)?);
    let cgroup = Arc::new(CgroupParent::new(&unique)?);
    Ok((directory, node, cgroup))
}

/// A daemon on its ground, and a client of it.
#[derive(Debug)]
pub struct World {
    /// The client.
    pub client: Client,
    /// The daemon.
    pub daemon: Daemon,
    /// What both stand on.
    pub ground: Ground,
    before: Census,
    pods: AtomicU32,
    _place: SemaphorePermit<'static>,
}

impl World {
    /// A world with a bridge network, a running daemon and the image [`BUSYBOX`].
    ///
    /// # Errors
    /// When any part does not come up.
    pub async fn new(name: &str) -> Result<World> {
        World::with_network(name, "10.88.0.0/24", Masquerade::Off).await
    }

    /// The same with this pod subnet.
    ///
    /// # Errors
    /// When any part does not come up.
    pub async fn with_network(name: &str, subnet: &str, masquerade: Masquerade) -> Result<World> {
        let place = PLACES.acquire().await.context("wait for a place")?;
        let ground = Ground::new(name, subnet, masquerade)?;
        World::on(ground, place).await
    }

    /// A world whose pods are attached by macvlan.
    ///
    /// # Errors
    /// When any part does not come up.
    pub async fn macvlan(name: &str, subnet: &str) -> Result<World> {
        let place = PLACES.acquire().await.context("wait for a place")?;
        let ground = Ground::macvlan(name, subnet)?;
        World::on(ground, place).await
    }

    /// Two worlds whose nodes are linked by a wire, with pods in `10.91.0.0/24` and `10.92.0.0/24`.
    /// They take one place together, so that two such tests cannot wait for each other.
    ///
    /// # Errors
    /// When any part does not come up.
    pub async fn linked(first: &str, second: &str) -> Result<(World, World)> {
        let place = PLACES.acquire().await.context("wait for a place")?;
        let one = Ground::new(first, "10.91.0.0/24", Masquerade::Off)?;
        let two = Ground::new(second, "10.92.0.0/24", Masquerade::Off)?;
        let wire = crate::node::Wire {
            first: [192, 168, 9, 1].into(),
            second: [192, 168, 9, 2].into(),
            first_pods: "10.91.0.0/24".to_owned(),
            second_pods: "10.92.0.0/24".to_owned(),
        };
        Node::link(&one.node, &two.node, &wire)?;
        // The place is counted once: the second world holds a permit of an empty request.
        let none = PLACES.try_acquire_many(0).context("take no place")?;
        Ok((World::on(one, place).await?, World::on(two, none).await?))
    }

    async fn on(ground: Ground, place: SemaphorePermit<'static>) -> Result<World> {
        let daemon = ground.daemon("husk").await?;
        let client = daemon.connect().await?;
        let archive = ground.directory().join("busybox.tar");
        fs::write(&archive, Image::busybox()?.build().oci_archive(&[BUSYBOX]))?;
        client.load(&archive, &[]).await.with_context(|| format!("load the image; the log:\n{}", daemon.log_tail()))?;
        wait_until_durable(&daemon.settings().root.join("images/layers"))?;
        let before = ground.scope(&daemon).take()?;
        Ok(World { client, daemon, ground, before, pods: AtomicU32::new(0), _place: place })
    }

    /// The world's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.ground.directory()
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.ground.node
    }

    /// A configuration of a new pod with its own uid, and, as a kubelet does it, its log directory and its
    /// cgroup already made.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub fn pod_config(&self, name: &str) -> Result<cri::PodSandboxConfig> {
        let uid = format!("uid{}", self.pods.fetch_add(1, Ordering::Relaxed));
        let mut config = pod_config(name, &uid);
        let logs = self.directory().join("logs").join(&uid);
        fs::create_dir_all(&logs).context("make the pod's log directory")?;
        config.log_directory = logs.display().to_string();
        let name = format!("{POD_CGROUP}{uid}");
        self.ground.cgroup.child(&name)?;
        if let Some(linux) = &mut config.linux {
            linux.cgroup_parent = format!("{}/{name}", self.ground.cgroup.path());
        }
        Ok(config)
    }

    /// A configuration of a container that runs a command of [`BUSYBOX`].
    #[must_use]
    pub fn container_config(&self, name: &str, command: &[&str]) -> cri::ContainerConfig {
        container_config(name, BUSYBOX, command)
    }

    /// Runs a pod with nothing special about it and gives its id and configuration.
    ///
    /// # Errors
    /// When the daemon refuses; the message has the end of its log.
    pub async fn run_pod(&self, name: &str) -> Result<(String, cri::PodSandboxConfig)> {
        let config = self.pod_config(name)?;
        let id = self
            .client
            .run_pod(&config)
            .await
            .with_context(|| format!("run pod {name}; the log:\n{}", self.daemon.log_tail()))?;
        Ok((id, config))
    }

    /// Where the log of a container of a pod lies.
    #[must_use]
    pub fn log_path(&self, pod: &cri::PodSandboxConfig, container: &str) -> PathBuf {
        Path::new(&pod.log_directory).join(format!("{container}.log"))
    }

    /// The log of a container of a pod.
    ///
    /// # Errors
    /// When there is none.
    pub fn log(&self, pod: &cri::PodSandboxConfig, container: &str) -> Result<Log> {
        Log::read(&self.log_path(pod, container))
    }

    /// Waits until a container has written this text to its standard error: what a program says reaches its log a
    /// moment after the program has said it.
    ///
    /// # Errors
    /// When it does not; the message has what it wrote.
    pub async fn wait_for_stderr(&self, pod: &cri::PodSandboxConfig, container: &str, text: &str) -> Result<()> {
        let deadline = Instant::now() + limits::SETTLE;
        loop {
            let written = self.log(pod, container)?.stderr()?;
            if written.contains(text) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{container} did not write {text:?}:\n{written}");
            tokio::time::sleep(limits::TICK).await;
        }
    }

    /// kill -9 of the daemon, a new one, and a new client.
    ///
    /// # Errors
    /// When the new daemon does not come up.
    pub async fn kill_and_restart(&mut self) -> Result<()> {
        self.daemon.kill();
        self.start_again().await
    }

    /// Starts the daemon again after it has ended, and connects anew.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_again(&mut self) -> Result<()> {
        self.daemon.start_again(&self.ground.node).await?;
        self.client = self.daemon.connect().await?;
        Ok(())
    }

    /// Removes the cgroups of pods, as a kubelet does when a pod is gone. One that has something in it
    /// cannot be removed, and is then a leak.
    fn remove_pod_cgroups(&self) {
        for hierarchy in self.ground.cgroup.directories() {
            for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(POD_CGROUP) {
                    let _ = fs::remove_dir(entry.path());
                }
            }
        }
    }

    /// Waits until nothing is there that was not there at the beginning. Every pod must be removed.
    ///
    /// # Errors
    /// When something is left; the message names it.
    pub fn assert_clean(&self) -> Result<()> {
        self.remove_pod_cgroups();
        self.scope().assert_clean(&self.baseline())
    }

    /// What the census of this world looks at.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.ground.scope(&self.daemon)
    }

    /// The census of the beginning, with the daemon that runs now: after a restart its process is
    /// another one, which is no leak. Its descriptors must be as many as before.
    fn baseline(&self) -> Census {
        let mut before = self.before.clone();
        if let Some(process) = self.daemon.process() {
            before.expect_process(&process);
        }
        before
    }

    /// Runs a test in this world, and ends the world: when the test went well, every pod and every image
    /// that it brought is removed through the CRI, and nothing may be there that was not there before.
    ///
    /// # Errors
    /// Those of the test, with the end of the daemon's log; or what was left behind.
    pub async fn live(mut self, test: impl AsyncFnOnce(&mut World) -> Result<()>) -> Result<()> {
        let result = test(&mut self).await;
        let result = match result {
            Ok(()) => self.finish().await,
            failed => failed,
        };
        result.map_err(|error| anyhow!("{error:?}\n\nThe daemon's log ends with:\n{}\n", self.daemon.log_tail()))
    }

    /// Removes every pod and image that was not there at the beginning, and compares the census.
    ///
    /// # Errors
    /// When something cannot be removed or was left behind.
    pub async fn finish(&self) -> Result<()> {
        self.client.remove_all_pods().await?;
        for image in self.client.list_images(None).await? {
            if !image.repo_tags.iter().any(|tag| tag == BUSYBOX) {
                self.client.remove_image(&image.id).await?;
            }
        }
        self.remove_pod_cgroups();
        let (scope, before) = (self.scope(), self.baseline());
        // On another thread, so that the connections of this runtime go on closing meanwhile.
        tokio::task::spawn_blocking(move || scope.assert_clean(&before)).await.context("the census panicked")?
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.daemon.kill();
        for process in self.scope().processes() {
            process.kill();
        }
        if let Err(error) = self.ground.cgroup.remove() {
            eprintln!("take back the world's cgroup: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ground_is_taken_back_whole() {
        let ground = Ground::new("ground", "10.66.0.0/24", Masquerade::On).unwrap();
        let directory = ground.directory().to_owned();
        let groups: Vec<PathBuf> = ground.cgroup.directories().map(Path::to_path_buf).collect();
        let settings = ground.settings("husk");
        assert!(settings.socket.as_os_str().len() < 100, "a socket's path is short");
        assert!(settings.to_toml().contains("bin_dirs = [\"/usr/lib/cni\"]"));
        assert!(directory.is_dir() && groups.iter().all(|group| group.is_dir()));
        drop(ground);
        assert!(!directory.exists());
        assert!(groups.iter().all(|group| !group.exists()));
    }
}
