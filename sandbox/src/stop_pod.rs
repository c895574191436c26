// SPDX-License-Identifier: Apache-2.0
//! StopPodSandbox and RemovePodSandbox: the teardown, to two depths.

use std::sync::Arc;

use crate::error::Error;
use crate::pod::Pod;
use crate::pod_state::{PodEvent, PodState};
use crate::pods::Inner;
use crate::records::{PodStatusRecord, VERSION, save};
use crate::teardown::Scope;

impl Inner {
    pub(crate) async fn stop_pod(self: Arc<Self>, pod: Arc<Pod>) -> Result<(), Error> {
        let _work = pod.work.lock().await;
        self.change_pod(&pod, |status| status.on(PodEvent::StopAsked).map(|_| ()))?;
        if matches!(pod.state(), PodState::Stopped | PodState::Removing) {
            return Ok(());
        }
        self.tear_down(&pod, Scope::Running).await?;
        let record = PodStatusRecord { version: VERSION, stopped: true, ips: Vec::new() };
        let path = self.paths.pod(pod.id).join("status.json");
        if let Err(error) = self.blocking.run(move || save(&path, &record)).await {
            // The next start finds nothing alive and comes to the same state.
            tracing::warn!(pod = %pod.id, %error, "record that a pod sandbox is stopped");
        }
        self.change_pod(&pod, |status| status.on(PodEvent::Stopped).map(|_| ()))?;
        tracing::info!(pod = %pod.id, name = %pod.config.key, "pod sandbox is stopped");
        Ok(())
    }

    pub(crate) async fn remove_pod(self: Arc<Self>, pod: Arc<Pod>) -> Result<(), Error> {
        let _work = pod.work.lock().await;
        if self.pod(pod.id).is_none() {
            return Ok(());
        }
        self.change_pod(&pod, |status| status.on(PodEvent::RemoveAsked).map(|_| ()))?;
        self.tear_down(&pod, Scope::Everything).await?;
        self.drop_pod(pod.id);
        tracing::info!(pod = %pod.id, name = %pod.config.key, "pod sandbox is removed");
        Ok(())
    }
}
