// SPDX-License-Identifier: Apache-2.0
//! RemoveContainer: end it, forget it, take back what it held.

use std::sync::Arc;

use wire::Request;

use crate::container::Container;
use crate::container_state::{ContainerEvent, ContainerState};
use crate::error::Error;
use crate::limits;
use crate::pods::Inner;

impl Inner {
    pub(crate) async fn remove_container(self: Arc<Self>, container: Arc<Container>) -> Result<(), Error> {
        // A launch that hangs holds the lock; killing it makes it fail and let go.
        if matches!(container.state(), ContainerState::Starting | ContainerState::Running) {
            self.kill_container(&container).await?;
        }
        let _work = container.work.lock().await;
        if self.container(container.id).is_none() {
            return Ok(());
        }
        if matches!(container.state(), ContainerState::Starting | ContainerState::Running) {
            self.kill_container(&container).await?;
        }
        self.settle(&container).await;
        self.change_container(&container, |status| status.on(ContainerEvent::RemoveAsked).map(|_| ()))?;
        if let Some(monitor) = container.pod.monitor() {
            let forget = Request::Forget { container: container.id.wire() };
            if let Err(error) = monitor.call(forget, &[], limits::MONITOR_ANSWER).await {
                tracing::debug!(container = %container.id, %error, "forget container");
            }
        }
        self.remove_cgroup(&container, limits::CGROUP_REMOVE).await?;
        self.remove_files(&container).await?;
        tracing::info!(container = %container.id, pod = %container.pod.id, name = %container.config.key, "container is removed");
        Ok(())
    }
}
