// SPDX-License-Identifier: Apache-2.0
//! Exit codes: a thousand processes, eight at a time, every code and every signal that kills.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use husk_tests::client::Client;
use husk_tests::world::World;
use proto::cri::{ContainerConfig, ContainerFilter, ContainerState, NamespaceMode, PodSandboxConfig, Signal};
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(60);
/// Processes in all.
const PROCESSES: usize = 1000;
/// Processes at a time.
const WORKERS: usize = 8;

/// What a process does and the code that must be seen.
#[derive(Clone, Debug)]
struct Case {
    script: String,
    code: i32,
}

/// Every code, then every signal whose default is to kill, over and over.
fn cases() -> Vec<Case> {
    let codes = (0..=255).map(|code| Case { script: format!("exit {code}"), code });
    // signal(7): 17, 18, 23 and 28 are ignored or continue, 19 to 22 stop; 32 and 33 are the C library's.
    // busybox's shell ignores SIGQUIT (3), which therefore has a test of its own below.
    let deadly = (1..=2).chain(4..=16).chain(24..=27).chain(29..=31).chain(34..=64);
    let signals = deadly.map(|signal| Case { script: format!("kill -{signal} $$; exit 99"), code: 128 + signal });
    codes.chain(signals).collect()
}

/// Runs one container to its end and checks its code.
async fn check(client: &Client, pod: (&str, &PodSandboxConfig), config: &ContainerConfig, code: i32) -> Result<()> {
    let id = client.launch(pod.0, pod.1, config).await?;
    let status = client.wait_exited(&id, LIMIT).await?;
    ensure!(status.exit_code == code, "expected {code}: {status:?}");
    let reason = if code == 0 { "Completed" } else { "Error" };
    ensure!(status.reason == reason, "expected {reason}: {status:?}");
    ensure!(
        status.created_at <= status.started_at && status.started_at <= status.finished_at,
        "the times are not in order: {status:?}"
    );
    client.remove(&id).await?;
    Ok(())
}

#[tokio::test]
async fn a_thousand_processes_end_with_their_exact_codes() -> Result<()> {
    World::new("exits")
        .await?
        .live(async |world| {
            let mut pod = world.pod_config("pod")?;
            // In a pid namespace of its own a process is pid 1 and its own signals do not kill it.
            let security = pod.linux.as_mut().and_then(|linux| linux.security_context.as_mut());
            let options = security.and_then(|security| security.namespace_options.as_mut());
            options.context("the builder sets namespaces")?.set_pid(NamespaceMode::Pod);
            let pod_id = world.client.run_pod(&pod).await?;
            let cases = cases();
            let next = Arc::new(AtomicUsize::new(0));
            let mut workers = JoinSet::new();
            for _ in 0..WORKERS {
                let (client, pod_id, pod) = (world.client.clone(), pod_id.clone(), pod.clone());
                let (cases, next) = (cases.clone(), Arc::clone(&next));
                let template = world.container_config("case", &[]);
                workers.spawn(async move {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= PROCESSES {
                            return Ok::<(), anyhow::Error>(());
                        }
                        let case = &cases[number % cases.len()];
                        let config = shared(&template, number, &case.script)?;
                        check(&client, (&pod_id, &pod), &config, case.code)
                            .await
                            .with_context(|| format!("process {number}: {}", case.script))?;
                    }
                });
            }
            while let Some(worker) = workers.join_next().await {
                worker??;
            }
            Ok(())
        })
        .await
}

/// A container in the pod's pid namespace that runs this script.
fn shared(template: &ContainerConfig, number: usize, script: &str) -> Result<ContainerConfig> {
    let mut config = template.clone();
    config.metadata.as_mut().context("metadata")?.name = format!("case-{number}");
    config.log_path.clear();
    config.command = ["sh", "-c", script].map(str::to_owned).to_vec();
    let security = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut());
    let options = security.and_then(|security| security.namespace_options.as_mut());
    options.context("the builder sets namespaces")?.set_pid(NamespaceMode::Pod);
    Ok(config)
}

#[tokio::test]
async fn a_process_that_lives_a_millisecond_has_its_code_and_its_output() -> Result<()> {
    World::new("short")
        .await?
        .live(async |world| {
            let (pod_id, pod) = world.run_pod("pod").await?;
            for number in 0..50 {
                let name = format!("short-{number}");
                let config = world.container_config(&name, &["echo", &name]);
                let id = world.client.launch(&pod_id, &pod, &config).await?;
                let status = world.client.wait_exited(&id, LIMIT).await?;
                assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
                // The end is reported after the last line is in the log.
                assert_eq!(world.log(&pod, &name)?.stdout()?, format!("{name}\n"));
            }
            Ok(())
        })
        .await
}

#[tokio::test]
async fn the_stop_signal_of_the_request_is_the_one_that_is_sent() -> Result<()> {
    World::new("stopsignal")
        .await?
        .live(async |world| {
            let mut pod = world.pod_config("pod")?;
            let security = pod.linux.as_mut().and_then(|linux| linux.security_context.as_mut());
            let options = security.and_then(|security| security.namespace_options.as_mut());
            options.context("the builder sets namespaces")?.set_pid(NamespaceMode::Pod);
            let pod_id = world.client.run_pod(&pod).await?;
            for (number, (name, code)) in [
                (Signal::Sigquit, 131),
                (Signal::Sigusr1, 138),
                (Signal::Sigrtminplus3, 165),
                (Signal::RuntimeDefault, 143),
            ]
            .into_iter()
            .enumerate()
            {
                let template = world.container_config("case", &[]);
                let mut config = shared(&template, number, "")?;
                config.command = ["sleep", "1000"].map(str::to_owned).to_vec();
                config.set_stop_signal(name);
                let id = world.client.launch(&pod_id, &pod, &config).await?;
                world.client.stop(&id, LIMIT).await?;
                assert_eq!(world.client.container(&id).await?.exit_code, code, "{name:?}");
            }
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_container_can_be_removed_at_the_moment_of_its_end() -> Result<()> {
    World::new("atonce")
        .await?
        .live(async |world| {
            let (pod_id, pod) = world.run_pod("pod").await?;
            let mut workers = JoinSet::new();
            for worker in 0..WORKERS {
                let (client, pod_id, pod) = (world.client.clone(), pod_id.clone(), pod.clone());
                let template = world.container_config("case", &["true"]);
                workers.spawn(async move {
                    for round in 0..50 {
                        let mut config = template.clone();
                        config.metadata.as_mut().context("metadata")?.name = format!("case-{worker}-{round}");
                        config.log_path.clear();
                        let id = client.launch(&pod_id, &pod, &config).await?;
                        if round % 2 == 0 {
                            // Before, at and just after its end, which is about a millisecond away.
                            tokio::time::sleep(Duration::from_micros(200 * round)).await;
                        } else {
                            // As soon as the end can be seen from outside.
                            while client.container(&id).await?.state() != ContainerState::ContainerExited {}
                        }
                        client.remove(&id).await.with_context(|| format!("round {round}"))?;
                    }
                    Ok::<(), anyhow::Error>(())
                });
            }
            while let Some(worker) = workers.join_next().await {
                worker??;
            }
            assert!(world.client.containers(ContainerFilter::default()).await?.is_empty());
            Ok(())
        })
        .await
}
