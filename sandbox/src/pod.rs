// SPDX-License-Identifier: Apache-2.0
//! A pod in memory: its identity, its status and its monitor.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::{NetworkMode, PodConfig};
use crate::error::Error;
use crate::ids::PodId;
use crate::monitor_client::MonitorClient;
use crate::paths::Paths;
use crate::pod_state::{PodEvent, PodState, Transition};
use crate::records::PodRecord;
use crate::snapshot::PodView;

/// A pod sandbox.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) id: PodId,
    pub(crate) config: Arc<PodConfig>,
    pub(crate) created_at_ns: u64,
    /// The boot in which it was made; nothing of another boot is alive.
    pub(crate) boot_id: String,
    pub(crate) cgroup_parent: String,
    /// The topmost cgroup on the way to the parent that was not there before.
    pub(crate) made_from: Option<String>,
    /// Held by whoever changes what the pod has: run, stop, remove, and each create. Never by a reader, never by an
    /// operation on another pod, and not while a container's grace time passes.
    pub(crate) work: tokio::sync::Mutex<()>,
    /// Held, shared, by every blocking job that makes something of the pod. Such a job goes on when the future that
    /// waits for it is dropped, so a roll-back waits for all of them before it takes back what they made.
    jobs: Arc<tokio::sync::RwLock<()>>,
    status: Mutex<PodStatus>,
}

/// What changes in a pod's life.
#[derive(Clone, Debug)]
pub(crate) struct PodStatus {
    pub(crate) state: PodState,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) pause_pid: u32,
    pub(crate) monitor_pid: u32,
    pub(crate) reason: Option<String>,
    /// Whether anybody has been told its id: until then it is in no list.
    pub(crate) revealed: bool,
    pub(crate) monitor: Option<Arc<MonitorClient>>,
}

impl Pod {
    pub(crate) fn new(record: PodRecord, state: PodState) -> Self {
        Self {
            id: record.id,
            config: Arc::new(record.config),
            created_at_ns: record.created_at_ns,
            boot_id: record.boot_id,
            cgroup_parent: record.cgroup_parent,
            made_from: record.made_from,
            work: tokio::sync::Mutex::new(()),
            jobs: Arc::default(),
            status: Mutex::new(PodStatus {
                state,
                ips: Vec::new(),
                pause_pid: 0,
                monitor_pid: 0,
                reason: None,
                revealed: false,
                monitor: None,
            }),
        }
    }

    /// The status, for a moment: no lock is taken and nothing is awaited while it is held.
    pub(crate) fn status(&self) -> MutexGuard<'_, PodStatus> {
        // Each statement leaves it right, so a panic elsewhere cannot have left it half-changed.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a blocking job that makes something of the pod takes with it.
    pub(crate) async fn job(&self) -> tokio::sync::OwnedRwLockReadGuard<()> {
        Arc::clone(&self.jobs).read_owned().await
    }

    /// Waits until no blocking job makes anything of the pod any more.
    pub(crate) async fn jobs_are_done(&self) {
        drop(self.jobs.write().await);
    }

    pub(crate) fn state(&self) -> PodState {
        self.status().state
    }

    pub(crate) fn has_own_network(&self) -> bool {
        self.config.network == NetworkMode::Pod
    }

    /// The monitor, if it can be asked.
    pub(crate) fn monitor(&self) -> Option<Arc<MonitorClient>> {
        self.status().monitor.clone().filter(|monitor| !monitor.is_lost())
    }

    /// The monitor, or an error that says what is wrong with the pod.
    pub(crate) fn live_monitor(&self) -> Result<Arc<MonitorClient>, Error> {
        let state = self.state();
        if state != PodState::Ready {
            return Err(self.wrong_state(state, "run a new sandbox for the pod"));
        }
        self.monitor().ok_or_else(|| Error::MonitorLost { pod: self.id, cause: "its connection ended".to_owned() })
    }

    pub(crate) fn wrong_state(&self, state: PodState, way_out: &'static str) -> Error {
        Error::PodState { pod: self.id, state: state.words(), way_out }
    }

    pub(crate) fn view(&self, status: &PodStatus, paths: &Paths) -> PodView {
        PodView {
            id: self.id,
            config: Arc::clone(&self.config),
            state: status.state,
            created_at_ns: self.created_at_ns,
            ips: status.ips.clone(),
            netns: self.netns(paths),
            pause_pid: status.pause_pid,
            monitor_pid: status.monitor_pid,
            reason: status.reason.clone(),
        }
    }

    /// Where its network namespace is pinned, if it has one of its own.
    pub(crate) fn netns(&self, paths: &Paths) -> Option<PathBuf> {
        self.has_own_network().then(|| paths.netns(self.id))
    }
}

impl PodStatus {
    /// Applies an event; tells whether the state changed.
    ///
    /// # Errors
    /// A fault of husk: an event that makes no sense in this state.
    pub(crate) fn on(&mut self, event: PodEvent) -> Result<bool, Error> {
        match self.state.on(event) {
            Transition::To(state) => {
                self.state = state;
                Ok(true)
            }
            Transition::NoOp => Ok(false),
            Transition::Illegal => Err(Error::Fault(format!("{event:?} happened to a pod that is {:?}", self.state))),
        }
    }
}
