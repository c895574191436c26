// SPDX-License-Identifier: Apache-2.0
//! Limits, read back from this machine's cgroups and felt by the container.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use husk_tests::world::World;
use proto::cri::{ContainerConfig, ContainerState, LinuxContainerResources};

const LIMIT: Duration = Duration::from_secs(20);

/// The number in a file of a cgroup.
fn number(directory: &Path, file: &str) -> Result<i64> {
    let path = directory.join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    text.trim().parse().with_context(|| format!("{} holds {text:?}", path.display()))
}

fn resources(config: &mut ContainerConfig) -> Result<&mut LinuxContainerResources> {
    Ok(config.linux.as_mut().context("linux")?.resources.get_or_insert_default())
}

#[tokio::test]
async fn cpu_and_memory_limits_are_in_the_cgroups() -> Result<()> {
    World::new("limits")
        .await?
        .live(async |world| {
            let (pod_id, pod) = world.run_pod("pod").await?;
            let mut config = world.container_config("main", &["sleep", "1000"]);
            let wanted = resources(&mut config)?;
            wanted.memory_limit_in_bytes = 96 << 20;
            wanted.cpu_shares = 512;
            wanted.cpu_quota = 50_000;
            wanted.cpu_period = 100_000;
            let id = world.client.launch(&pod_id, &pod, &config).await?;
            let group = |controller: &str| world.ground.cgroup.of_container(controller, &id);
            let v1 = world.ground.cgroup.v1();
            if v1.contains_key("memory") {
                assert_eq!(number(&group("memory")?, "memory.limit_in_bytes")?, 96 << 20);
            } else {
                assert_eq!(number(&group("memory")?, "memory.max")?, 96 << 20);
            }
            if v1.contains_key("cpu") {
                let cpu = group("cpu")?;
                assert_eq!(number(&cpu, "cpu.shares")?, 512);
                assert_eq!(number(&cpu, "cpu.cfs_quota_us")?, 50_000);
                assert_eq!(number(&cpu, "cpu.cfs_period_us")?, 100_000);
            } else {
                assert_eq!(fs::read_to_string(group("cpu")?.join("cpu.max"))?.trim(), "50000 100000");
            }
            // The process is in every one of them, and so is what an exec starts.
            let inside = world.client.output(&id, &["cat", "/proc/self/cgroup"]).await?;
            let pids = world.ground.cgroup.pids();
            for directory in world.ground.cgroup.directories() {
                let mine = find(directory, &id).with_context(|| format!("no cgroup in {}", directory.display()))?;
                let members = fs::read_to_string(mine.join("cgroup.procs"))?;
                ensure!(members.lines().count() >= 1, "nobody is in {}", mine.display());
                ensure!(members.lines().all(|pid| pids.contains(&pid.parse().unwrap_or(0))), "strangers");
            }
            ensure!(!inside.is_empty(), "an exec sees no cgroups");
            let status = world.client.container(&id).await?;
            let reported = status.resources.and_then(|all| all.linux).context("reported resources")?;
            assert_eq!(reported.memory_limit_in_bytes, 96 << 20);
            assert_eq!((reported.cpu_shares, reported.cpu_quota, reported.cpu_period), (512, 50_000, 100_000));
            Ok(())
        })
        .await
}

/// The directory below `top` whose name contains the id.
fn find(top: &Path, id: &str) -> Option<std::path::PathBuf> {
    let entries = fs::read_dir(top).ok()?;
    let mut directories: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    directories.sort();
    directories
        .iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(id)))
        .cloned()
        .or_else(|| directories.iter().find_map(|path| find(path, id)))
}

#[tokio::test]
async fn a_container_over_its_memory_limit_is_killed_and_nobody_else() -> Result<()> {
    World::new("oom")
        .await?
        .live(async |world| {
            let (pod_id, pod) = world.run_pod("pod").await?;
            let neighbour = world.container_config("neighbour", &["sleep", "1000"]);
            let neighbour = world.client.launch(&pod_id, &pod, &neighbour).await?;
            let mut config =
                world.container_config("eater", &["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"]);
            resources(&mut config)?.memory_limit_in_bytes = 32 << 20;
            let id = world.client.launch(&pod_id, &pod, &config).await?;
            let status = world.client.wait_exited(&id, LIMIT).await?;
            assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
            let other = world.client.container(&neighbour).await?;
            assert_eq!(other.state(), ContainerState::ContainerRunning);
            Ok(())
        })
        .await
}
