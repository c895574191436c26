// SPDX-License-Identifier: Apache-2.0
//! StartContainer: a cgroup, a plan, and one request to the monitor.

use std::sync::Arc;
use std::time::Duration;

use oci_spec::runtime::Spec;
use wire::{Log, PidNamespace, Reply, Request, Start, Stdin};

use crate::config::{PidMode, StdinRequest};
use crate::container::Container;
use crate::container_state::{ContainerEvent, ContainerState};
use crate::error::Error;
use crate::pods::Inner;
use crate::snapshot::ContainerPhase;
use crate::{exit_reason, limits, oci};

/// How much longer than the launch's own deadline the answer may take.
const SLACK: Duration = Duration::from_secs(10);

impl Inner {
    pub(crate) async fn start_container(self: Arc<Self>, container: Arc<Container>) -> Result<(), Error> {
        let _work = container.work.lock().await;
        if container.state() != ContainerState::Created {
            return Err(container.wrong_state("only a container that was never started can be started"));
        }
        container.pod.live_monitor()?;
        self.change_container(&container, |status| status.on(ContainerEvent::StartAsked))?;
        let error = match self.launch(&container).await {
            Ok((pid, started_at_ns)) => {
                self.change_container(&container, |status| {
                    if status.on(ContainerEvent::Started)? {
                        status.phase = ContainerPhase::Running { pid, started_at_ns };
                    }
                    Ok::<_, Error>(())
                })?;
                tracing::info!(container = %container.id, pod = %container.pod.id, name = %container.config.key, pid, "container runs");
                return Ok(());
            }
            Err(error) => error,
        };
        self.give_up(&container, &error).await;
        Err(error)
    }

    async fn launch(self: &Arc<Self>, container: &Arc<Container>) -> Result<(u32, u64), Error> {
        let pod = &container.pod;
        let monitor = pod.live_monitor()?;
        let start = self.prepare(container).await?;
        let doing = || format!("start container {}", container.id);
        let answer = monitor.call(Request::Start(Box::new(start)), &[], limits::LAUNCH + SLACK).await;
        match answer.map_err(|error| Error::MonitorLost { pod: pod.id, cause: error.to_string() })? {
            (Reply::Started { pid, started_at_ns }, _) => Ok((pid, started_at_ns)),
            (reply, _) => Err(crate::run_pod::unexpected(doing(), reply)),
        }
    }

    /// Makes the container's cgroup and writes down the launch.
    async fn prepare(self: &Arc<Self>, container: &Arc<Container>) -> Result<Start, Error> {
        let cgroup = self.cgroup_path(&container.pod, container.id.wire())?;
        let join = self.cgroup_join(&container.pod, container.id.wire())?;
        let (inner, container) = (Arc::clone(self), Arc::clone(container));
        self.blocking
            .run(move || {
                inner.cgroups.create(&cgroup, &oci::cgroup_limits(&container.config, inner.cgroup_facts))?;
                let spec = inner.read_spec(&container)?;
                let plan = plan::compile(&spec, &inner.facts(&container));
                let plan = plan.map_err(|error| Error::Plan { container: container.id, message: error.to_string() })?;
                Ok(Start {
                    container: container.id.wire(),
                    plan,
                    cgroup: join,
                    pid_namespace: pid_namespace(container.config.security.pid),
                    stdin: match container.config.stdin {
                        StdinRequest::Closed => Stdin::Null,
                        StdinRequest::Open | StdinRequest::Once => Stdin::Pipe,
                    },
                    log: log(&container),
                    deadline_ms: u64::try_from(limits::LAUNCH.as_millis()).unwrap_or(u64::MAX),
                })
            })
            .await
    }

    /// What the plan needs beside the OCI config.
    pub(crate) fn facts(&self, container: &Container) -> plan::Facts {
        let dir = self.paths.container(container.pod.id, container.id);
        let pod = &container.pod;
        plan::Facts {
            layers: container.layers.directories.clone(),
            upper: dir.join("upper"),
            work: dir.join("work"),
            env: container.env.clone(),
            namespaces: wire::Namespaces {
                network: pod.has_own_network(),
                ipc: pod.config.ipc == crate::config::Sharing::Pod,
                uts: pod.has_own_network(),
            },
            cgroups: self
                .cgroups
                .container_mounts()
                .into_iter()
                .map(|(name, options)| wire::CgroupMount { name, options })
                .collect(),
            own_files: self.paths.live_pod(pod.id),
        }
    }

    /// The OCI config that CreateContainer wrote.
    pub(crate) fn read_spec(&self, container: &Container) -> Result<Spec, Error> {
        let path = self.paths.container(container.pod.id, container.id).join("config.json");
        let bytes = std::fs::read(&path).map_err(|error| Error::file("read", &path, error))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::file("read", &path, error.into()))
    }

    /// The same, from an async thread.
    pub(crate) async fn load_spec(self: &Arc<Self>, container: &Arc<Container>) -> Result<Spec, Error> {
        let (inner, container) = (Arc::clone(self), Arc::clone(container));
        self.blocking.run(move || inner.read_spec(&container)).await
    }

    /// Makes a container whose start failed exited, and takes back what the start made.
    async fn give_up(self: &Arc<Self>, container: &Arc<Container>, error: &Error) {
        let message = match error {
            Error::Monitor { failure, .. } => failure.to_string(),
            other => other.to_string(),
        };
        let failed = self.change_container(container, |status| {
            let failed = status.on(ContainerEvent::StartFailed).unwrap_or(false);
            if failed {
                status.phase = exit_reason::not_started(&message);
            }
            failed
        });
        if failed {
            tracing::info!(container = %container.id, pod = %container.pod.id, message, "container could not be started");
        }
        let recorded = self.record_end(container).await;
        container.exited.send_replace(true);
        if let Some(monitor) = container.pod.monitor() {
            // It may not even know the container.
            let forget = Request::Forget { container: container.id.wire() };
            let _ = monitor.call(forget, &[], limits::MONITOR_ANSWER).await;
        }
        let removed = self.remove_cgroup(container, limits::CGROUP_REMOVE).await;
        for error in recorded.err().into_iter().chain(removed.err()) {
            tracing::warn!(container = %container.id, %error, "take back a failed start; the removal tries again");
        }
    }
}

fn pid_namespace(mode: PidMode) -> PidNamespace {
    match mode {
        PidMode::Container => PidNamespace::Own,
        PidMode::Pod => PidNamespace::Pod,
        PidMode::Node => PidNamespace::Host,
    }
}

fn log(container: &Container) -> Option<Log> {
    let directory = container.pod.config.log_directory.as_ref()?.to_str()?.to_owned();
    let file = container.config.log_path.clone()?;
    Some(Log { directory, file })
}
