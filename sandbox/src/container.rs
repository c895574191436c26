// SPDX-License-Identifier: Apache-2.0
//! A container in memory: its identity and its status.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::watch;

use crate::config::{ContainerConfig, Signal};
use crate::container_state::{ContainerEvent, ContainerState};
use crate::error::Error;
use crate::ids::ContainerId;
use crate::pod::Pod;
use crate::pod_state::Transition;
use crate::ports::HeldLayers;
use crate::records::ContainerRecord;
use crate::snapshot::{ContainerPhase, ContainerView};

/// A container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) pod: Arc<Pod>,
    pub(crate) config: Arc<ContainerConfig>,
    pub(crate) created_at_ns: u64,
    pub(crate) image_id: String,
    pub(crate) image_reference: String,
    pub(crate) layers: HeldLayers,
    pub(crate) env: Vec<Vec<u8>>,
    pub(crate) stop_signal: Signal,
    pub(crate) user: (u32, u32, Vec<u32>),
    /// What a process of it is; made once, for its execs.
    process: OnceLock<wire::Process>,
    /// Held by start and remove, one at a time; not while a grace time passes.
    pub(crate) work: tokio::sync::Mutex<()>,
    status: Mutex<ContainerStatus>,
    /// Turns true when the container has exited and its log is complete.
    pub(crate) exited: watch::Sender<bool>,
}

/// What changes in a container's life.
#[derive(Clone, Debug)]
pub(crate) struct ContainerStatus {
    pub(crate) state: ContainerState,
    pub(crate) phase: ContainerPhase,
    /// Whether anybody has been told its id: until then it is in no list.
    pub(crate) revealed: bool,
    /// Whether the stop signal has been sent: a second Stop only shortens the wait.
    pub(crate) stop_signalled: bool,
}

impl Container {
    pub(crate) fn new(record: ContainerRecord, pod: Arc<Pod>) -> Self {
        Self {
            id: record.id,
            pod,
            config: Arc::new(record.config),
            created_at_ns: record.created_at_ns,
            image_id: record.image_id,
            image_reference: record.image_reference,
            layers: record.layers,
            env: record.env,
            stop_signal: record.stop_signal,
            user: record.user,
            process: OnceLock::new(),
            work: tokio::sync::Mutex::new(()),
            status: Mutex::new(ContainerStatus {
                state: ContainerState::Created,
                phase: ContainerPhase::Created,
                revealed: false,
                stop_signalled: false,
            }),
            exited: watch::Sender::new(false),
        }
    }

    /// The status, for a moment: no lock is taken and nothing is awaited while it is held.
    pub(crate) fn status(&self) -> MutexGuard<'_, ContainerStatus> {
        // Each statement leaves it right, so a panic elsewhere cannot have left it half-changed.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> ContainerState {
        self.status().state
    }

    /// What a process of it is, if that was worked out before.
    pub(crate) fn process(&self) -> Option<wire::Process> {
        self.process.get().cloned()
    }

    /// Keeps what a process of it is.
    pub(crate) fn remember_process(&self, process: &wire::Process) {
        // Whoever comes second worked out the same.
        let _ = self.process.set(process.clone());
    }

    pub(crate) fn wrong_state(&self, way_out: &'static str) -> Error {
        Error::ContainerState { container: self.id, state: self.state().words(), way_out }
    }

    /// The full path of its log file.
    pub(crate) fn log_path(&self) -> Option<PathBuf> {
        Some(self.pod.config.log_directory.as_ref()?.join(self.config.log_path.as_ref()?))
    }

    pub(crate) fn view(&self, status: &ContainerStatus) -> ContainerView {
        ContainerView {
            id: self.id,
            pod: self.pod.id,
            config: Arc::clone(&self.config),
            image_id: self.image_id.clone(),
            image_reference: self.image_reference.clone(),
            created_at_ns: self.created_at_ns,
            state: status.state,
            phase: status.phase.clone(),
            log_path: self.log_path(),
            stop_signal: self.stop_signal,
            user: self.user.clone(),
        }
    }
}

impl ContainerStatus {
    /// Applies an event; tells whether the state changed.
    ///
    /// # Errors
    /// A fault of husk: an event that makes no sense in this state.
    pub(crate) fn on(&mut self, event: ContainerEvent) -> Result<bool, Error> {
        match self.state.on(event) {
            Transition::To(state) => {
                self.state = state;
                Ok(true)
            }
            Transition::NoOp => Ok(false),
            Transition::Illegal => {
                Err(Error::Fault(format!("{event:?} happened to a container that is {:?}", self.state)))
            }
        }
    }
}
