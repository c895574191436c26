// SPDX-License-Identifier: Apache-2.0
//! The life of a pod and its containers, from the first call to the last.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use husk_tests::client::refused;
use husk_tests::world::{BUSYBOX, World};
use proto::cri::{self, ContainerState, PodSandboxState};
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_pod_runs_a_container_and_leaves_nothing() -> Result<()> {
    World::new("life")
        .await?
        .live(async |world| {
            let client = world.client.clone();
            let (pod_id, pod) = world.run_pod("first").await?;
            ensure!(pod_id.len() == 64 && pod_id.bytes().all(|b| b.is_ascii_hexdigit()), "id {pod_id}");
            let status = client.pod(&pod_id).await?;
            assert_eq!(status.state(), PodSandboxState::SandboxReady);
            assert_eq!(status.metadata, pod.metadata);
            assert_eq!(status.labels, pod.labels);
            assert!(status.created_at > 1_600_000_000_000_000_000, "nanoseconds since 1970");
            let ip = status.network.context("a pod network")?.ip;
            ensure!(ip.starts_with("10.88.0."), "the pod's address is {ip}");
            assert_eq!(world.ground.network.leased(), [ip]);

            let script = "echo out; echo err >&2; trap 'echo bye; exit 7' TERM; while :; do sleep 0.05; done";
            let config = world.container_config("main", &["sh", "-c", script]);
            let id = client.create(&pod_id, &pod, &config).await?;
            let created = client.container(&id).await?;
            assert_eq!(created.state(), ContainerState::ContainerCreated);
            assert_eq!((created.started_at, created.finished_at), (0, 0));
            assert_eq!(created.image.context("an image")?.image, BUSYBOX);
            ensure!(created.image_id.starts_with("sha256:"), "image id {}", created.image_id);

            client.start(&id).await?;
            let running = client.container(&id).await?;
            assert_eq!(running.state(), ContainerState::ContainerRunning);
            ensure!(running.started_at >= running.created_at, "started before it was created");
            assert_eq!(client.output(&id, &["hostname"]).await?, "first\n");
            assert_eq!(client.exec(&id, &["sh", "-c", "exit 3"], LIMIT).await?.exit_code, 3);

            client.stop(&id, LIMIT).await?;
            let exited = client.container(&id).await?;
            assert_eq!(exited.state(), ContainerState::ContainerExited);
            assert_eq!((exited.exit_code, exited.reason.as_str()), (7, "Error"));
            ensure!(exited.finished_at >= exited.started_at, "it ended before it began");
            let log = world.log(&pod, "main")?;
            assert_eq!(log.stdout()?, "out\nbye\n");
            assert_eq!(log.stderr()?, "err\n");
            assert_eq!(exited.log_path, world.log_path(&pod, "main").display().to_string());

            client.remove(&id).await?;
            refused(client.container(&id).await, Code::NotFound)?;
            client.stop_pod(&pod_id).await?;
            let stopped = client.pod(&pod_id).await?;
            assert_eq!(stopped.state(), PodSandboxState::SandboxNotready);
            assert!(world.ground.network.leased().is_empty(), "the address is free again");
            client.remove_pod(&pod_id).await?;
            refused(client.pod(&pod_id).await, Code::NotFound)?;
            assert!(world.log_path(&pod, "main").exists(), "logs are the kubelet's to remove");
            world.assert_clean()
        })
        .await
}

#[tokio::test]
async fn everything_may_be_asked_twice_and_for_unknown_ids() -> Result<()> {
    World::new("twice")
        .await?
        .live(async |world| {
            let client = world.client.clone();
            let unknown = "f".repeat(64);
            client.stop_pod(&unknown).await?;
            client.remove_pod(&unknown).await?;
            client.stop(&unknown, Duration::ZERO).await?;
            client.remove(&unknown).await?;
            refused(client.pod(&unknown).await, Code::NotFound)?;
            refused(client.container(&unknown).await, Code::NotFound)?;
            refused(client.start(&unknown).await, Code::NotFound)?;
            refused(client.exec(&unknown, &["true"], LIMIT).await, Code::NotFound)?;
            refused(client.reopen_log(&unknown).await, Code::NotFound)?;

            let (pod_id, pod) = world.run_pod("pod").await?;
            let config = world.container_config("main", &["sleep", "1000"]);
            let id = client.create(&pod_id, &pod, &config).await?;
            // A container that was never started: stopping it is allowed, and it can still be started.
            client.stop(&id, Duration::ZERO).await?;
            refused(client.exec(&id, &["true"], LIMIT).await, Code::FailedPrecondition)?;
            client.start(&id).await?;
            refused(client.start(&id).await, Code::FailedPrecondition)?;
            for _ in 0..2 {
                client.stop(&id, Duration::ZERO).await?;
            }
            let exited = client.container(&id).await?;
            assert_eq!(exited.exit_code, 137);
            refused(client.start(&id).await, Code::FailedPrecondition)?;
            refused(client.exec(&id, &["true"], LIMIT).await, Code::FailedPrecondition)?;
            for _ in 0..2 {
                client.remove(&id).await?;
            }
            for _ in 0..2 {
                client.stop_pod(&pod_id).await?;
            }
            refused(client.create(&pod_id, &pod, &config).await, Code::FailedPrecondition)?;
            for _ in 0..2 {
                client.remove_pod(&pod_id).await?;
            }
            Ok(())
        })
        .await
}

#[tokio::test]
async fn removing_a_running_pod_ends_its_containers() -> Result<()> {
    World::new("force")
        .await?
        .live(async |world| {
            let client = world.client.clone();
            let (pod_id, pod) = world.run_pod("pod").await?;
            for name in ["one", "two"] {
                let config = world.container_config(name, &["sleep", "1000"]);
                client.launch(&pod_id, &pod, &config).await?;
            }
            client.create(&pod_id, &pod, &world.container_config("three", &["true"])).await?;
            client.remove_pod(&pod_id).await?;
            assert!(client.containers(cri::ContainerFilter::default()).await?.is_empty());
            world.assert_clean()
        })
        .await
}

#[tokio::test]
async fn a_repeated_run_or_create_gets_the_first_ones_result() -> Result<()> {
    World::new("joins")
        .await?
        .live(async |world| {
            let client = world.client.clone();
            let pod = world.pod_config("pod")?;
            // At the same time, and again when it is done.
            let (one, two, three) = tokio::join!(client.run_pod(&pod), client.run_pod(&pod), client.run_pod(&pod));
            let pod_id = one?;
            assert_eq!((two?, three?, client.run_pod(&pod).await?), (pod_id.clone(), pod_id.clone(), pod_id.clone()));
            assert_eq!(client.pods(cri::PodSandboxFilter::default()).await?.len(), 1);
            assert_eq!(world.ground.network.leased().len(), 1);

            let config = world.container_config("main", &["sleep", "1000"]);
            let create = || client.create(&pod_id, &pod, &config);
            let (one, two, three) = tokio::join!(create(), create(), create());
            let id = one?;
            assert_eq!((two?, three?, create().await?), (id.clone(), id.clone(), id));
            assert_eq!(client.containers(cri::ContainerFilter::default()).await?.len(), 1);

            // The next attempt is another pod, and another name another container.
            let mut next = pod.clone();
            next.metadata.as_mut().context("metadata")?.attempt = 1;
            assert_ne!(client.run_pod(&next).await?, pod_id);
            let other = world.container_config("other", &["sleep", "1000"]);
            client.create(&pod_id, &pod, &other).await?;
            assert_eq!(client.containers(cri::ContainerFilter::default()).await?.len(), 2);

            // A finished, claimed object and another configuration do not go together.
            let mut changed = pod.clone();
            changed.hostname = "changed".to_owned();
            let message = refused(client.run_pod(&changed).await, Code::FailedPrecondition)?;
            ensure!(!message.contains("reserved"), "nobody sees the word: {message}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn lists_filter_by_id_prefix_state_and_labels() -> Result<()> {
    World::new("lists")
        .await?
        .live(async |world| {
            let client = world.client.clone();
            let (red_id, red) = world.run_pod("red").await?;
            let (blue_id, blue) = world.run_pod("blue").await?;
            client.stop_pod(&blue_id).await?;
            let pods = async |filter| -> Result<Vec<String>> {
                let mut ids: Vec<String> = client.pods(filter).await?.into_iter().map(|pod| pod.id).collect();
                ids.sort();
                Ok(ids)
            };
            let mut both = vec![red_id.clone(), blue_id.clone()];
            both.sort();
            let by_id = |id: &str| cri::PodSandboxFilter { id: id.to_owned(), ..Default::default() };
            let by_state = |state: PodSandboxState| cri::PodSandboxFilter {
                state: Some(cri::PodSandboxStateValue { state: state.into() }),
                ..Default::default()
            };
            let by_label = |key: &str, value: &str| cri::PodSandboxFilter {
                label_selector: HashMap::from([(key.to_owned(), value.to_owned())]),
                ..Default::default()
            };
            assert_eq!(pods(cri::PodSandboxFilter::default()).await?, both);
            assert_eq!(pods(by_id(&red_id)).await?, [red_id.as_str()]);
            assert_eq!(pods(by_id(&red_id[..13])).await?, [red_id.as_str()]);
            assert!(pods(by_id(&"f".repeat(64))).await?.is_empty());
            assert_eq!(pods(by_state(PodSandboxState::SandboxReady)).await?, [red_id.as_str()]);
            assert_eq!(pods(by_state(PodSandboxState::SandboxNotready)).await?, [blue_id.as_str()]);
            assert_eq!(pods(by_label("app", "red")).await?, [red_id.as_str()]);
            assert!(pods(by_label("app", "green")).await?.is_empty());
            assert!(pods(by_label("app", "re")).await?.is_empty(), "a selector is exact");
            assert_eq!(client.pod(&red_id[..13]).await?.id, red_id);
            assert_eq!(client.pod(&blue_id).await?.metadata, blue.metadata);

            let mut config = world.container_config("main", &["sleep", "1000"]);
            config.labels.insert("tier".to_owned(), "front".to_owned());
            config.annotations.insert("note".to_owned(), "kept as it is ☂".to_owned());
            let running = client.launch(&red_id, &red, &config).await?;
            let created = client.create(&red_id, &red, &world.container_config("idle", &["true"])).await?;
            let containers = async |filter| -> Result<Vec<String>> {
                let mut ids: Vec<String> = client.containers(filter).await?.into_iter().map(|one| one.id).collect();
                ids.sort();
                Ok(ids)
            };
            let mut all = vec![running.clone(), created.clone()];
            all.sort();
            let filter = cri::ContainerFilter::default;
            let in_state = |state: ContainerState| Some(cri::ContainerStateValue { state: state.into() });
            assert_eq!(containers(filter()).await?, all);
            assert_eq!(
                containers(cri::ContainerFilter { pod_sandbox_id: red_id[..16].to_owned(), ..filter() }).await?,
                all
            );
            assert!(containers(cri::ContainerFilter { pod_sandbox_id: blue_id.clone(), ..filter() }).await?.is_empty());
            assert_eq!(
                containers(cri::ContainerFilter { state: in_state(ContainerState::ContainerRunning), ..filter() })
                    .await?,
                [running.as_str()]
            );
            assert_eq!(
                containers(cri::ContainerFilter { state: in_state(ContainerState::ContainerCreated), ..filter() })
                    .await?,
                [created.as_str()]
            );
            assert_eq!(
                containers(cri::ContainerFilter { label_selector: config.labels.clone(), ..filter() }).await?,
                [running.as_str()]
            );
            assert_eq!(
                containers(cri::ContainerFilter { id: running[..13].to_owned(), ..filter() }).await?,
                [running.as_str()]
            );
            let status = client.container(&running).await?;
            assert_eq!((status.labels, status.annotations), (config.labels, config.annotations));
            // The empty prefix is no prefix, and one that fits both is none either.
            refused(client.pod("").await, Code::InvalidArgument)?;
            Ok(())
        })
        .await
}

#[tokio::test]
async fn the_daemon_says_who_and_how_it_is() -> Result<()> {
    World::new("status")
        .await?
        .live(async |world| {
            let version = world.client.version().await?;
            assert_eq!((version.version.as_str(), version.runtime_name.as_str()), ("0.1.0", "husk"));
            assert_eq!(version.runtime_api_version, "v1");
            ensure!(!version.runtime_version.is_empty(), "kubelet wants all four");
            let ready = async |world: &World| -> Result<HashMap<String, bool>> {
                let status = world.client.status().await?.status.context("a status")?;
                Ok(status.conditions.into_iter().map(|one| (one.r#type, one.status)).collect())
            };
            let conditions = ready(world).await?;
            assert_eq!(conditions.get("RuntimeReady"), Some(&true));
            assert_eq!(conditions.get("NetworkReady"), Some(&true));
            let mut runtime = world.client.runtime.clone();
            let config = runtime.runtime_config(cri::RuntimeConfigRequest {}).await?.into_inner();
            let driver = config.linux.context("linux")?.cgroup_driver();
            assert_eq!(driver, cri::CgroupDriver::Cgroupfs);
            runtime
                .update_runtime_config(cri::UpdateRuntimeConfigRequest {
                    runtime_config: Some(cri::RuntimeConfig {
                        network_config: Some(cri::NetworkConfig { pod_cidr: "10.88.0.0/24".to_owned() }),
                    }),
                })
                .await?;
            let unimplemented = runtime.container_stats(cri::ContainerStatsRequest::default()).await;
            refused(unimplemented.map(tonic::Response::into_inner), Code::Unimplemented)?;
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_call_whose_client_went_away_is_joined_by_its_repetition() -> Result<()> {
    World::new("goneaway")
        .await?
        .live(async |world| {
            let client = world.client.clone();
            for round in 0..5_u64 {
                let pod = world.pod_config("pod")?;
                // The client gives up at different moments of the call.
                let patience = Duration::from_millis(1 + 4 * round);
                let first = tokio::time::timeout(patience, client.run_pod(&pod)).await;
                let pod_id = client.run_pod(&pod).await?;
                if let Ok(first) = first {
                    assert_eq!(first?, pod_id);
                }
                assert_eq!(client.pod(&pod_id).await?.state(), PodSandboxState::SandboxReady);
                let config = world.container_config("main", &["sleep", "1000"]);
                let first = tokio::time::timeout(patience, client.create(&pod_id, &pod, &config)).await;
                let id = client.create(&pod_id, &pod, &config).await?;
                if let Ok(first) = first {
                    assert_eq!(first?, id);
                }
                client.start(&id).await?;
                assert_eq!(client.pods(cri::PodSandboxFilter::default()).await?.len(), 1);
                assert_eq!(client.containers(cri::ContainerFilter::default()).await?.len(), 1);
                client.remove_pod(&pod_id).await?;
            }
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_pod_without_a_cgroup_parent_gets_one_that_goes_with_it() -> Result<()> {
    World::new("parent")
        .await?
        .live(async |world| {
            let mut pod = world.pod_config("pod")?;
            pod.linux.as_mut().context("linux")?.cgroup_parent.clear();
            let pod_id = world.client.run_pod(&pod).await?;
            let config = world.container_config("main", &["sleep", "1000"]);
            let id = world.client.launch(&pod_id, &pod, &config).await?;
            let group = world.ground.cgroup.of_container("memory", &id)?;
            ensure!(group.display().to_string().contains("/default-husk/"), "it is in {}", group.display());
            world.client.remove_pod(&pod_id).await?;
            world.assert_clean()
        })
        .await
}

#[tokio::test]
async fn a_cgroup_parent_that_was_not_there_goes_with_its_last_pod() -> Result<()> {
    World::new("handmade")
        .await?
        .live(async |world| {
            let top = format!("{}/handmade", world.ground.cgroup.path());
            let mut ids = Vec::new();
            for (name, parent) in [("first", "one/deep"), ("second", "one/deep"), ("third", "two")] {
                let mut pod = world.pod_config(name)?;
                pod.linux.as_mut().context("linux")?.cgroup_parent = format!("{top}/{parent}");
                ids.push(world.client.run_pod(&pod).await?);
            }
            for id in &ids {
                world.client.remove_pod(id).await?;
            }
            world.assert_clean()
        })
        .await
}
