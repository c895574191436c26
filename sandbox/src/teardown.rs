// SPDX-License-Identifier: Apache-2.0
//! The one teardown: a failed run, StopPodSandbox, RemovePodSandbox and recovery all come here.
//!
//! It walks backwards through what a pod's record says may have been acquired. Every step copes with a thing that was
//! never there or is gone already, a step that fails does not stop the next one, and all errors are told together.
//!
//! ```text
//!                ┌─▶ network (CNI DEL) ─▶ namespace pin ─┐
//!  processes ────┤                                       ├─▶ live files ─▶ containers' files ─▶ record
//!                └─▶ cgroups ────────────────────────────┘
//!  └────────────────────── Scope::Running ───────────────────────────┘
//!  └────────────────────── Scope::Everything ───────────────────────────────────────────────────────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use netns::Netns;
use wire::{Reply, Request};

use crate::container::Container;
use crate::error::Error;
use crate::limits;
use crate::pod::Pod;
use crate::pods::Inner;
use crate::records::remove_dir;
use crate::run_pod::ancestors;

/// How far a teardown goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What runs and what it holds of the machine: StopPodSandbox.
    Running,
    /// The files and the record too: RemovePodSandbox.
    Everything,
}

impl Inner {
    /// Takes a pod down.
    pub(crate) async fn tear_down(self: &Arc<Self>, pod: &Arc<Pod>, scope: Scope) -> Result<(), Error> {
        let mut errors = Vec::new();
        errors.extend(self.end_processes(pod).await.err());
        let network = async { if pod.has_own_network() { self.give_back_network(pod).await } else { Ok(()) } };
        let (network, cgroups) = tokio::join!(network, self.remove_cgroups(pod));
        errors.extend(network.err());
        errors.extend(cgroups.err());
        if errors.is_empty() {
            // The monitor's exit records are there: they go when nothing needs them any more.
            let live_dir = self.paths.live_pod(pod.id);
            errors.extend(self.blocking.run(move || remove_dir(&live_dir)).await.err());
        }
        // Not before nothing of the pod lives: a container that is forgotten takes the name of its cgroup with it, and a
        // repeated removal could neither kill what is in there nor take it away.
        if scope == Scope::Everything && errors.is_empty() {
            for container in self.containers_of(pod.id) {
                self.settle(&container).await;
                errors.extend(self.remove_files(&container).await.err());
            }
            if errors.is_empty() {
                errors.extend(self.remove_record(pod).await.err());
            }
        }
        match errors.len() {
            0 => Ok(()),
            _ => Err(Error::Teardown { what: format!("pod sandbox {}", pod.id), errors }),
        }
    }

    /// Ends the pod's processes and its monitor, and puts the containers' ends on record.
    async fn end_processes(self: &Arc<Self>, pod: &Arc<Pod>) -> Result<(), Error> {
        // A run that was given up may have started a monitor that nobody has spoken to yet.
        let monitor = match pod.monitor() {
            Some(monitor) => Some(monitor),
            None => self.connect_monitor(pod).await.ok(),
        };
        if let Some(monitor) = monitor {
            let closed = monitor.call(Request::CloseSandbox, &[], limits::MONITOR_ANSWER).await;
            if !matches!(closed, Ok((Reply::Done, _))) {
                tracing::debug!(pod = %pod.id, ?closed, "close sandbox; end the monitor instead");
                monitor.kill().await;
            }
        }
        let killed = self.kill_members(pod).await;
        self.end_orphans(pod, "its sandbox was stopped").await;
        self.change_pod(pod, |status| {
            status.monitor = None;
            status.monitor_pid = 0;
            status.pause_pid = 0;
            status.ips.clear();
        });
        killed
    }

    /// Kills everything in the cgroups of the pod's members, whatever became of the monitor.
    pub(crate) async fn kill_members(&self, pod: &Arc<Pod>) -> Result<(), Error> {
        self.for_each_cgroup(pod, |cgroup| cgroup.kill()).await
    }

    async fn remove_cgroups(&self, pod: &Arc<Pod>) -> Result<(), Error> {
        self.for_each_cgroup(pod, |cgroup| cgroup.remove(limits::CGROUP_REMOVE)).await?;
        self.remove_made_parents(pod).await
    }

    /// Removes the cgroups above the pod that were not there before it, deepest first, as far as they are empty. Those
    /// that a kubelet made are the kubelet's; husk's own default parent goes with its last pod.
    async fn remove_made_parents(&self, pod: &Arc<Pod>) -> Result<(), Error> {
        let is_last =
            self.pods_where(|other| other.id != pod.id && other.cgroup_parent == pod.cgroup_parent).is_empty();
        let own_default = (pod.cgroup_parent == self.default_cgroup_parent).then(|| pod.cgroup_parent.clone());
        let Some(top) = pod.made_from.clone().or(own_default).filter(|_| is_last) else { return Ok(()) };
        let made = ancestors(&pod.cgroup_parent).take_while(|path| path.len() >= top.len());
        let made = made.map(|path| Ok(self.cgroups.join_paths(&cgroups::CgroupPath::parse(path)?)));
        let made = made.collect::<Result<Vec<_>, Error>>()?;
        self.blocking
            .run(move || {
                for dir in made.iter().flat_map(|paths| paths.v1.iter().chain(&paths.unified)) {
                    if let Err(error) = std::fs::remove_dir(dir) {
                        // In use by somebody else, or gone: both are fine.
                        tracing::debug!(dir = %dir.display(), %error, "leave a cgroup parent");
                    }
                }
                Ok(())
            })
            .await
    }

    async fn for_each_cgroup(
        &self,
        pod: &Arc<Pod>,
        act: impl Fn(&cgroups::Cgroup) -> Result<(), cgroups::Error> + Send + 'static,
    ) -> Result<(), Error> {
        let containers = self.containers_of(pod.id);
        let members = containers.iter().map(|container| container.id.wire()).chain([pod.id.wire()]);
        let cgroups = members
            .map(|member| Ok(self.cgroups.open(&self.cgroup_path(pod, member)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        let what = format!("cgroups of pod sandbox {}", pod.id);
        self.blocking
            .run(move || {
                let errors: Vec<Error> =
                    cgroups.iter().filter_map(|cgroup| act(cgroup).err().map(Error::from)).collect();
                if errors.is_empty() { Ok(()) } else { Err(Error::Teardown { what, errors }) }
            })
            .await
    }

    /// Gives back addresses and the namespace. A DEL that fails stays in the ledger and is repeated later; it does
    /// not keep the pod from being stopped.
    async fn give_back_network(&self, pod: &Arc<Pod>) -> Result<(), Error> {
        let pin = self.paths.netns(pod.id);
        let there = pin.clone();
        let netns = self.blocking.run(move || Ok(there.exists().then_some(there))).await?;
        if let Err(error) = self.network.detach(pod.id, netns).await {
            tracing::warn!(pod = %pod.id, error = error.message, "give back the network; it stays in the ledger");
        }
        self.blocking.run(move || Ok(Netns::remove(&pin)?)).await
    }

    /// Removes a container's files and lets its layers go.
    pub(crate) async fn remove_files(&self, container: &Arc<Container>) -> Result<(), Error> {
        let dir = self.paths.container(container.pod.id, container.id);
        self.blocking.run(move || remove_dir(&dir)).await?;
        self.images.release(container.id);
        self.drop_container(container.id);
        Ok(())
    }

    /// Removes a container's cgroup, whatever is still in it.
    pub(crate) async fn remove_cgroup(&self, container: &Arc<Container>, deadline: Duration) -> Result<(), Error> {
        let cgroup = self.cgroups.open(&self.cgroup_path(&container.pod, container.id.wire())?);
        self.blocking.run(move || Ok(cgroup.remove(deadline)?)).await
    }

    /// Removes the pod's own directory, its identity record last: as long as anything is left, so is the record.
    async fn remove_record(&self, pod: &Arc<Pod>) -> Result<(), Error> {
        let (dir, containers) = (self.paths.pod(pod.id), self.paths.containers(pod.id));
        self.blocking
            .run(move || {
                remove_dir(&containers)?;
                remove_dir(&dir)
            })
            .await
    }
}
