// SPDX-License-Identifier: Apache-2.0
//! What a pod does when its monitor says something unasked, or falls silent.

use std::sync::Arc;

use tokio::sync::mpsc;
use wire::Event;

use crate::container::Container;
use crate::container_state::{ContainerEvent, ContainerState};
use crate::error::Error;
use crate::ids::{ContainerId, PodId};
use crate::monitor_client::{MonitorClient, Notice};
use crate::pod::Pod;
use crate::pod_state::{PodEvent, PodState};
use crate::pods::Inner;
use crate::records::save;
use crate::snapshot::ContainerPhase;
use crate::{exit_reason, limits};

impl Inner {
    /// Connects to the pod's monitor and listens to it from then on.
    pub(crate) async fn connect_monitor(self: &Arc<Self>, pod: &Arc<Pod>) -> Result<Arc<MonitorClient>, Error> {
        let live_dir = self.paths.live_pod(pod.id);
        let lost = |cause: String| Error::MonitorLost { pod: pod.id, cause };
        let (monitor, welcome, notices) =
            MonitorClient::connect(&live_dir).await.map_err(|error| lost(error.to_string()))?;
        if PodId::from_wire(welcome.pod) != pod.id {
            return Err(lost(format!("it watches pod sandbox {}", welcome.pod)));
        }
        self.change_pod(pod, |status| status.monitor = Some(Arc::clone(&monitor)));
        tokio::spawn(Arc::clone(self).listen(Arc::clone(pod), notices));
        Ok(monitor)
    }

    async fn listen(self: Arc<Self>, pod: Arc<Pod>, mut notices: mpsc::Receiver<Notice>) {
        while let Some(notice) = notices.recv().await {
            match notice {
                Notice::Event(Event::ContainerExited { container, exit }) => {
                    let id = ContainerId::from_wire(container);
                    if let Some(container) = self.container(id) {
                        self.container_ended(&container, exit_reason::ended(&exit)).await;
                    }
                }
                Notice::Event(Event::PauseExited { exit }) => {
                    self.pod_died(&pod, format!("its pause process ended ({:?})", exit.status)).await;
                }
                Notice::Lost => {
                    self.pod_died(&pod, "its monitor ended".to_owned()).await;
                    return;
                }
            }
        }
    }

    /// Makes a container exited, once, and puts it on record.
    pub(crate) async fn container_ended(self: &Arc<Self>, container: &Arc<Container>, phase: ContainerPhase) {
        let changed = self.change_container(container, |status| {
            let changed = status.on(ContainerEvent::Exited).unwrap_or(false);
            let removing = status.state == ContainerState::Removing;
            if changed || (removing && !matches!(status.phase, ContainerPhase::Exited { .. })) {
                status.phase = phase.clone();
            }
            changed
        });
        if changed && let ContainerPhase::Exited { exit_code, reason, .. } = &phase {
            tracing::info!(container = %container.id, pod = %container.pod.id, exit_code, reason, "container exited");
        }
        if let Err(error) = self.record_end(container).await {
            // The monitor's own record is still there, and after a reboot the end is reported as unknown.
            tracing::warn!(container = %container.id, %error, "record the end of a container");
        }
        container.exited.send_replace(true);
        if changed {
            // Nothing of it runs, and its counters are on record: an exited container need not hold cgroups.
            let (inner, container) = (Arc::clone(self), Arc::clone(container));
            tokio::spawn(async move {
                if let Err(error) = inner.remove_cgroup(&container, limits::CGROUP_REMOVE).await {
                    tracing::debug!(container = %container.id, %error, "remove the cgroup; the removal tries again");
                }
            });
        }
    }

    /// Writes how a container ended; nothing when it has not, or when it is being removed.
    pub(crate) async fn record_end(&self, container: &Arc<Container>) -> Result<(), Error> {
        let (state, record) = {
            let status = container.status();
            (status.state, exit_reason::to_record(&status.phase))
        };
        let Some(record) = record.filter(|_| state == ContainerState::Exited) else { return Ok(()) };
        let path = self.paths.container(container.pod.id, container.id).join("status.json");
        self.blocking.run(move || save(&path, &record)).await
    }

    /// Pause or the monitor ended unasked: nothing of the pod is left running, and its containers are over.
    pub(crate) async fn pod_died(self: &Arc<Self>, pod: &Arc<Pod>, reason: String) {
        let died = self.change_pod(pod, |status| {
            let died = status.on(PodEvent::Died).unwrap_or(false);
            if died || status.state == PodState::Opening {
                // A run that is under way finds the reason there and fails.
                status.reason = Some(reason.clone());
            }
            died
        });
        if !died {
            return;
        }
        tracing::warn!(pod = %pod.id, reason, "pod sandbox is dead");
        if let Err(error) = self.kill_members(pod).await {
            tracing::warn!(pod = %pod.id, %error, "kill what a dead pod sandbox left");
        }
        self.change_pod(pod, |status| status.pause_pid = 0);
        if pod.monitor().is_none() {
            self.change_pod(pod, |status| status.monitor_pid = 0);
            self.end_orphans(pod, &reason).await;
        }
    }

    /// Takes the ends that the monitor wrote before it died, and calls the other containers' ends unknown.
    pub(crate) async fn end_orphans(self: &Arc<Self>, pod: &Arc<Pod>, reason: &str) {
        for container in self.containers_of(pod.id) {
            let (state, started_at_ns) = {
                let status = container.status();
                let started = match status.phase {
                    ContainerPhase::Running { started_at_ns, .. } => started_at_ns,
                    _ => 0,
                };
                (status.state, started)
            };
            if matches!(state, ContainerState::Exited | ContainerState::Removing) {
                continue;
            }
            let phase = match self.recorded_exit(pod.id, container.id).await {
                Some(exit) => exit_reason::ended(&exit),
                None => exit_reason::unknown(started_at_ns, &format!("pod sandbox is dead: {reason}")),
            };
            self.container_ended(&container, phase).await;
        }
    }

    /// The exit record that the monitor wrote.
    pub(crate) async fn recorded_exit(&self, pod: PodId, container: ContainerId) -> Option<wire::Exit> {
        let path = self.paths.exit(pod, container.wire());
        let read = self.blocking.run(move || Ok(std::fs::read(path).ok())).await;
        read.ok().flatten().and_then(|bytes| wire::Exit::from_bytes(&bytes).ok())
    }
}
