// SPDX-License-Identifier: Apache-2.0
//! StopContainer: the stop signal, the grace time, SIGKILL to the whole cgroup.

use std::sync::Arc;
use std::time::Duration;

use wire::Request;

use crate::container::Container;
use crate::container_state::ContainerState;
use crate::error::Error;
use crate::limits;
use crate::pods::Inner;

impl Inner {
    /// Holds no lock: several stops of one container may wait side by side, and the shortest grace decides.
    pub(crate) async fn stop_container(
        self: &Arc<Self>,
        container: &Arc<Container>,
        grace: Duration,
    ) -> Result<(), Error> {
        match container.state() {
            // A container that never ran has nothing to stop, and can still be started.
            ContainerState::Created | ContainerState::Exited => return Ok(()),
            ContainerState::Starting | ContainerState::Running | ContainerState::Removing => {}
        }
        if !grace.is_zero() {
            self.signal_once(container).await;
            if self.has_exited(container, grace).await {
                return Ok(());
            }
        }
        self.kill_container(container).await
    }

    /// Sends the stop signal, unless an earlier stop has done it.
    async fn signal_once(&self, container: &Arc<Container>) {
        let first = !std::mem::replace(&mut container.status().stop_signalled, true);
        let Some(monitor) = container.pod.monitor().filter(|_| first) else { return };
        let signal = Request::Signal { container: container.id.wire(), signal: container.stop_signal.number() };
        tracing::debug!(container = %container.id, signal = %container.stop_signal, "stop container");
        // A process that is gone already needs no signal; one that cannot be signalled is killed after the grace time.
        if let Err(error) = monitor.call(signal, &[], limits::MONITOR_ANSWER).await {
            tracing::debug!(container = %container.id, %error, "send the stop signal");
        }
    }

    /// Kills all of a container and waits until it has exited.
    pub(crate) async fn kill_container(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), Error> {
        let asked = match container.pod.monitor() {
            Some(monitor) => {
                let kill = Request::Kill { container: container.id.wire() };
                monitor.call(kill, &[], limits::MONITOR_ANSWER).await.is_ok()
            }
            None => false,
        };
        if !asked {
            let cgroup = self.cgroups.open(&self.cgroup_path(&container.pod, container.id.wire())?);
            self.blocking.run(move || Ok(cgroup.kill()?)).await?;
        }
        if self.has_exited(container, limits::KILL_WAIT).await {
            return Ok(());
        }
        Err(Error::WontDie {
            container: container.id,
            waited: limits::KILL_WAIT,
            details: self.who_is_left(container).await,
        })
    }

    /// Waits until the end of a container that is over is on record too: its directory is not removed while somebody
    /// writes into it.
    pub(crate) async fn settle(&self, container: &Arc<Container>) {
        if container.state() == ContainerState::Exited && !self.has_exited(container, limits::MONITOR_ANSWER).await {
            tracing::warn!(container = %container.id, "go on though the end of a container is not on record");
        }
    }

    async fn has_exited(&self, container: &Arc<Container>, wait: Duration) -> bool {
        let mut exited = container.exited.subscribe();
        tokio::time::timeout(wait, exited.wait_for(|exited| *exited)).await.is_ok_and(|result| result.is_ok())
    }

    /// Names the processes that survive, with their state and what in the kernel they wait for.
    async fn who_is_left(&self, container: &Arc<Container>) -> String {
        let Ok(path) = self.cgroup_path(&container.pod, container.id.wire()) else { return String::new() };
        let cgroup = self.cgroups.open(&path);
        let described = self.blocking.run(move || {
            let pids = cgroup.pids()?;
            let lines = pids.iter().take(8).map(|pid| {
                let number = pid.as_raw_nonzero();
                let read = |file: &str| std::fs::read_to_string(format!("/proc/{number}/{file}")).unwrap_or_default();
                let state = read("stat").rsplit_once(") ").map_or('?', |(_, rest)| rest.chars().next().unwrap_or('?'));
                format!("pid {number} in state {state} waiting in {:?}", read("wchan"))
            });
            Ok(lines.collect::<Vec<_>>().join(", "))
        });
        described.await.unwrap_or_else(|error| error.to_string())
    }
}
