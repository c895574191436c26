// SPDX-License-Identifier: Apache-2.0
//! Logs: exact under rotation, bounded in memory, in the format of the CRI.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use husk_tests::log::{Log, Stream, Tag};
use husk_tests::process::Process;
use husk_tests::world::World;
use proto::cri::ContainerState;

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_million_lines_survive_a_rotation_every_ten_milliseconds() -> Result<()> {
    World::new("rotate")
        .await?
        .live(async |world| {
            let (pod_id, pod) = world.run_pod("pod").await?;
            let config = world.container_config("main", &["seq", "1", "1000000"]);
            let path = world.log_path(&pod, "main");
            let id = world.client.launch(&pod_id, &pod, &config).await?;
            let mut rotated = Vec::new();
            let mut every = tokio::time::interval(Duration::from_millis(10));
            loop {
                every.tick().await;
                let old = path.with_extension(format!("log.{}", rotated.len()));
                fs::rename(&path, &old)?;
                rotated.push(old);
                match world.client.reopen_log(&id).await {
                    Ok(()) => ensure!(path.exists(), "the log was reopened and is not there"),
                    Err(error) => {
                        let status = world.client.container(&id).await?;
                        ensure!(status.state() == ContainerState::ContainerExited, "reopen: {error}");
                        ensure!(!path.exists(), "a refused reopen made a file");
                        break;
                    }
                }
                if world.client.container(&id).await?.state() == ContainerState::ContainerExited {
                    break;
                }
            }
            let mut log = Log::default();
            for old in &rotated {
                log = log.followed_by(&Log::read(old)?);
            }
            if path.exists() {
                log = log.followed_by(&Log::read(&path)?);
            }
            ensure!(rotated.len() > 3, "only {} rotations happened", rotated.len());
            let text = log.stdout()?;
            let mut expected = 0_u32;
            for line in text.lines() {
                expected += 1;
                ensure!(line.parse() == Ok(expected), "line {expected} is {line:?}");
            }
            assert_eq!(expected, 1_000_000);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_gigabyte_without_a_newline_costs_the_monitor_nothing() -> Result<()> {
    World::new("endless")
        .await?
        .live(async |world| {
            let (pod_id, pod) = world.run_pod("pod").await?;
            let script = "mkfifo /go /warm; head -c 1000000 /dev/zero | tr '\\0' w; echo; cat /warm; cat /go; \
                      head -c 1073741824 /dev/zero | tr '\\0' x";
            let config = world.container_config("main", &["sh", "-c", script]);
            let id = world.client.launch(&pod_id, &pod, &config).await?;
            // The exec returns when the script has read the pipe, after its first megabyte.
            world.client.output(&id, &["sh", "-c", "until test -p /warm; do :; done; echo go > /warm"]).await?;
            let monitor = monitor(world)?;
            let before = resident(&monitor)?;
            world.client.output(&id, &["sh", "-c", "echo go > /go"]).await?;
            let mut peak = before;
            loop {
                peak = peak.max(resident(&monitor)?);
                if world.client.container(&id).await?.state() == ContainerState::ContainerExited {
                    break;
                }
                tokio::time::sleep(husk_tests::limits::TICK).await;
            }
            ensure!(peak < before + (64 << 10), "the monitor grew from {before} to {peak} bytes");
            let path = world.log_path(&pod, "main");
            let size = fs::metadata(&path)?.len();
            ensure!(size > 1 << 30, "the log has {size} bytes");
            // Read once in full: every chunk is 16 KiB, tagged P, and all is there.
            let log = Log::read(&path)?;
            let mut count = 0_u64;
            for line in log.lines()?.iter().filter(|line| line.content.starts_with(b"x")) {
                ensure!(line.content.len() <= 16_384 && line.tag == Tag::Partial, "a chunk of {}", line.content.len());
                ensure!(line.content.iter().all(|byte| *byte == b'x'), "a foreign byte");
                count += line.content.len() as u64;
            }
            assert_eq!(count, 1 << 30);
            Ok(())
        })
        .await
}

/// The one monitor of a world with one pod.
fn monitor(world: &World) -> Result<Process> {
    let processes = world.scope().processes();
    processes
        .into_iter()
        .find(|process| process.name.starts_with("husk-monitor"))
        .context("no process is named husk-monitor")
}

/// Resident memory of a process in bytes: `Rss` of smaps_rollup, which is exact where `VmRSS` is not.
fn resident(process: &Process) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid))?;
    let line = text.lines().find(|line| line.starts_with("Rss:")).context("no Rss")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib << 10)
}

#[tokio::test]
async fn lines_are_cut_tagged_and_complete() -> Result<()> {
    World::new("format").await?.live(async |world| {
        let (pod_id, pod) = world.run_pod("pod").await?;
        let script = "head -c 40000 /dev/zero | tr '\\0' a; echo; echo; printf 'b\\r\\n\\033[1mé\\n'; echo err >&2; printf end";
        let config = world.container_config("main", &["sh", "-c", script]);
        let id = world.client.launch(&pod_id, &pod, &config).await?;
        world.client.wait_exited(&id, LIMIT).await?;
        let log = world.log(&pod, "main")?;
        let expected = format!("{}\n\nb\r\n\u{1b}[1mé\nend", "a".repeat(40_000));
        assert_eq!(log.stdout()?, expected);
        assert_eq!(log.stderr()?, "err\n");
        let lines = log.lines()?;
        let shape: Vec<(usize, Tag)> = lines
            .iter()
            .filter(|line| line.stream == Stream::Stdout)
            .map(|line| (line.content.len(), line.tag))
            .collect();
        let (last, rest) = shape.split_last().context("an empty log")?;
        assert_eq!(*last, (3, Tag::Partial), "what has no newline at the end is tagged P");
        ensure!(rest.iter().all(|(size, _)| *size <= 16_384), "{shape:?}");
        let mut times: Vec<&str> = lines.iter().map(|line| line.time).collect();
        times.sort_unstable();
        assert_eq!(times, lines.iter().map(|line| line.time).collect::<Vec<_>>(), "time goes forward");
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(world.log_path(&pod, "main"))?.permissions().mode() & 0o777;
        assert_eq!(mode, 0o640);
        Ok(())
    }).await
}

#[tokio::test]
async fn a_log_can_be_turned_off_and_cannot_be_led_astray() -> Result<()> {
    World::new("nolog")
        .await?
        .live(async |world| {
            let (pod_id, pod) = world.run_pod("pod").await?;
            let mut config = world.container_config("silent", &["echo", "unheard"]);
            config.log_path.clear();
            let id = world.client.launch(&pod_id, &pod, &config).await?;
            assert_eq!(world.client.wait_exited(&id, LIMIT).await?.exit_code, 0);
            assert_eq!(fs::read_dir(&pod.log_directory)?.count(), 0);
            // A link where the log shall be: the file it names must not be written.
            let canary = world.directory().join("canary");
            fs::write(&canary, "untouched")?;
            std::os::unix::fs::symlink(&canary, world.log_path(&pod, "astray"))?;
            let config = world.container_config("astray", &["echo", "written"]);
            let answer = world.client.launch(&pod_id, &pod, &config).await;
            ensure!(answer.is_err(), "a container logs through a link");
            assert_eq!(fs::read_to_string(&canary)?, "untouched");
            Ok(())
        })
        .await
}
