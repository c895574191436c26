// SPDX-License-Identifier: Apache-2.0
//! Requests that no kubelet sends: each is refused by name, and nothing has changed afterwards.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use husk_tests::client::{Answer, refused};
use husk_tests::world::World;
use proto::cri::{self, ContainerConfig, PodSandboxConfig};
use tonic::Code;

/// A row: the field that the error must name, and how to spoil a good configuration.
type Row<T> = (&'static str, Box<dyn Fn(&mut T)>);

fn pod_row(field: &'static str, spoil: impl Fn(&mut PodSandboxConfig) + 'static) -> Row<PodSandboxConfig> {
    (field, Box::new(spoil))
}

fn container_row(field: &'static str, spoil: impl Fn(&mut ContainerConfig) + 'static) -> Row<ContainerConfig> {
    (field, Box::new(spoil))
}

fn metadata(config: &mut PodSandboxConfig) -> &mut cri::PodSandboxMetadata {
    config.metadata.get_or_insert_default()
}

fn linux(config: &mut PodSandboxConfig) -> &mut cri::LinuxPodSandboxConfig {
    config.linux.get_or_insert_default()
}

fn port(container_port: i32, host_port: i32, host_ip: &str, protocol: i32) -> Vec<cri::PortMapping> {
    vec![cri::PortMapping { protocol, container_port, host_port, host_ip: host_ip.to_owned() }]
}

/// Every way in which a pod's configuration can be wrong.
fn pod_rows() -> Vec<Row<PodSandboxConfig>> {
    vec![
        pod_row("metadata", |pod| pod.metadata = None),
        pod_row("name", |pod| metadata(pod).name = "a\0b".to_owned()),
        pod_row("namespace", |pod| metadata(pod).namespace = "a\nb".to_owned()),
        pod_row("uid", |pod| metadata(pod).uid = "\u{1b}[1m".to_owned()),
        pod_row("hostname", |pod| pod.hostname = "h".repeat(65)),
        pod_row("hostname", |pod| pod.hostname = "a\nb".to_owned()),
        pod_row("log_directory", |pod| pod.log_directory = "/var/log/../../etc".to_owned()),
        pod_row("log_directory", |pod| pod.log_directory = "relative/logs".to_owned()),
        pod_row("log_directory", |pod| pod.log_directory = "/var/log/a\0b".to_owned()),
        pod_row("container_port", |pod| pod.port_mappings = port(-1, 80, "", 0)),
        pod_row("container_port", |pod| pod.port_mappings = port(70_000, 80, "", 0)),
        pod_row("host_port", |pod| pod.port_mappings = port(80, 70_000, "", 0)),
        pod_row("host_port", |pod| pod.port_mappings = port(80, -5, "", 0)),
        pod_row("host_ip", |pod| pod.port_mappings = port(80, 80, "300.1.2.3", 0)),
        pod_row("protocol", |pod| pod.port_mappings = port(80, 80, "", 9)),
        pod_row("labels", |pod| {
            pod.labels.insert("k".repeat(2_100), "v".repeat(2_100));
        }),
        pod_row("cgroup_parent", |pod| linux(pod).cgroup_parent = "relative".to_owned()),
        pod_row("cgroup_parent", |pod| linux(pod).cgroup_parent = "/a/../../b".to_owned()),
        pod_row("servers", |pod| {
            pod.dns_config =
                Some(cri::DnsConfig { servers: vec!["1.2.3.4\nnameserver 6.6.6.6".to_owned()], ..Default::default() });
        }),
        pod_row("network", |pod| {
            let security = linux(pod).security_context.get_or_insert_default();
            security.namespace_options.get_or_insert_default().network = 77;
        }),
        pod_row("run_as_group", |pod| {
            let security = linux(pod).security_context.get_or_insert_default();
            security.run_as_group = Some(cri::Int64Value { value: 5 });
        }),
        pod_row("hostname", |pod| {
            let security = linux(pod).security_context.get_or_insert_default();
            let options = security.namespace_options.get_or_insert_default();
            options.set_network(cri::NamespaceMode::Node);
        }),
    ]
}

fn container_metadata(config: &mut ContainerConfig) -> &mut cri::ContainerMetadata {
    config.metadata.get_or_insert_default()
}

fn security(config: &mut ContainerConfig) -> &mut cri::LinuxContainerSecurityContext {
    config.linux.get_or_insert_default().security_context.get_or_insert_default()
}

fn resources(config: &mut ContainerConfig) -> &mut cri::LinuxContainerResources {
    config.linux.get_or_insert_default().resources.get_or_insert_default()
}

fn mount(host: &str, inside: &str) -> cri::Mount {
    cri::Mount { host_path: host.to_owned(), container_path: inside.to_owned(), ..Default::default() }
}

/// Every way in which a container's configuration can be wrong.
fn container_rows() -> Vec<Row<ContainerConfig>> {
    vec![
        container_row("metadata", |config| config.metadata = None),
        container_row("name", |config| container_metadata(config).name.clear()),
        container_row("name", |config| container_metadata(config).name = "a\0".to_owned()),
        container_row("image", |config| config.image = None),
        container_row("image", |config| config.image = Some(husk_tests::client::image_spec("NOT A REFERENCE"))),
        container_row("command", |config| config.command = vec!["a\0b".to_owned()]),
        container_row("args", |config| config.args = vec!["a\0b".to_owned()]),
        container_row("working_dir", |config| config.working_dir = "/a\0b".to_owned()),
        container_row("working_dir", |config| config.working_dir = "relative".to_owned()),
        container_row("envs", |config| {
            config.envs = vec![cri::KeyValue { key: "A=B".to_owned(), value: b"x".to_vec() }]
        }),
        container_row("envs", |config| {
            config.envs = vec![cri::KeyValue { key: "A".to_owned(), value: b"x\0y".to_vec() }]
        }),
        container_row("log_path", |config| config.log_path = "../escape.log".to_owned()),
        container_row("log_path", |config| config.log_path = "a/../../escape.log".to_owned()),
        container_row("log_path", |config| config.log_path = "/absolute.log".to_owned()),
        container_row("log_path", |config| config.log_path = "nul\0.log".to_owned()),
        container_row("container_path", |config| config.mounts = vec![mount("/tmp", "")]),
        container_row("container_path", |config| config.mounts = vec![mount("/tmp", "/a/../..")]),
        container_row("container_path", |config| config.mounts = vec![mount("/tmp", "/a\0b")]),
        container_row("host_path", |config| config.mounts = vec![mount("relative", "/a")]),
        container_row("host_path", |config| config.mounts = vec![mount("/tmp/a\0b", "/a")]),
        container_row("propagation", |config| {
            config.mounts = vec![cri::Mount { propagation: 9, ..mount("/tmp", "/a") }];
        }),
        container_row("run_as_user", |config| security(config).run_as_user = Some(cri::Int64Value { value: -1 })),
        container_row("run_as_user", |config| security(config).run_as_user = Some(cri::Int64Value { value: 1 << 33 })),
        container_row("run_as_group", |config| security(config).run_as_group = Some(cri::Int64Value { value: 7 })),
        container_row("supplemental_groups", |config| security(config).supplemental_groups = vec![-3]),
        container_row("supplemental_groups", |config| security(config).supplemental_groups = vec![1 << 40]),
        container_row("pid", |config| {
            security(config).namespace_options.get_or_insert_default().pid = 42;
        }),
        container_row("add_capabilities", |config| {
            security(config).capabilities =
                Some(cri::Capability { add_capabilities: vec!["NO_SUCH_CAPABILITY".to_owned()], ..Default::default() });
        }),
        container_row("masked_paths", |config| security(config).masked_paths = vec!["proc/kcore".to_owned()]),
        container_row("readonly_paths", |config| security(config).readonly_paths = vec!["/proc/../sys\0".to_owned()]),
        container_row("memory_limit_in_bytes", |config| resources(config).memory_limit_in_bytes = -7),
        container_row("cpu_period", |config| resources(config).cpu_period = -100),
        container_row("cpu_shares", |config| resources(config).cpu_shares = -2),
        container_row("oom_score_adj", |config| resources(config).oom_score_adj = 5_000),
        container_row("cpuset_cpus", |config| resources(config).cpuset_cpus = "0-; rm".to_owned()),
        container_row("permissions", |config| {
            config.devices = vec![cri::Device {
                container_path: "/dev/x".to_owned(),
                host_path: "/dev/null".to_owned(),
                permissions: "xyz".to_owned(),
            }];
        }),
        container_row("stop_signal", |config| config.stop_signal = 4_000),
        container_row("labels", |config| {
            config.labels.insert("k".to_owned(), "v".repeat(4_100));
        }),
    ]
}

/// The call must have failed as InvalidArgument, and its message must name the field.
fn names<T: std::fmt::Debug>(answer: Answer<T>, number: usize, field: &str) -> Result<()> {
    let message = refused(answer, Code::InvalidArgument).with_context(|| format!("row {number}, {field}"))?;
    ensure!(message.contains(field), "row {number} does not name {field}: {message}");
    Ok(())
}

#[tokio::test]
async fn a_malformed_pod_is_refused_by_field_and_changes_nothing() -> Result<()> {
    World::new("badpods")
        .await?
        .live(async |world| {
            let mut faults = Vec::new();
            for (number, (field, spoil)) in pod_rows().iter().enumerate() {
                let mut config = world.pod_config("pod")?;
                spoil(&mut config);
                faults.extend(names(world.client.run_pod(&config).await, number, field).err());
            }
            let mut runtime = world.client.runtime.clone();
            let nil = runtime.run_pod_sandbox(cri::RunPodSandboxRequest::default()).await;
            faults.extend(names(nil.map(tonic::Response::into_inner), 99, "config").err());
            let unknown = runtime
                .run_pod_sandbox(cri::RunPodSandboxRequest {
                    config: Some(world.pod_config("pod")?),
                    runtime_handler: "no-such-handler".to_owned(),
                })
                .await;
            faults.extend(names(unknown.map(tonic::Response::into_inner), 98, "handler").err());
            ensure!(faults.is_empty(), "{} rows: {faults:#?}", faults.len());
            assert!(world.client.pods(cri::PodSandboxFilter::default()).await?.is_empty());
            world.assert_clean()
        })
        .await
}

#[tokio::test]
async fn a_malformed_container_is_refused_by_field_and_changes_nothing() -> Result<()> {
    World::new("badcontainers")
        .await?
        .live(async |world| {
            let (pod_id, pod) = world.run_pod("pod").await?;
            let mut faults = Vec::new();
            for (number, (field, spoil)) in container_rows().iter().enumerate() {
                let mut config = world.container_config("main", &["true"]);
                spoil(&mut config);
                faults.extend(names(world.client.create(&pod_id, &pod, &config).await, number, field).err());
            }
            let mut runtime = world.client.runtime.clone();
            let nil = runtime
                .create_container(cri::CreateContainerRequest { pod_sandbox_id: pod_id.clone(), ..Default::default() })
                .await;
            faults.extend(names(nil.map(tonic::Response::into_inner), 99, "config").err());
            ensure!(faults.is_empty(), "{} rows: {faults:#?}", faults.len());
            let absent = husk_tests::client::container_config("main", "localhost/no/such:image", &["true"]);
            refused(world.client.create(&pod_id, &pod, &absent).await, Code::NotFound)?;
            let stray = world.client.create(&"e".repeat(64), &pod, &world.container_config("main", &["true"])).await;
            refused(stray, Code::NotFound)?;
            assert!(world.client.containers(cri::ContainerFilter::default()).await?.is_empty());
            Ok(())
        })
        .await
}

#[tokio::test]
async fn strange_ids_and_numbers_are_refused_and_the_daemon_lives() -> Result<()> {
    World::new("badids")
        .await?
        .live(async |world| {
            let client = world.client.clone();
            for id in ["../../etc/passwd", "a\0b", "a/b", "..", "\u{202e}"] {
                for (call, code) in [
                    ("pod", client.pod(id).await.map(drop)),
                    ("stop_pod", client.stop_pod(id).await),
                    ("remove_pod", client.remove_pod(id).await),
                    ("container", client.container(id).await.map(drop)),
                    ("start", client.start(id).await),
                    ("stop", client.stop(id, Duration::ZERO).await),
                    ("remove", client.remove(id).await),
                    ("exec", client.exec(id, &["true"], Duration::ZERO).await.map(drop)),
                    ("reopen", client.reopen_log(id).await),
                ] {
                    let message = refused(code, Code::InvalidArgument).with_context(|| format!("{call} of {id:?}"))?;
                    ensure!(message.contains("_id"), "{call} of {id:?} does not name the field: {message}");
                }
            }
            for (empty, code) in [
                ("stop_pod", client.stop_pod("").await),
                ("remove_pod", client.remove_pod("").await),
                ("remove", client.remove("").await),
            ] {
                refused(code, Code::InvalidArgument).with_context(|| format!("{empty} of nothing"))?;
            }
            let (pod_id, pod) = world.run_pod("pod").await?;
            let id = client.launch(&pod_id, &pod, &world.container_config("main", &["sleep", "1000"])).await?;
            let mut runtime = client.runtime.clone();
            let stop =
                runtime.stop_container(cri::StopContainerRequest { container_id: id.clone(), timeout: -1 }).await;
            names(stop.map(tonic::Response::into_inner), 0, "timeout")?;
            let exec = cri::ExecSyncRequest { container_id: id.clone(), cmd: vec!["true".to_owned()], timeout: -1 };
            names(runtime.exec_sync(exec).await.map(tonic::Response::into_inner), 1, "timeout")?;
            let exec = cri::ExecSyncRequest { container_id: id.clone(), cmd: vec!["a\0".to_owned()], timeout: 0 };
            names(runtime.exec_sync(exec).await.map(tonic::Response::into_inner), 2, "cmd")?;
            for reference in ["", "UPPER CASE", "a\0b", "http://x/y", "x:y:z@sha256:1"] {
                refused(client.pull(reference, None).await, Code::InvalidArgument)
                    .with_context(|| format!("pull {reference:?}"))?;
            }
            assert_eq!(client.container(&id).await?.state(), cri::ContainerState::ContainerRunning);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn what_this_version_does_not_do_is_refused_by_name() -> Result<()> {
    World::new("unsupported")
        .await?
        .live(async |world| {
            let (pod_id, pod) = world.run_pod("pod").await?;
            let named = |answer: Answer<String>, field: &str| -> Result<()> {
                let message = refused(answer, Code::Unimplemented).context(field.to_owned())?;
                ensure!(message.contains(field), "{field} is not named: {message}");
                Ok(())
            };
            let mut sysctls = world.pod_config("sysctls")?;
            linux(&mut sysctls).sysctls.insert("net.ipv4.ip_forward".to_owned(), "1".to_owned());
            named(world.client.run_pod(&sysctls).await, "sysctls")?;
            let rows = [
                container_row("devices", |config| {
                    config.devices = vec![cri::Device {
                        container_path: "/dev/fuse".to_owned(),
                        host_path: "/dev/fuse".to_owned(),
                        permissions: "rw".to_owned(),
                    }];
                }),
                container_row("propagation", |config| {
                    let mut shared = mount("/tmp", "/a");
                    shared.set_propagation(cri::MountPropagation::PropagationBidirectional);
                    config.mounts = vec![shared];
                }),
                container_row("unified", |config| {
                    resources(config).unified.insert("memory.high".to_owned(), "1000000".to_owned());
                }),
                container_row("run_as_username", |config| security(config).run_as_username = "www-data".to_owned()),
            ];
            for (field, spoil) in rows {
                let mut config = world.container_config("main", &["true"]);
                spoil(&mut config);
                named(world.client.create(&pod_id, &pod, &config).await, field)?;
            }
            assert!(world.client.containers(cri::ContainerFilter::default()).await?.is_empty());
            assert_eq!(world.client.pods(cri::PodSandboxFilter::default()).await?.len(), 1);
            Ok(())
        })
        .await
}
