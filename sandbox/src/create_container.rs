// SPDX-License-Identifier: Apache-2.0
//! CreateContainer: everything that can be wrong is found here, and no process is started.
//!
//! Mounts are checked by syntax only: a host path may be a dead volume, and a thread that touches one can be lost for
//! good. The launch touches them, in a process that can be given up.

use std::sync::Arc;

use crate::config::{ContainerConfig, ContainerKey};
use crate::container::Container;
use crate::container_state::ContainerState;
use crate::error::Error;
use crate::ids::ContainerId;
use crate::operations::{Cancelled, Found};
use crate::pod::Pod;
use crate::pod_state::PodState;
use crate::pods::Inner;
use crate::ports::{HeldLayers, ImageFacts, PortError};
use crate::records::{ContainerRecord, VERSION, make_dir, save, write_atomically};
use crate::{host_devices, oci, run_pod};

impl Inner {
    pub(crate) async fn create_container(
        self: Arc<Self>,
        pod: Arc<Pod>,
        config: ContainerConfig,
    ) -> Result<ContainerId, Error> {
        let config = Arc::new(config);
        let existing = || self.existing_container(&pod, &config);
        let start = |cancelled| Arc::clone(&self).make_container(Arc::clone(&pod), Arc::clone(&config), cancelled);
        let inner = Arc::clone(&self);
        let undo = |id| async move {
            tracing::info!(container = %id, "roll back a container that nobody has asked for again");
            if let Some(container) = inner.container(id)
                && let Err(error) = inner.remove_container(container).await
            {
                tracing::warn!(container = %id, %error, "roll back a container");
            }
        };
        let key = (pod.id, config.key.clone());
        let id = self.container_operations.join_or_start(key, Arc::clone(&config), existing, start, undo).await?;
        if let Some(container) = self.container(id) {
            self.change_container(&container, |status| status.revealed = true);
        }
        Ok(id)
    }

    /// The answer to a request whose container is there already.
    fn existing_container(&self, pod: &Pod, config: &ContainerConfig) -> Found<ContainerId> {
        let same = self
            .containers_of(pod.id)
            .into_iter()
            .find(|container| container.config.key == config.key && container.state() != ContainerState::Removing);
        let Some(container) = same else { return Found::Nothing };
        Found::Answer(if *container.config != *config {
            Err(Error::Differs {
                what: what(&config.key),
                id: container.id.to_string(),
                difference: difference(&container.config, config),
            })
        } else if container.state() == ContainerState::Created {
            Ok(container.id)
        } else {
            Err(container.wrong_state("remove it, or raise metadata.attempt for a new one"))
        })
    }

    async fn make_container(
        self: Arc<Self>,
        pod: Arc<Pod>,
        config: Arc<ContainerConfig>,
        cancelled: Cancelled,
    ) -> Result<ContainerId, Error> {
        let _work = pod.work.lock().await;
        let state = pod.state();
        if state != PodState::Ready {
            return Err(pod.wrong_state(state, "a container can be made only in a ready sandbox; run a new one"));
        }
        if config.security.privileged && !pod.config.privileged {
            return Err(Error::Invalid {
                field: "config.linux.security_context.privileged",
                reason: "is set, but the pod sandbox is not privileged; run a privileged sandbox".into(),
            });
        }
        let image = self.find_image(&config.image.image)?;
        let id = ContainerId::random();
        let layers = self.images.hold(id, &image.id).map_err(|error| image_error(&image.id, error))?;
        let made = tokio::select! {
            made = self.write_down(&pod, &config, &image, id, layers) => made,
            () = cancelled.wait() => Err(Error::Superseded { what: what(&config.key) }),
        };
        match made {
            Ok(container) => {
                tracing::info!(container = %id, pod = %pod.id, name = %config.key, image = image.reference, "container is created");
                self.add_container(container);
                Ok(id)
            }
            Err(error) => {
                pod.jobs_are_done().await;
                self.images.release(id);
                let dir = self.paths.container(pod.id, id);
                if let Err(left) = self.blocking.run(move || crate::records::remove_dir(&dir)).await {
                    tracing::warn!(container = %id, error = %left, "roll back a container; it goes with its pod");
                }
                Err(error)
            }
        }
    }

    fn find_image(&self, image: &str) -> Result<ImageFacts, Error> {
        let found = self.images.find(image).map_err(|error| image_error(image, error))?;
        found.ok_or_else(|| Error::NoImage(image.to_owned()))
    }

    /// Writes the record (intent), the file system's directories and the OCI config.
    async fn write_down(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        config: &Arc<ContainerConfig>,
        image: &ImageFacts,
        id: ContainerId,
        layers: HeldLayers,
    ) -> Result<Arc<Container>, Error> {
        let (inner, pod, config, image) = (Arc::clone(self), Arc::clone(pod), Arc::clone(config), image.clone());
        let created_at_ns = self.clock.now_ns();
        let job = pod.job().await;
        self.blocking
            .run(move || {
                let _job = job;
                let devices = if config.security.privileged { host_devices::list()? } else { Vec::new() };
                let cgroup_path = inner.cgroup_path(&pod, id.wire())?;
                let generated = oci::generate(&oci::Request {
                    container: &config,
                    pod: &pod.config,
                    image: &image,
                    live_dir: &inner.paths.live_pod(pod.id),
                    hostname: &run_pod::hostname_in(&pod),
                    cgroup_path: cgroup_path.as_str(),
                    available_capabilities: inner.available_capabilities,
                    host_devices: &devices,
                })?;
                let record = ContainerRecord {
                    version: VERSION,
                    id,
                    pod: pod.id,
                    created_at_ns,
                    config: ContainerConfig::clone(&config),
                    image_id: image.id,
                    image_reference: image.reference,
                    layers,
                    env: generated.env,
                    stop_signal: generated.stop_signal,
                    user: generated.user,
                };
                let dir = inner.paths.container(pod.id, id);
                make_dir(&dir)?;
                save(&dir.join("record.json"), &record)?;
                let spec = serde_json::to_vec(&generated.spec).map_err(|error| Error::Fault(error.to_string()))?;
                write_atomically(&dir.join("config.json"), &spec)?;
                make_dir(&dir.join("work"))?;
                make_upper(&dir.join("upper"))?;
                Ok(Arc::new(Container::new(record, pod)))
            })
            .await
    }
}

/// The upper directory becomes the container's `/`, whose mode every user in it must be able to pass.
fn make_upper(path: &std::path::Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    make_dir(path)?;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, mode).map_err(|error| Error::file("set the mode of", path, error))
}

fn image_error(image: &str, error: PortError) -> Error {
    Error::Image { image: image.to_owned(), kind: error.kind, message: error.message }
}

fn what(key: &ContainerKey) -> String {
    format!("container {key}")
}

/// The names of the fields in which two configurations differ.
fn difference(old: &ContainerConfig, new: &ContainerConfig) -> String {
    let fields = [
        ("image", old.image == new.image),
        ("command", old.command == new.command),
        ("args", old.args == new.args),
        ("working_dir", old.working_dir == new.working_dir),
        ("envs", old.envs == new.envs),
        ("mounts", old.mounts == new.mounts),
        ("labels", old.labels == new.labels),
        ("annotations", old.annotations == new.annotations),
        ("log_path", old.log_path == new.log_path),
        ("stdin", old.stdin == new.stdin),
        ("tty", old.tty == new.tty),
        ("linux.resources", old.resources == new.resources),
        ("linux.security_context", old.security == new.security),
        ("stop_signal", old.stop_signal == new.stop_signal),
    ];
    let names: Vec<_> = fields.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect();
    format!("{} differ", names.join(", "))
}
