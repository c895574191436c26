// SPDX-License-Identifier: Apache-2.0
//! The client's side of the socket: what a kubelet does, one method per call.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper_util::rt::TokioIo;
use proto::cri::image_service_client::ImageServiceClient;
use proto::cri::runtime_service_client::RuntimeServiceClient;
use proto::cri::{self, ContainerState};
use proto::husk::LoadImageRequest;
use proto::husk::husk_client::HuskClient;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::limits;

/// Result of a call: the answer, or the daemon's status.
pub type Answer<T> = std::result::Result<T, Status>;

/// A connection to a daemon. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    /// The runtime service of the CRI, for calls that have no method here.
    pub runtime: RuntimeServiceClient<Channel>,
    /// The image service of the CRI.
    pub images: ImageServiceClient<Channel>,
    /// husk's own service.
    pub husk: HuskClient<Channel>,
}

/// Makes a request message into one with a deadline, as a kubelet's calls have.
fn within<T>(message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

impl Client {
    /// Connects to the socket of a daemon.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect(socket: &Path) -> Result<Client> {
        let path: PathBuf = socket.to_owned();
        // The authority is what kubelet and crictl send; h2 refuses the path of a socket as one.
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(tower::service_fn(move |_| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            }))
            .await
            .with_context(|| format!("connect to {}", socket.display()))?;
        let bytes = limits::GRPC_MESSAGE_BYTES;
        Ok(Client {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(bytes)
                .max_encoding_message_size(bytes),
            images: ImageServiceClient::new(channel.clone())
                .max_decoding_message_size(bytes)
                .max_encoding_message_size(bytes),
            husk: HuskClient::new(channel),
        })
    }

    /// `Version`.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn version(&self) -> Answer<cri::VersionResponse> {
        let request = cri::VersionRequest { version: "v1".to_owned() };
        let mut runtime = self.runtime.clone();
        Ok(runtime.version(within(request, limits::CALL)).await?.into_inner())
    }

    /// `Status`; `verbose` adds the info map.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn status(&self) -> Answer<cri::StatusResponse> {
        let request = cri::StatusRequest { verbose: true };
        let mut runtime = self.runtime.clone();
        Ok(runtime.status(within(request, limits::CALL)).await?.into_inner())
    }

    /// `RunPodSandbox` with the default handler; gives the id.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn run_pod(&self, config: &cri::PodSandboxConfig) -> Answer<String> {
        let request = cri::RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
        let mut runtime = self.runtime.clone();
        let answer = runtime.run_pod_sandbox(within(request, limits::CALL)).await?;
        Ok(answer.into_inner().pod_sandbox_id)
    }

    /// `StopPodSandbox`.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn stop_pod(&self, id: &str) -> Answer<()> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let mut runtime = self.runtime.clone();
        runtime.stop_pod_sandbox(within(request, limits::CALL)).await?;
        Ok(())
    }

    /// `RemovePodSandbox`.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn remove_pod(&self, id: &str) -> Answer<()> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let mut runtime = self.runtime.clone();
        runtime.remove_pod_sandbox(within(request, limits::CALL)).await?;
        Ok(())
    }

    /// `PodSandboxStatus`, verbose.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn pod_answer(&self, id: &str) -> Answer<cri::PodSandboxStatusResponse> {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: true };
        let mut runtime = self.runtime.clone();
        Ok(runtime.pod_sandbox_status(within(request, limits::CALL)).await?.into_inner())
    }

    /// The status of a pod.
    ///
    /// # Errors
    /// The daemon's status; `Internal` when the answer has none.
    pub async fn pod(&self, id: &str) -> Answer<cri::PodSandboxStatus> {
        let answer = self.pod_answer(id).await?;
        answer.status.ok_or_else(|| Status::internal("PodSandboxStatus answered without a status"))
    }

    /// The address of a pod, "" when it has none.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn pod_ip(&self, id: &str) -> Answer<String> {
        Ok(self.pod(id).await?.network.unwrap_or_default().ip)
    }

    /// `ListPodSandbox`.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn pods(&self, filter: cri::PodSandboxFilter) -> Answer<Vec<cri::PodSandbox>> {
        let request = cri::ListPodSandboxRequest { filter: Some(filter) };
        let mut runtime = self.runtime.clone();
        Ok(runtime.list_pod_sandbox(within(request, limits::CALL)).await?.into_inner().items)
    }

    /// `CreateContainer`; gives the id.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn create(
        &self,
        pod_id: &str,
        pod: &cri::PodSandboxConfig,
        config: &cri::ContainerConfig,
    ) -> Answer<String> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: pod_id.to_owned(),
            config: Some(config.clone()),
            sandbox_config: Some(pod.clone()),
        };
        let mut runtime = self.runtime.clone();
        let answer = runtime.create_container(within(request, limits::CALL)).await?;
        Ok(answer.into_inner().container_id)
    }

    /// `StartContainer`.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn start(&self, id: &str) -> Answer<()> {
        let request = cri::StartContainerRequest { container_id: id.to_owned() };
        let mut runtime = self.runtime.clone();
        runtime.start_container(within(request, limits::CALL)).await?;
        Ok(())
    }

    /// `CreateContainer` and `StartContainer`; gives the id.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn launch(
        &self,
        pod_id: &str,
        pod: &cri::PodSandboxConfig,
        config: &cri::ContainerConfig,
    ) -> Answer<String> {
        let id = self.create(pod_id, pod, config).await?;
        self.start(&id).await?;
        Ok(id)
    }

    /// `StopContainer` with a grace time.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn stop(&self, id: &str, grace: Duration) -> Answer<()> {
        let request = cri::StopContainerRequest {
            container_id: id.to_owned(),
            timeout: i64::try_from(grace.as_secs()).unwrap_or(i64::MAX),
        };
        let mut runtime = self.runtime.clone();
        runtime.stop_container(within(request, grace + limits::CALL)).await?;
        Ok(())
    }

    /// `RemoveContainer`.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn remove(&self, id: &str) -> Answer<()> {
        let request = cri::RemoveContainerRequest { container_id: id.to_owned() };
        let mut runtime = self.runtime.clone();
        runtime.remove_container(within(request, limits::CALL)).await?;
        Ok(())
    }

    /// `ContainerStatus`, verbose.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn container_answer(&self, id: &str) -> Answer<cri::ContainerStatusResponse> {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
        let mut runtime = self.runtime.clone();
        Ok(runtime.container_status(within(request, limits::CALL)).await?.into_inner())
    }

    /// The status of a container.
    ///
    /// # Errors
    /// The daemon's status; `Internal` when the answer has none.
    pub async fn container(&self, id: &str) -> Answer<cri::ContainerStatus> {
        let answer = self.container_answer(id).await?;
        answer.status.ok_or_else(|| Status::internal("ContainerStatus answered without a status"))
    }

    /// `ListContainers`.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn containers(&self, filter: cri::ContainerFilter) -> Answer<Vec<cri::Container>> {
        let request = cri::ListContainersRequest { filter: Some(filter) };
        let mut runtime = self.runtime.clone();
        Ok(runtime.list_containers(within(request, limits::CALL)).await?.into_inner().containers)
    }

    /// `ExecSync`; `limit` of zero means none.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn exec(&self, id: &str, command: &[&str], limit: Duration) -> Answer<cri::ExecSyncResponse> {
        let request = cri::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        };
        let mut runtime = self.runtime.clone();
        Ok(runtime.exec_sync(within(request, limit + limits::CALL)).await?.into_inner())
    }

    /// Runs a command in a container that must succeed, and gives what it printed.
    ///
    /// # Errors
    /// When the call or the command fails; the message has its standard error.
    pub async fn output(&self, id: &str, command: &[&str]) -> Result<String> {
        let answer = self.exec(id, command, Duration::ZERO).await?;
        if answer.exit_code != 0 {
            bail!(
                "`{}` gave {}: {}{}",
                command.join(" "),
                answer.exit_code,
                String::from_utf8_lossy(&answer.stdout),
                String::from_utf8_lossy(&answer.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
    }

    /// `ReopenContainerLog`.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn reopen_log(&self, id: &str) -> Answer<()> {
        let request = cri::ReopenContainerLogRequest { container_id: id.to_owned() };
        let mut runtime = self.runtime.clone();
        runtime.reopen_container_log(within(request, limits::CALL)).await?;
        Ok(())
    }

    /// Waits until a container has ended and gives its last status. The CRI of this version announces
    /// no end, so its status is read again and again, as a kubelet does.
    ///
    /// # Errors
    /// When it does not end within `limit`.
    pub async fn wait_exited(&self, id: &str, limit: Duration) -> Result<cri::ContainerStatus> {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.container(id).await?;
            if status.state() == ContainerState::ContainerExited {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("container {id} has not ended after {limit:?}: {status:?}");
            }
            sleep(limits::TICK).await;
        }
    }

    /// `husk.v1.LoadImage`: the archive under these references; gives the image's id.
    ///
    /// # Errors
    /// When the daemon refuses or the archive does not hold exactly one image.
    pub async fn load(&self, archive: &Path, tags: &[&str]) -> Result<String> {
        let request = LoadImageRequest {
            path: archive.display().to_string(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        };
        let mut husk = self.husk.clone();
        let images = husk.load_image(within(request, limits::CALL)).await?.into_inner().images;
        match images.as_slice() {
            [one] => Ok(one.image_id.clone()),
            other => bail!("the archive held {} images", other.len()),
        }
    }

    /// `PullImage`; gives the id of the image.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn pull(&self, reference: &str, auth: Option<cri::AuthConfig>) -> Answer<String> {
        let request = cri::PullImageRequest { image: Some(image_spec(reference)), auth, sandbox_config: None };
        let mut images = self.images.clone();
        Ok(images.pull_image(within(request, limits::CALL)).await?.into_inner().image_ref)
    }

    /// `ImageStatus`, verbose.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn image(&self, reference: &str) -> Answer<cri::ImageStatusResponse> {
        let request = cri::ImageStatusRequest { image: Some(image_spec(reference)), verbose: true };
        let mut images = self.images.clone();
        Ok(images.image_status(within(request, limits::CALL)).await?.into_inner())
    }

    /// `ListImages`, all or those that the filter names.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn list_images(&self, filter: Option<&str>) -> Answer<Vec<cri::Image>> {
        let request = cri::ListImagesRequest {
            filter: filter.map(|reference| cri::ImageFilter { image: Some(image_spec(reference)) }),
        };
        let mut images = self.images.clone();
        Ok(images.list_images(within(request, limits::CALL)).await?.into_inner().images)
    }

    /// `RemoveImage`.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn remove_image(&self, reference: &str) -> Answer<()> {
        let request = cri::RemoveImageRequest { image: Some(image_spec(reference)) };
        let mut images = self.images.clone();
        images.remove_image(within(request, limits::CALL)).await?;
        Ok(())
    }

    /// `ImageFsInfo`.
    ///
    /// # Errors
    /// The daemon's status.
    pub async fn image_fs(&self) -> Answer<cri::ImageFsInfoResponse> {
        let mut images = self.images.clone();
        let request = within(cri::ImageFsInfoRequest {}, limits::CALL);
        Ok(images.image_fs_info(request).await?.into_inner())
    }

    /// Stops and removes every pod.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn remove_all_pods(&self) -> Result<()> {
        for pod in self.pods(cri::PodSandboxFilter::default()).await? {
            let stop = timeout(limits::CALL, self.stop_pod(&pod.id)).await;
            stop.with_context(|| format!("stop pod {} in time", pod.id))??;
            self.remove_pod(&pod.id).await.with_context(|| format!("remove pod {}", pod.id))?;
        }
        Ok(())
    }
}

/// A reference as the CRI wraps it.
#[must_use]
pub fn image_spec(reference: &str) -> cri::ImageSpec {
    cri::ImageSpec { image: reference.to_owned(), ..Default::default() }
}

/// A configuration of a pod with this name in the namespace `default` and everything else empty.
#[must_use]
pub fn pod_config(name: &str, uid: &str) -> cri::PodSandboxConfig {
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: name.to_owned(),
            uid: uid.to_owned(),
            namespace: "default".to_owned(),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        labels: HashMap::from([("app".to_owned(), name.to_owned())]),
        linux: Some(cri::LinuxPodSandboxConfig {
            security_context: Some(cri::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The namespaces that a kubelet asks for: network and ipc of the pod, pid of the container.
#[must_use]
pub fn namespaces() -> cri::NamespaceOption {
    cri::NamespaceOption {
        network: cri::NamespaceMode::Pod.into(),
        pid: cri::NamespaceMode::Container.into(),
        ipc: cri::NamespaceMode::Pod.into(),
        ..Default::default()
    }
}

/// A configuration of a container that runs this command of this image and logs to `<name>.log`.
#[must_use]
pub fn container_config(name: &str, image: &str, command: &[&str]) -> cri::ContainerConfig {
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(image_spec(image)),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        log_path: format!("{name}.log"),
        linux: Some(cri::LinuxContainerConfig {
            security_context: Some(cri::LinuxContainerSecurityContext {
                namespace_options: Some(namespaces()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Asserts that a call failed with this code, and gives the message.
///
/// # Errors
/// When it succeeded or failed with another code.
pub fn refused<T: std::fmt::Debug>(answer: Answer<T>, code: Code) -> Result<String> {
    match answer {
        Ok(answer) => bail!("expected {code:?}, got the answer {answer:?}"),
        Err(status) if status.code() == code => Ok(status.message().to_owned()),
        Err(status) => bail!("expected {code:?}, got {:?}: {}", status.code(), status.message()),
    }
}
