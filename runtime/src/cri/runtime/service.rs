// SPDX-License-Identifier: Apache-2.0
//! The calls of `RuntimeService`, each to its file, and those that this version does not have.

use proto::cri::runtime_service_server::RuntimeService;
use proto::cri::*;
use tokio_stream::Empty;
use tonic::{Request, Response, Status};

use super::super::{Node, guarded, refused};
use super::{
    container_status, create_container, exec_sync, list_containers, list_pod_sandbox, pod_sandbox_status,
    remove_container, remove_pod_sandbox, reopen_container_log, run_pod_sandbox, runtime_config, start_container,
    status, stop_container, stop_pod_sandbox, update_runtime_config, version,
};

/// A stream of a call that this version does not have.
type Never<T> = Empty<Result<T, Status>>;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl RuntimeService for Node {
    async fn version(&self, request: Request<VersionRequest>) -> Answer<VersionResponse> {
        guarded("Version", version::answer(self, request.into_inner())).await
    }

    async fn run_pod_sandbox(&self, request: Request<RunPodSandboxRequest>) -> Answer<RunPodSandboxResponse> {
        guarded("RunPodSandbox", run_pod_sandbox::answer(self, request.into_inner())).await
    }

    async fn stop_pod_sandbox(&self, request: Request<StopPodSandboxRequest>) -> Answer<StopPodSandboxResponse> {
        guarded("StopPodSandbox", stop_pod_sandbox::answer(self, request.into_inner())).await
    }

    async fn remove_pod_sandbox(&self, request: Request<RemovePodSandboxRequest>) -> Answer<RemovePodSandboxResponse> {
        guarded("RemovePodSandbox", remove_pod_sandbox::answer(self, request.into_inner())).await
    }

    async fn pod_sandbox_status(&self, request: Request<PodSandboxStatusRequest>) -> Answer<PodSandboxStatusResponse> {
        guarded("PodSandboxStatus", pod_sandbox_status::answer(self, request.into_inner())).await
    }

    async fn list_pod_sandbox(&self, request: Request<ListPodSandboxRequest>) -> Answer<ListPodSandboxResponse> {
        guarded("ListPodSandbox", list_pod_sandbox::answer(self, request.into_inner())).await
    }

    type StreamPodSandboxesStream = Never<StreamPodSandboxesResponse>;

    async fn stream_pod_sandboxes(
        &self,
        _: Request<StreamPodSandboxesRequest>,
    ) -> Answer<Self::StreamPodSandboxesStream> {
        Err(refused::rpc("StreamPodSandboxes"))
    }

    async fn create_container(&self, request: Request<CreateContainerRequest>) -> Answer<CreateContainerResponse> {
        guarded("CreateContainer", create_container::answer(self, request.into_inner())).await
    }

    async fn start_container(&self, request: Request<StartContainerRequest>) -> Answer<StartContainerResponse> {
        guarded("StartContainer", start_container::answer(self, request.into_inner())).await
    }

    async fn stop_container(&self, request: Request<StopContainerRequest>) -> Answer<StopContainerResponse> {
        guarded("StopContainer", stop_container::answer(self, request.into_inner())).await
    }

    async fn remove_container(&self, request: Request<RemoveContainerRequest>) -> Answer<RemoveContainerResponse> {
        guarded("RemoveContainer", remove_container::answer(self, request.into_inner())).await
    }

    async fn list_containers(&self, request: Request<ListContainersRequest>) -> Answer<ListContainersResponse> {
        guarded("ListContainers", list_containers::answer(self, request.into_inner())).await
    }

    type StreamContainersStream = Never<StreamContainersResponse>;

    async fn stream_containers(&self, _: Request<StreamContainersRequest>) -> Answer<Self::StreamContainersStream> {
        Err(refused::rpc("StreamContainers"))
    }

    async fn container_status(&self, request: Request<ContainerStatusRequest>) -> Answer<ContainerStatusResponse> {
        guarded("ContainerStatus", container_status::answer(self, request.into_inner())).await
    }

    async fn update_container_resources(
        &self,
        _: Request<UpdateContainerResourcesRequest>,
    ) -> Answer<UpdateContainerResourcesResponse> {
        Err(refused::rpc("UpdateContainerResources"))
    }

    async fn reopen_container_log(
        &self,
        request: Request<ReopenContainerLogRequest>,
    ) -> Answer<ReopenContainerLogResponse> {
        guarded("ReopenContainerLog", reopen_container_log::answer(self, request.into_inner())).await
    }

    async fn exec_sync(&self, request: Request<ExecSyncRequest>) -> Answer<ExecSyncResponse> {
        guarded("ExecSync", exec_sync::answer(self, request.into_inner())).await
    }

    async fn exec(&self, _: Request<ExecRequest>) -> Answer<ExecResponse> {
        Err(refused::rpc("Exec"))
    }

    async fn attach(&self, _: Request<AttachRequest>) -> Answer<AttachResponse> {
        Err(refused::rpc("Attach"))
    }

    async fn port_forward(&self, _: Request<PortForwardRequest>) -> Answer<PortForwardResponse> {
        Err(refused::rpc("PortForward"))
    }

    async fn container_stats(&self, _: Request<ContainerStatsRequest>) -> Answer<ContainerStatsResponse> {
        Err(refused::rpc("ContainerStats"))
    }

    async fn list_container_stats(&self, _: Request<ListContainerStatsRequest>) -> Answer<ListContainerStatsResponse> {
        Err(refused::rpc("ListContainerStats"))
    }

    type StreamContainerStatsStream = Never<StreamContainerStatsResponse>;

    async fn stream_container_stats(
        &self,
        _: Request<StreamContainerStatsRequest>,
    ) -> Answer<Self::StreamContainerStatsStream> {
        Err(refused::rpc("StreamContainerStats"))
    }

    async fn pod_sandbox_stats(&self, _: Request<PodSandboxStatsRequest>) -> Answer<PodSandboxStatsResponse> {
        Err(refused::rpc("PodSandboxStats"))
    }

    async fn list_pod_sandbox_stats(
        &self,
        _: Request<ListPodSandboxStatsRequest>,
    ) -> Answer<ListPodSandboxStatsResponse> {
        Err(refused::rpc("ListPodSandboxStats"))
    }

    type StreamPodSandboxStatsStream = Never<StreamPodSandboxStatsResponse>;

    async fn stream_pod_sandbox_stats(
        &self,
        _: Request<StreamPodSandboxStatsRequest>,
    ) -> Answer<Self::StreamPodSandboxStatsStream> {
        Err(refused::rpc("StreamPodSandboxStats"))
    }

    async fn update_runtime_config(
        &self,
        request: Request<UpdateRuntimeConfigRequest>,
    ) -> Answer<UpdateRuntimeConfigResponse> {
        guarded("UpdateRuntimeConfig", update_runtime_config::answer(self, request.into_inner())).await
    }

    async fn status(&self, request: Request<StatusRequest>) -> Answer<StatusResponse> {
        guarded("Status", status::answer(self, request.into_inner())).await
    }

    async fn checkpoint_container(
        &self,
        _: Request<CheckpointContainerRequest>,
    ) -> Answer<CheckpointContainerResponse> {
        Err(refused::rpc("CheckpointContainer"))
    }

    async fn checkpoint_pod(&self, _: Request<CheckpointPodRequest>) -> Answer<CheckpointPodResponse> {
        Err(refused::rpc("CheckpointPod"))
    }

    async fn restore_pod(&self, _: Request<RestorePodRequest>) -> Answer<RestorePodResponse> {
        Err(refused::rpc("RestorePod"))
    }

    type GetContainerEventsStream = Never<ContainerEventResponse>;

    async fn get_container_events(&self, _: Request<GetEventsRequest>) -> Answer<Self::GetContainerEventsStream> {
        Err(refused::rpc("GetContainerEvents"))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<ListMetricDescriptorsRequest>,
    ) -> Answer<ListMetricDescriptorsResponse> {
        Err(refused::rpc("ListMetricDescriptors"))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<ListPodSandboxMetricsRequest>,
    ) -> Answer<ListPodSandboxMetricsResponse> {
        Err(refused::rpc("ListPodSandboxMetrics"))
    }

    type StreamPodSandboxMetricsStream = Never<StreamPodSandboxMetricsResponse>;

    async fn stream_pod_sandbox_metrics(
        &self,
        _: Request<StreamPodSandboxMetricsRequest>,
    ) -> Answer<Self::StreamPodSandboxMetricsStream> {
        Err(refused::rpc("StreamPodSandboxMetrics"))
    }

    async fn runtime_config(&self, request: Request<RuntimeConfigRequest>) -> Answer<RuntimeConfigResponse> {
        guarded("RuntimeConfig", runtime_config::answer(self, request.into_inner())).await
    }

    async fn update_pod_sandbox_resources(
        &self,
        _: Request<UpdatePodSandboxResourcesRequest>,
    ) -> Answer<UpdatePodSandboxResourcesResponse> {
        Err(refused::rpc("UpdatePodSandboxResources"))
    }
}
