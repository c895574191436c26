// SPDX-License-Identifier: Apache-2.0
//! All pods of one instance of husk.

use std::collections::BTreeMap;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use cgroups::{CgroupPath, Hierarchy, Layout};
use serde_json::json;

use crate::blocking::Blocking;
use crate::config::{ContainerConfig, ContainerKey, PodConfig, PodKey};
use crate::container::{Container, ContainerStatus};
use crate::error::Error;
use crate::exec::ExecOutcome;
use crate::ids::{ContainerId, PodId};
use crate::monitors::Programs;
use crate::oci::CgroupFacts;
use crate::operations::Operations;
use crate::paths::Paths;
use crate::pod::{Pod, PodStatus};
use crate::ports::{Images, Network};
use crate::records::boot_id;
use crate::recover::Recovered;
use crate::snapshot::Snapshot;
use crate::time::Clock;

/// What an instance of husk works with.
#[derive(Debug)]
pub struct Options {
    /// Records and container file systems; survives a reboot.
    pub root: PathBuf,
    /// Sockets and live files; gone after a reboot.
    pub state: PathBuf,
    /// Where network namespaces are pinned.
    pub netns_dir: PathBuf,
    /// The cgroup below which pods live that name none.
    pub cgroup_parent: String,
    /// husk-monitor, in a sealed memfd.
    pub monitor_program: OwnedFd,
    /// husk-pause, in a sealed memfd.
    pub pause_program: OwnedFd,
    /// Tells this monitor program from every other.
    pub build: String,
    /// This machine's cgroup hierarchies.
    pub cgroups: Hierarchy,
}

/// All pods of one instance of husk; a handle that is cheap to clone.
#[derive(Clone)]
pub struct Pods {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) paths: Paths,
    pub(crate) boot_id: String,
    /// Capabilities that this process can give at all, a bit per number.
    pub(crate) available_capabilities: u64,
    pub(crate) cgroup_facts: CgroupFacts,
    pub(crate) default_cgroup_parent: String,
    pub(crate) programs: Programs,
    pub(crate) cgroups: Hierarchy,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) images: Arc<dyn Images>,
    pub(crate) blocking: Blocking,
    pub(crate) clock: Clock,
    pub(crate) pod_operations: Operations<PodKey, PodConfig, PodId>,
    pub(crate) container_operations: Operations<(PodId, ContainerKey), ContainerConfig, ContainerId>,
    snapshot: ArcSwap<Snapshot>,
    pods: Mutex<BTreeMap<PodId, Arc<Pod>>>,
    containers: Mutex<BTreeMap<ContainerId, Arc<Container>>>,
}

impl Pods {
    /// Starts: reads the records, asks the monitors, and makes true again what is half-made or half-gone.
    ///
    /// # Errors
    /// Only when nothing at all can be done, for instance when the root directory cannot be made. A pod that cannot
    /// be recovered is reported in [`Recovered`] and never stops the start.
    pub async fn recover(
        options: Options,
        network: Arc<dyn Network>,
        images: Arc<dyn Images>,
    ) -> Result<(Self, Recovered), Error> {
        let inner = Arc::new(Inner {
            paths: Paths::new(&options.root, &options.state, &options.netns_dir),
            boot_id: boot_id()?,
            available_capabilities: available_capabilities()?,
            cgroup_facts: CgroupFacts {
                accounts_swap: options.cgroups.accounts_swap()?,
                has_device_rules: options.cgroups.layout() != Layout::V2,
            },
            default_cgroup_parent: options.cgroup_parent,
            programs: Programs {
                monitor: Arc::new(options.monitor_program),
                pause: Arc::new(options.pause_program),
                build: options.build,
            },
            cgroups: options.cgroups,
            network,
            images,
            blocking: Blocking::new(),
            clock: Clock::default(),
            pod_operations: Operations::new(),
            container_operations: Operations::new(),
            snapshot: ArcSwap::default(),
            pods: Mutex::default(),
            containers: Mutex::default(),
        });
        let recovered = inner.recover().await?;
        Ok((Self { inner }, recovered))
    }

    /// All pods and containers at this moment. Takes no lock that an operation holds.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.snapshot.load_full()
    }

    /// Makes a pod sandbox, or joins the making of it, or answers with the one that was made from the same request
    /// (CRI `RunPodSandbox`).
    ///
    /// # Errors
    /// Any [`Error`]; nothing is left behind then, or the pod is listed as not ready so that it can be removed.
    pub async fn run(&self, config: PodConfig) -> Result<PodId, Error> {
        Arc::clone(&self.inner).run_pod(config).await
    }

    /// Ends everything in a pod and gives back its network (CRI `StopPodSandbox`). Idempotent; an unknown pod is fine.
    ///
    /// # Errors
    /// When something could not be taken back; the call can be repeated.
    pub async fn stop_pod(&self, id: PodId) -> Result<(), Error> {
        let Some(pod) = self.inner.pod(id) else { return Ok(()) };
        self.detached(|inner| async move { inner.stop_pod(pod).await }).await
    }

    /// Removes a pod with all its containers (CRI `RemovePodSandbox`). Idempotent; an unknown pod is fine.
    ///
    /// # Errors
    /// When something could not be taken back; the call can be repeated.
    pub async fn remove_pod(&self, id: PodId) -> Result<(), Error> {
        let Some(pod) = self.inner.pod(id) else { return Ok(()) };
        self.detached(|inner| async move { inner.remove_pod(pod).await }).await
    }

    /// Makes a container without starting it (CRI `CreateContainer`); repetitions as for [`Pods::run`].
    ///
    /// # Errors
    /// Any [`Error`]; nothing is left behind then.
    pub async fn create(&self, pod: PodId, config: ContainerConfig) -> Result<ContainerId, Error> {
        let pod = self.inner.pod(pod).ok_or(Error::NoPod(pod))?;
        Arc::clone(&self.inner).create_container(pod, config).await
    }

    /// Starts a container (CRI `StartContainer`).
    ///
    /// # Errors
    /// [`Error::ContainerState`] unless it is created and not started; [`Error::Monitor`] when the launch fails, and
    /// the container is exited then with reason `StartError`.
    pub async fn start(&self, id: ContainerId) -> Result<(), Error> {
        let container = self.inner.container(id).ok_or(Error::NoContainer(id))?;
        self.detached(|inner| async move { inner.start_container(container).await }).await
    }

    /// Stops a container: its stop signal, `grace`, SIGKILL to all its processes (CRI `StopContainer`). It goes on
    /// when the caller goes away. A second stop with a shorter grace shortens the wait.
    ///
    /// # Errors
    /// [`Error::WontDie`] when it survives SIGKILL; the call can be repeated.
    pub async fn stop(&self, id: ContainerId, grace: Duration) -> Result<(), Error> {
        let Some(container) = self.inner.container(id) else { return Ok(()) };
        self.detached(move |inner| async move { inner.stop_container(&container, grace).await }).await
    }

    /// Removes a container, ending it first if it runs (CRI `RemoveContainer`). Idempotent; an unknown one is fine.
    ///
    /// # Errors
    /// When something could not be taken back; the call can be repeated.
    pub async fn remove(&self, id: ContainerId) -> Result<(), Error> {
        let Some(container) = self.inner.container(id) else { return Ok(()) };
        self.detached(|inner| async move { inner.remove_container(container).await }).await
    }

    /// Runs a command in a running container and tells how it ended (CRI `ExecSync`); `None` is no time limit.
    ///
    /// # Errors
    /// [`Error::ExecTimeout`] when the time is up: everything that it started is killed then.
    pub async fn exec(
        &self,
        id: ContainerId,
        command: Vec<String>,
        timeout: Option<Duration>,
    ) -> Result<ExecOutcome, Error> {
        let container = self.inner.container(id).ok_or(Error::NoContainer(id))?;
        self.inner.exec(&container, command, timeout).await
    }

    /// Opens a running container's log file anew (CRI `ReopenContainerLog`).
    ///
    /// # Errors
    /// When it does not run or the file cannot be made; no new file exists then.
    pub async fn reopen_log(&self, id: ContainerId) -> Result<(), Error> {
        let container = self.inner.container(id).ok_or(Error::NoContainer(id))?;
        self.inner.reopen_log(&container).await
    }

    /// What `crictl inspectp` shows beside the status: `pid`, `sandboxId`, namespaces.
    pub fn verbose_pod(&self, id: PodId) -> serde_json::Value {
        let Some(pod) = self.inner.pod(id) else { return serde_json::Value::Null };
        let status = pod.status().clone();
        json!({
            "sandboxID": pod.id,
            "pid": status.pause_pid,
            "monitorPid": status.monitor_pid,
            "state": status.state.words(),
            "reason": status.reason,
            "cgroupParent": pod.cgroup_parent,
            "netns": pod.netns(&self.inner.paths),
            "config": *pod.config,
        })
    }

    /// What `crictl inspect` shows beside the status: `pid`, `sandboxID`, `runtimeSpec`.
    ///
    /// # Errors
    /// When the OCI config of the container cannot be read.
    pub async fn verbose_container(&self, id: ContainerId) -> Result<serde_json::Value, Error> {
        let container = self.inner.container(id).ok_or(Error::NoContainer(id))?;
        let spec = self.inner.load_spec(&container).await?;
        let phase = container.status().phase.clone();
        let pid = if let crate::snapshot::ContainerPhase::Running { pid, .. } = phase { pid } else { 0 };
        Ok(json!({
            "sandboxID": container.pod.id,
            "pid": pid,
            "state": container.state().words(),
            "layers": container.layers.diff_ids,
            "config": *container.config,
            "runtimeSpec": spec,
        }))
    }

    /// Runs an operation as a task of its own, so that it ends well whatever becomes of the caller.
    async fn detached<F>(&self, operation: impl FnOnce(Arc<Inner>) -> F) -> Result<(), Error>
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let task = tokio::spawn(operation(Arc::clone(&self.inner)));
        task.await.unwrap_or_else(|error| Err(Error::Fault(error.to_string())))
    }
}

impl Inner {
    pub(crate) fn pod(&self, id: PodId) -> Option<Arc<Pod>> {
        self.pod_map().get(&id).cloned()
    }

    pub(crate) fn container(&self, id: ContainerId) -> Option<Arc<Container>> {
        self.container_map().get(&id).cloned()
    }

    pub(crate) fn pods_where(&self, matches: impl Fn(&Pod) -> bool) -> Vec<Arc<Pod>> {
        self.pod_map().values().filter(|pod| matches(pod)).cloned().collect()
    }

    pub(crate) fn containers_of(&self, pod: PodId) -> Vec<Arc<Container>> {
        self.container_map().values().filter(|container| container.pod.id == pod).cloned().collect()
    }

    pub(crate) fn add_pod(&self, pod: Arc<Pod>) {
        self.pod_map().insert(pod.id, pod);
    }

    pub(crate) fn add_container(&self, container: Arc<Container>) {
        self.container_map().insert(container.id, container);
    }

    /// Takes a pod out of memory and out of every list.
    pub(crate) fn drop_pod(&self, id: PodId) {
        self.pod_map().remove(&id);
        self.snapshot.rcu(|old| {
            let mut new = Snapshot::clone(old);
            new.pods.remove(&id);
            new
        });
    }

    /// Takes a container out of memory and out of every list.
    pub(crate) fn drop_container(&self, id: ContainerId) {
        self.container_map().remove(&id);
        self.snapshot.rcu(|old| {
            let mut new = Snapshot::clone(old);
            new.containers.remove(&id);
            new
        });
    }

    /// Changes a pod's status and puts the new picture in place, as one step.
    pub(crate) fn change_pod<T>(&self, pod: &Pod, change: impl FnOnce(&mut PodStatus) -> T) -> T {
        let mut status = pod.status();
        let result = change(&mut status);
        if status.revealed {
            let view = Arc::new(pod.view(&status, &self.paths));
            self.snapshot.rcu(|old| {
                let mut new = Snapshot::clone(old);
                new.pods.insert(pod.id, Arc::clone(&view));
                new
            });
        }
        result
    }

    /// Changes a container's status and puts the new picture in place, as one step.
    pub(crate) fn change_container<T>(
        &self,
        container: &Container,
        change: impl FnOnce(&mut ContainerStatus) -> T,
    ) -> T {
        let mut status = container.status();
        let result = change(&mut status);
        if status.revealed {
            let view = Arc::new(container.view(&status));
            self.snapshot.rcu(|old| {
                let mut new = Snapshot::clone(old);
                new.containers.insert(container.id, Arc::clone(&view));
                new
            });
        }
        result
    }

    /// The cgroup of a member of a pod: pause has the pod's id, a container its own.
    pub(crate) fn cgroup_path(&self, pod: &Pod, member: wire::Id) -> Result<CgroupPath, Error> {
        Ok(CgroupPath::parse(&pod.cgroup_parent)?.join(&member.to_string())?)
    }

    /// The same, as the monitor is told.
    pub(crate) fn cgroup_join(&self, pod: &Pod, member: wire::Id) -> Result<wire::CgroupJoin, Error> {
        let paths = self.cgroups.join_paths(&self.cgroup_path(pod, member)?);
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        Ok(wire::CgroupJoin { unified: paths.unified.map(text), v1: paths.v1.into_iter().map(text).collect() })
    }

    fn pod_map(&self) -> MutexGuard<'_, BTreeMap<PodId, Arc<Pod>>> {
        // A map of the standard library is right after every call, also when somebody panicked meanwhile.
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn container_map(&self) -> MutexGuard<'_, BTreeMap<ContainerId, Arc<Container>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What this process can give to a container: its bounding set, which lacks what the kernel or whoever started it
/// does not allow (proc(5), `CapBnd`).
fn available_capabilities() -> Result<u64, Error> {
    const PATH: &str = "/proc/thread-self/status";
    let status = std::fs::read_to_string(PATH).map_err(|error| Error::file("read", PATH, error))?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .ok_or_else(|| Error::Fault(format!("{PATH} has no CapBnd")))
}
