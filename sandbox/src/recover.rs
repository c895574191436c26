// SPDX-License-Identifier: Apache-2.0
//! The normal start: list the records, ask the monitors, make true again what is half-made or half-gone.
//!
//! What is assumed:
//! 1. Only this instance writes below its root and state directories (the daemon holds a lock on the state directory).
//! 2. A pod's directory without an identity record acquired nothing: the record is written first.
//! 3. A pod without a status record is half-made; its client has no answer and asks again.
//! 4. Of another boot nothing is alive. Pids and sockets on record then mean nothing and are not looked at.
//! 5. A monitor that can be connected to tells the truth; files only say what it cannot.
//! 6. One pod that cannot be recovered is that pod's affair.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinSet;
use wire::{ContainerPhase as Phase, Inventory, PausePhase, Reply, Request};

use crate::container::Container;
use crate::container_state::ContainerState;
use crate::error::Error;
use crate::ids::{ContainerId, PodId};
use crate::monitor_client::MonitorClient;
use crate::pod::Pod;
use crate::pod_state::{PodEvent, PodState};
use crate::pods::Inner;
use crate::records::{
    BadRecord, ContainerRecord, ContainerStatusRecord, PodRecord, PodStatusRecord, load, make_dir, remove_dir,
};
use crate::snapshot::ContainerPhase;
use crate::teardown::Scope;
use crate::{exit_reason, limits};

/// What a start found.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Pods that are up.
    pub ready: usize,
    /// Pods that are listed as not ready.
    pub not_ready: usize,
    /// Half-made pods that were taken back.
    pub rolled_back: usize,
    /// What was put aside, and why: one sentence each.
    pub put_aside: Vec<String>,
}

/// The records of one pod, as the disk has them.
struct OnDisk {
    record: PodRecord,
    status: Option<PodStatusRecord>,
    containers: Vec<(ContainerRecord, Option<ContainerStatusRecord>)>,
}

/// What became of one pod.
enum Outcome {
    Ready,
    NotReady,
    RolledBack,
}

impl Inner {
    pub(crate) async fn recover(self: &Arc<Self>) -> Result<Recovered, Error> {
        let inner = Arc::clone(self);
        let (on_disk, put_aside) = self.blocking.run(move || inner.read_records()).await?;
        let mut recovered = Recovered { put_aside, ..Recovered::default() };
        let mut tasks = JoinSet::new();
        for pod in on_disk {
            tasks.spawn(Arc::clone(self).recover_pod(pod));
        }
        while let Some(outcome) = tasks.join_next().await {
            match outcome {
                Ok(Outcome::Ready) => recovered.ready += 1,
                Ok(Outcome::NotReady) => recovered.not_ready += 1,
                Ok(Outcome::RolledBack) => recovered.rolled_back += 1,
                Err(error) => recovered.put_aside.push(format!("a pod could not be recovered: {error}")),
            }
        }
        Ok(recovered)
    }

    fn read_records(&self) -> Result<(Vec<OnDisk>, Vec<String>), Error> {
        let mut put_aside = Vec::new();
        let mut pods = Vec::new();
        for dir in [self.paths.pods(), self.paths.live_pods()] {
            make_dir(&dir)?;
        }
        for path in entries(&self.paths.pods())? {
            match self.read_pod(&path, &mut put_aside) {
                Ok(Some(pod)) => pods.push(pod),
                // Nothing was acquired, or the rest of a removal.
                Ok(None) => remove_dir(&path)?,
                Err(why) => self.put_aside(&path, &why, &mut put_aside),
            }
        }
        Ok((pods, put_aside))
    }

    fn read_pod(&self, path: &Path, put_aside: &mut Vec<String>) -> Result<Option<OnDisk>, BadRecord> {
        let id: PodId = parse_name(path)?;
        let record: PodRecord = match load(&path.join("record.json")) {
            Err(BadRecord::Missing) => return Ok(None),
            other => other?,
        };
        if record.id != id {
            return Err(BadRecord::Malformed(format!("it is of pod sandbox {}", record.id)));
        }
        let status = match load(&path.join("status.json")) {
            Ok(status) => Some(status),
            Err(BadRecord::Missing) => None,
            Err(why) => {
                // Without a status it counts as half-made and would be rolled back; it may well be alive, so say
                // that it is, and let the monitor's word decide.
                put_aside.push(format!("status of pod sandbox {id}: {why}; the monitor is asked instead"));
                Some(PodStatusRecord { version: crate::records::VERSION, stopped: false, ips: self.ledger_ips(id) })
            }
        };
        let mut containers = Vec::new();
        for path in entries(&path.join("containers")).unwrap_or_default() {
            match read_container(&path, id) {
                Ok(Some(container)) => containers.push(container),
                // Half-made: its client has no answer, and it acquired nothing but this directory.
                Ok(None) => {
                    if let Err(error) = remove_dir(&path) {
                        put_aside.push(error.to_string());
                    }
                }
                Err(why) => self.put_aside(&path, &why, put_aside),
            }
        }
        Ok(Some(OnDisk { record, status, containers }))
    }

    fn ledger_ips(&self, id: PodId) -> Vec<std::net::IpAddr> {
        self.network.attached(id).map(|attachment| attachment.ips).unwrap_or_default()
    }

    /// Moves what cannot be understood out of the way, where a person can look at it.
    fn put_aside(&self, path: &Path, why: &BadRecord, put_aside: &mut Vec<String>) {
        let moved = || -> Result<PathBuf, Error> {
            let dir = self.paths.quarantine();
            make_dir(&dir)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut target = dir.join(&name);
            for number in 1.. {
                if !target.exists() {
                    break;
                }
                target = dir.join(format!("{name}.{number}"));
            }
            fs::rename(path, &target).map_err(|error| Error::file("put aside", path, error))?;
            Ok(target)
        };
        put_aside.push(match moved() {
            Ok(target) => format!("record {}: {why}; it was moved to {}", path.display(), target.display()),
            Err(error) => format!("record {}: {why}; {error}", path.display()),
        });
    }

    async fn recover_pod(self: Arc<Self>, on_disk: OnDisk) -> Outcome {
        let OnDisk { record, status, containers } = on_disk;
        self.clock.seen(record.created_at_ns);
        let pod = Arc::new(Pod::new(record, PodState::Opening));
        let work = Arc::clone(&pod);
        let _work = work.work.lock().await;
        self.add_pod(Arc::clone(&pod));
        for (record, end) in containers {
            self.clock.seen(record.created_at_ns);
            self.images.hold_again(record.id, &record.layers);
            let container = Arc::new(Container::new(record, Arc::clone(&pod)));
            if let Some(end) = end {
                self.change_container(&container, |status| {
                    status.state = ContainerState::Exited;
                    status.phase = exit_reason::from_record(end);
                });
                container.exited.send_replace(true);
            }
            self.change_container(&container, |status| status.revealed = true);
            self.add_container(container);
        }
        match status {
            None => self.roll_back(&pod).await,
            Some(status) if status.stopped => {
                self.change_pod(&pod, |pod| {
                    pod.state = PodState::Stopped;
                    pod.revealed = true;
                });
                self.end_orphans(&pod, "its sandbox was stopped").await;
                Outcome::NotReady
            }
            Some(status) => self.revive(&pod, status).await,
        }
    }

    async fn roll_back(self: &Arc<Self>, pod: &Arc<Pod>) -> Outcome {
        tracing::info!(pod = %pod.id, name = %pod.config.key, "take back a half-made pod sandbox");
        self.change_pod(pod, |status| status.state = PodState::Removing);
        match self.tear_down(pod, Scope::Everything).await {
            Ok(()) => {
                self.drop_pod(pod.id);
                Outcome::RolledBack
            }
            Err(error) => {
                tracing::warn!(pod = %pod.id, %error, "take back a half-made pod sandbox");
                self.change_pod(pod, |status| {
                    status.reason = Some(error.to_string());
                    status.revealed = true;
                });
                Outcome::NotReady
            }
        }
    }

    /// Goes on with a pod that was ready.
    async fn revive(self: &Arc<Self>, pod: &Arc<Pod>, status: PodStatusRecord) -> Outcome {
        let inventory = if pod.boot_id == self.boot_id {
            self.ask_monitor(pod).await
        } else {
            Err("the machine was booted anew".to_owned())
        };
        let why_dead = match inventory {
            Ok(inventory) => self.reconcile(pod, inventory, status.ips).await,
            Err(cause) => Some(cause),
        };
        let Some(reason) = why_dead else { return Outcome::Ready };
        self.change_pod(pod, |status| {
            status.state = PodState::Ready;
            status.revealed = true;
        });
        self.pod_died(pod, reason.clone()).await;
        self.end_orphans(pod, &reason).await;
        Outcome::NotReady
    }

    async fn ask_monitor(self: &Arc<Self>, pod: &Arc<Pod>) -> Result<Inventory, String> {
        let monitor = self.connect_monitor(pod).await.map_err(|error| error.to_string())?;
        self.upgrade(pod, &monitor).await;
        match monitor.call(Request::Inspect, &[], limits::MONITOR_ANSWER).await {
            Ok((Reply::Inspected(inventory), _)) => Ok(inventory),
            Ok((reply, _)) => Err(format!("its monitor answered {reply:?}")),
            Err(error) => Err(format!("its monitor: {error}")),
        }
    }

    /// Has a monitor of another build re-execute itself from the program that this daemon carries.
    async fn upgrade(&self, pod: &Arc<Pod>, monitor: &Arc<MonitorClient>) {
        if monitor.build() == self.programs.build {
            return;
        }
        tracing::info!(pod = %pod.id, from = monitor.build(), to = self.programs.build, "re-execute monitor");
        if let Err(error) = monitor.reexecute(self.programs.monitor.as_fd()).await {
            tracing::warn!(pod = %pod.id, %error, "re-execute monitor; it goes on as it is");
        }
    }

    /// Takes over what the monitor knows. Tells why the pod is dead if it is.
    async fn reconcile(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        inventory: Inventory,
        ips: Vec<std::net::IpAddr>,
    ) -> Option<String> {
        let pause_pid = match inventory.pause {
            PausePhase::Running { pid } => pid,
            PausePhase::Absent => return Some("its pause process was never started".to_owned()),
            PausePhase::Exited(exit) => return Some(format!("its pause process ended ({:?})", exit.status)),
        };
        let known: BTreeMap<_, _> = inventory.containers.into_iter().map(|one| (one.container, one.phase)).collect();
        for container in self.containers_of(pod.id) {
            let Some(phase) = known.get(&container.id.wire()).cloned() else {
                // Never started; or forgotten, which happens only after its end is on record.
                continue;
            };
            self.take_over(&container, phase).await;
        }
        self.change_pod(pod, |status| {
            status.pause_pid = pause_pid;
            status.monitor_pid = inventory.monitor_pid;
            status.ips = ips;
            status.revealed = true;
            // Pause may have died between the answer and now.
            if status.state == PodState::Opening {
                let _ = status.on(PodEvent::Opened);
            }
        });
        None
    }

    async fn take_over(self: &Arc<Self>, container: &Arc<Container>, phase: Phase) {
        if container.state() == ContainerState::Exited {
            return;
        }
        match phase {
            Phase::Running { pid, started_at_ns } => self.change_container(container, |status| {
                status.state = ContainerState::Running;
                status.phase = ContainerPhase::Running { pid, started_at_ns };
            }),
            Phase::Exited(exit) => self.container_ended(container, exit_reason::ended(&exit)).await,
            Phase::Failed(failure) => {
                self.container_ended(container, exit_reason::not_started(&failure.to_string())).await;
            }
            // Its client has no answer and can never get one for this start: it is ended, and reported so.
            Phase::Starting => {
                self.change_container(container, |status| status.state = ContainerState::Starting);
                if let Some(monitor) = container.pod.monitor() {
                    let kill = Request::Kill { container: container.id.wire() };
                    let _ = monitor.call(kill, &[], limits::MONITOR_ANSWER).await;
                }
                let message = "husk was restarted while the container was being started";
                self.container_ended(container, exit_reason::not_started(message)).await;
            }
        }
    }
}

fn read_container(
    path: &Path,
    pod: PodId,
) -> Result<Option<(ContainerRecord, Option<ContainerStatusRecord>)>, BadRecord> {
    let id: ContainerId = parse_name(path)?;
    let record: ContainerRecord = match load(&path.join("record.json")) {
        Err(BadRecord::Missing) => return Ok(None),
        other => other?,
    };
    // The record is written before the rest; without the OCI config nobody was told of the container.
    if !path.join("config.json").exists() {
        return Ok(None);
    }
    if record.id != id || record.pod != pod {
        return Err(BadRecord::Malformed(format!("it is of container {} of pod sandbox {}", record.id, record.pod)));
    }
    // An end that cannot be read is as good as none: the monitor is asked, or the end is unknown.
    Ok(Some((record, load(&path.join("status.json")).ok())))
}

fn parse_name<T: std::str::FromStr<Err = wire::IdError>>(path: &Path) -> Result<T, BadRecord> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.parse().map_err(|error: wire::IdError| BadRecord::Malformed(format!("its name {name:?} is no id: {error}")))
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::file("read directory", dir, error)),
    }
}
