// SPDX-License-Identifier: Apache-2.0
//! The daemon and the monitor end at rest: pods go on, or are cleanly dead with a reason.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use husk_tests::client::refused;
use husk_tests::process::Process;
use husk_tests::world::World;
use proto::cri::{ContainerConfig, ContainerState, Mount, PodSandboxConfig, PodSandboxState};
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(20);

/// A container that prints what is written into the pipe `/talk/<name>`, and ends with the code that it
/// reads from `/talk/<name>-end`. The pipes lie on the machine, so that a test can use them while no
/// daemon runs.
struct Talker {
    pod_id: String,
    pod: PodSandboxConfig,
    id: String,
    name: &'static str,
}

impl Talker {
    async fn new(world: &World, name: &'static str) -> Result<Talker> {
        let pod = world.pod_config(name)?;
        let pod_id = world.client.run_pod(&pod).await?;
        let talk = world.directory().join("talk");
        fs::create_dir_all(&talk)?;
        for pipe in [name.to_owned(), format!("{name}-end")] {
            let path = talk.join(pipe).display().to_string();
            world.node().output("mkfifo", &[&path])?;
        }
        // Without a fork, so that the container has the same processes all the time; and with the pipe held open at
        // both ends, so that nothing is lost between two lines.
        let script = format!(
            "exec 3<>/talk/{name}; while read line <&3; do echo \"$line\"; done & \
             read code < /talk/{name}-end; echo leaving; exit $code"
        );
        let mut config: ContainerConfig = world.container_config(name, &["sh", "-c", &script]);
        config.mounts = vec![Mount {
            host_path: talk.display().to_string(),
            container_path: "/talk".to_owned(),
            ..Default::default()
        }];
        let id = world.client.launch(&pod_id, &pod, &config).await?;
        Ok(Talker { pod_id, pod, id, name })
    }

    /// Writes a line into the pipe, which the container prints.
    fn say(&self, world: &World, line: &str) -> Result<()> {
        let path = world.directory().join("talk").join(self.name);
        fs::write(path, format!("{line}\n")).context("talk to the container")
    }

    /// Makes the container end with this code.
    fn end(&self, world: &World, code: u8) -> Result<()> {
        let path = world.directory().join("talk").join(format!("{}-end", self.name));
        fs::write(path, format!("{code}\n")).context("tell the container to end")
    }

    /// Waits until the log holds exactly these lines.
    fn expect_log(&self, world: &World, lines: &str) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let text = world.log(&self.pod, self.name)?.stdout()?;
            if text == lines {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the log of {} holds {text:?}, not {lines:?}", self.name);
            std::thread::sleep(husk_tests::limits::TICK);
        }
    }
}

/// The processes of a world but for the daemon: pid and start time.
fn pods_processes(world: &World) -> BTreeSet<(u32, u64)> {
    let daemon = world.daemon.process().map(|process| process.pid);
    world
        .scope()
        .processes()
        .into_iter()
        .filter(|process| Some(process.pid) != daemon)
        .map(|process| (process.pid, process.start_ticks))
        .collect()
}

/// The monitors of a world.
fn monitors(world: &World) -> Vec<Process> {
    let processes = world.scope().processes();
    processes.into_iter().filter(|process| process.name.starts_with("husk-monitor")).collect()
}

/// What must be the same after a restart.
async fn facts(world: &World, talkers: &[&Talker]) -> Result<Vec<String>> {
    let mut facts = Vec::new();
    for talker in talkers {
        let pod = world.client.pod(&talker.pod_id).await?;
        facts.push(format!("{:?} {:?} {:?} {}", pod.state(), pod.network, pod.metadata, pod.created_at));
        let container = world.client.container(&talker.id).await?;
        facts.push(format!("{container:?}"));
    }
    facts.push(format!("{:?}", world.ground.network.leased()));
    facts.push(format!("{:?}", pods_processes(world)));
    Ok(facts)
}

#[tokio::test]
async fn pods_do_not_notice_that_the_daemon_was_killed() -> Result<()> {
    World::new("killed")
        .await?
        .live(async |world| {
            let (one, two) = (Talker::new(world, "one").await?, Talker::new(world, "two").await?);
            one.say(world, "before")?;
            one.expect_log(world, "before\n")?;
            let before = facts(world, &[&one, &two]).await?;
            for round in 0..3 {
                world.daemon.kill();
                one.say(world, &format!("without {round}"))?;
                world.start_again().await?;
                assert_eq!(facts(world, &[&one, &two]).await?, before, "round {round}");
            }
            one.say(world, "after")?;
            one.expect_log(world, "before\nwithout 0\nwithout 1\nwithout 2\nafter\n")?;
            assert_eq!(world.client.output(&two.id, &["echo", "works"]).await?, "works\n");
            // The configuration that made a pod still gets that pod.
            assert_eq!(world.client.run_pod(&one.pod).await?, one.pod_id);
            world.client.stop(&two.id, Duration::ZERO).await?;
            assert_eq!(world.client.container(&two.id).await?.exit_code, 137);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn an_exit_while_no_daemon_runs_is_reported_exactly() -> Result<()> {
    World::new("missed")
        .await?
        .live(async |world| {
            let (leaves, killed) = (Talker::new(world, "leaves").await?, Talker::new(world, "killed").await?);
            let stays = Talker::new(world, "stays").await?;
            let main = world.ground.cgroup.of_container("memory", &killed.id)?;
            let pids = fs::read_to_string(main.join("cgroup.procs"))?;
            world.daemon.kill();
            let begun = now();
            leaves.end(world, 42)?;
            // The lowest pid of a fresh container is its main process.
            let pid = pids.lines().filter_map(|pid| pid.parse().ok()).min().context("no process")?;
            Process::read(pid).context("the container's process")?.kill();
            leaves.expect_log(world, "leaving\n")?;
            let deadline = Instant::now() + LIMIT;
            while Process::read(pid).is_some() {
                ensure!(Instant::now() < deadline, "nobody reaps {pid}");
                std::thread::sleep(husk_tests::limits::TICK);
            }
            let ended = now();
            world.start_again().await?;
            for (talker, code) in [(&leaves, 42), (&killed, 137)] {
                let status = world.client.wait_exited(&talker.id, LIMIT).await?;
                assert_eq!((status.exit_code, status.reason.as_str()), (code, "Error"), "{}", talker.name);
                let at = status.finished_at;
                ensure!(
                    begun <= at && at <= ended + 1_000_000_000,
                    "{} ended at {at}, not {begun}..{ended}",
                    talker.name
                );
                let pod = world.client.pod(&talker.pod_id).await?;
                assert_eq!(pod.state(), PodSandboxState::SandboxReady, "the sandbox outlives its container");
            }
            let status = world.client.container(&stays.id).await?;
            assert_eq!(status.state(), ContainerState::ContainerRunning);
            Ok(())
        })
        .await
}

/// Nanoseconds since 1970, as the CRI counts.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(i64::MAX)
}

#[tokio::test]
async fn sigterm_leaves_pods_running() -> Result<()> {
    World::new("sigterm")
        .await?
        .live(async |world| {
            let one = Talker::new(world, "one").await?;
            let before = facts(world, &[&one]).await?;
            let processes = pods_processes(world);
            let status = world.daemon.terminate().await?;
            ensure!(status.success(), "SIGTERM ended the daemon with {status}");
            assert_eq!(pods_processes(world), processes, "pods went with the daemon");
            one.say(world, "alone")?;
            one.expect_log(world, "alone\n")?;
            world.start_again().await?;
            assert_eq!(facts(world, &[&one]).await?, before);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_killed_monitor_ends_its_pod_and_no_other() -> Result<()> {
    World::new("monitor")
        .await?
        .live(async |world| {
            let one = Talker::new(world, "one").await?;
            let first: Vec<u32> = monitors(world).iter().map(|process| process.pid).collect();
            let two = Talker::new(world, "two").await?;
            assert_eq!(monitors(world).len(), 2, "one monitor per pod");
            let doomed =
                monitors(world).into_iter().find(|process| first.contains(&process.pid)).context("a monitor")?;
            doomed.kill();
            let status = world.client.wait_exited(&one.id, LIMIT).await?;
            ensure!(!status.reason.is_empty() && status.exit_code != 0, "no reason: {status:?}");
            let deadline = Instant::now() + LIMIT;
            while world.client.pod(&one.pod_id).await?.state() == PodSandboxState::SandboxReady {
                ensure!(Instant::now() < deadline, "the sandbox stays READY");
                tokio::time::sleep(husk_tests::limits::TICK).await;
            }
            assert!(
                world.ground.cgroup.of_container("memory", &one.id).map_or(true, |directory| {
                    // A cgroup that goes away while it is looked at has nobody in it either.
                    fs::read_to_string(directory.join("cgroup.procs")).map_or(true, |pids| pids.is_empty())
                }),
                "its processes live on"
            );
            let another = world.container_config("more", &["true"]);
            refused(world.client.create(&one.pod_id, &one.pod, &another).await, Code::FailedPrecondition)?;
            // The neighbour goes on, and a new daemon sees the same.
            world.kill_and_restart().await?;
            assert_eq!(world.client.container(&one.id).await?.state(), ContainerState::ContainerExited);
            assert_eq!(world.client.pod(&one.pod_id).await?.state(), PodSandboxState::SandboxNotready);
            two.say(world, "here")?;
            two.expect_log(world, "here\n")?;
            assert_eq!(world.ground.network.leased().len(), 2);
            world.client.stop_pod(&one.pod_id).await?;
            assert_eq!(world.ground.network.leased().len(), 1, "its address is given back");
            world.client.remove_pod(&one.pod_id).await?;
            assert_eq!(world.client.container(&two.id).await?.state(), ContainerState::ContainerRunning);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_monitor_killed_while_no_daemon_runs_is_found_dead() -> Result<()> {
    World::new("orphans")
        .await?
        .live(async |world| {
            let one = Talker::new(world, "one").await?;
            world.daemon.kill();
            for monitor in monitors(world) {
                monitor.kill();
                monitor.wait_for_end(LIMIT)?;
            }
            world.start_again().await?;
            let status = world.client.wait_exited(&one.id, LIMIT).await?;
            ensure!(!status.reason.is_empty(), "no reason: {status:?}");
            assert_eq!(world.client.pod(&one.pod_id).await?.state(), PodSandboxState::SandboxNotready);
            world.client.stop_pod(&one.pod_id).await?;
            assert!(world.ground.network.leased().is_empty());
            world.client.remove_pod(&one.pod_id).await?;
            world.assert_clean()
        })
        .await
}
