// SPDX-License-Identifier: Apache-2.0
//! `make bench`: what each call costs, back to back and paced at ten a second, beside the kernel's own price of the
//! same namespaces and mounts, measured in the same run. The worse of the two figures counts: with pauses between the
//! calls the kernel's RCU periods show, as they do on a real node.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use husk_tests::cgroup::CgroupParent;
use husk_tests::client::{Client, container_config, pod_config};
use husk_tests::cni::Masquerade;
use husk_tests::daemon::Daemon;
use husk_tests::images::Image;
use husk_tests::node::Node;
use husk_tests::world::Ground;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use proto::cri::{ContainerConfig, PodSandboxConfig};

const IMAGE: &str = "localhost/husk-bench/busybox:1";

/// Lives of a pod in each mode: enough for a p99 that is not the worst single one.
const ROUNDS: usize = 120;

/// Execs in each mode.
const EXECS: usize = 300;

/// The pace of the second mode.
const PACE: Duration = Duration::from_millis(100);

/// How the calls follow each other.
#[derive(Clone, Copy)]
enum Mode {
    BackToBack,
    Paced,
}

/// Durations of one thing.
#[derive(Default)]
struct Series(Vec<Duration>);

impl Series {
    fn percentile(&mut self, percent: usize) -> f64 {
        self.0.sort_unstable();
        let index = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(index).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    }
}

/// Times a call.
async fn timed<T, E>(series: &mut Series, call: impl Future<Output = Result<T, E>>) -> Result<T>
where
    anyhow::Error: From<E>,
{
    let start = Instant::now();
    let result = call.await?;
    series.0.push(start.elapsed());
    Ok(result)
}

/// The calls of a pod's life, in the order in which they are printed.
#[derive(Default)]
struct Life {
    run: Series,
    create: Series,
    start: Series,
    stop: Series,
    remove: Series,
    stop_pod: Series,
    remove_pod: Series,
    exec: Series,
}

struct Bench {
    client: Client,
    ground: Ground,
    daemon: Daemon,
    number: usize,
}

impl Bench {
    async fn new() -> Result<Bench> {
        let ground = Ground::new("bench", "10.88.0.0/16", Masquerade::Off)?;
        let mut settings = ground.settings("husk");
        settings.set("log", "level", "\"info\"".to_owned());
        for directory in [Some(settings.directory.as_path()), settings.socket.parent()].into_iter().flatten() {
            fs::create_dir_all(directory)?;
        }
        fs::create_dir_all(ground.hosts_directory())?;
        let joins = ground.cgroup.child("husk")?;
        let daemon = Daemon::start(&ground.node, settings, joins).await?;
        let client = daemon.connect().await?;
        let archive = ground.directory().join("busybox.tar");
        fs::write(&archive, Image::busybox()?.build().oci_archive(&[IMAGE]))?;
        client.load(&archive, &[]).await?;
        Ok(Bench { client, ground, daemon, number: 0 })
    }

    fn pod(&mut self) -> Result<PodSandboxConfig> {
        self.number += 1;
        let uid = format!("bench{}", self.number);
        let mut config = pod_config("bench", &uid);
        let logs = self.ground.directory().join("logs").join(&uid);
        fs::create_dir_all(&logs)?;
        config.log_directory = logs.display().to_string();
        if let Some(linux) = &mut config.linux {
            linux.cgroup_parent = format!("{}/pods", self.ground.cgroup.path());
        }
        Ok(config)
    }

    fn container(&self) -> ContainerConfig {
        container_config("main", IMAGE, &["/bin/sleep", "1000"])
    }

    async fn pause(mode: Mode, since: Instant) {
        if let Mode::Paced = mode {
            tokio::time::sleep(PACE.saturating_sub(since.elapsed())).await;
        }
    }

    async fn lives(&mut self, mode: Mode) -> Result<Life> {
        let mut life = Life::default();
        for _ in 0..ROUNDS {
            let since = Instant::now();
            let config = self.pod()?;
            let client = self.client.clone();
            let pod = timed(&mut life.run, client.run_pod(&config)).await?;
            let container = timed(&mut life.create, client.create(&pod, &config, &self.container())).await?;
            timed(&mut life.start, client.start(&container)).await?;
            timed(&mut life.stop, client.stop(&container, Duration::ZERO)).await?;
            timed(&mut life.remove, client.remove(&container)).await?;
            timed(&mut life.stop_pod, client.stop_pod(&pod)).await?;
            timed(&mut life.remove_pod, client.remove_pod(&pod)).await?;
            Self::pause(mode, since).await;
        }
        let config = self.pod()?;
        let pod = self.client.run_pod(&config).await?;
        let container = self.client.launch(&pod, &config, &self.container()).await?;
        for _ in 0..EXECS {
            let since = Instant::now();
            let exec = self.client.exec(&container, &["/bin/true"], Duration::from_secs(10));
            let answer = timed(&mut life.exec, exec).await?;
            ensure!(answer.exit_code == 0, "true ended with {}", answer.exit_code);
            Self::pause(mode, since).await;
        }
        self.client.remove_pod(&pod).await?;
        Ok(life)
    }

    /// Memory of the daemon, and of the helpers of idle pods.
    async fn memory(&mut self, pods: usize) -> Result<()> {
        let mut ids = Vec::new();
        for _ in 0..pods {
            let config = self.pod()?;
            ids.push(self.client.run_pod(&config).await?);
        }
        let daemon = self.daemon.process().context("the daemon")?.pid;
        let status = fs::read_to_string(format!("/proc/{daemon}/status"))?;
        let rss = kibibytes(&status, "VmRSS:");
        let (mut monitor, mut pause) = (0, 0);
        for pid in self.ground.scope(&self.daemon).processes() {
            let directory = format!("/proc/{}", pid.pid);
            let name = fs::read_to_string(format!("{directory}/comm")).unwrap_or_default();
            let rollup = fs::read_to_string(format!("{directory}/smaps_rollup")).unwrap_or_default();
            match name.trim() {
                "husk-monitor" => monitor += kibibytes(&rollup, "Pss:"),
                "husk-pause" => pause += kibibytes(&rollup, "Pss:"),
                _ => {}
            }
        }
        let each = |sum: u64| sum as f64 / pods as f64;
        println!(
            "\nmemory with {pods} idle pods: daemon {rss} KiB RSS, monitor {:.0} KiB PSS and pause {:.0} KiB PSS each",
            each(monitor),
            each(pause)
        );
        for id in ids {
            self.client.remove_pod(&id).await?;
        }
        Ok(())
    }
}

fn kibibytes(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The kernel's price of a container without husk: a cgroup in every hierarchy, the namespaces, an overlay and the
/// standard mounts, and a static program that is executed and waited for.
fn floor_of_a_container(layer: &Path, scratch: &Path, cgroup: &CgroupParent, name: &str) -> Result<Duration> {
    let (upper, work, root) = (scratch.join("upper"), scratch.join("work"), scratch.join("root"));
    for directory in [&upper, &work, &root] {
        fs::create_dir_all(directory)?;
    }
    let overlay =
        format!("lowerdir={},upperdir={},workdir={},volatile", layer.display(), upper.display(), work.display());
    let hierarchies: Vec<String> = cgroup.v1().into_keys().map(str::to_owned).collect();
    let start = Instant::now();
    let cgroups = cgroup.child(name)?;
    let thread = std::thread::spawn(move || -> Result<()> {
        let none = None::<&str>;
        unshare(
            CloneFlags::CLONE_NEWNS
                | CloneFlags::CLONE_NEWIPC
                | CloneFlags::CLONE_NEWUTS
                | CloneFlags::CLONE_NEWCGROUP
                | CloneFlags::CLONE_NEWPID,
        )?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(overlay.as_str()))?;
        let places = [("sysfs", "sys"), ("tmpfs", "dev"), ("mqueue", "tmp"), ("devpts", "pts"), ("tmpfs", "cgroup")];
        for (kind, place) in places {
            let target = root.join(place);
            fs::create_dir_all(&target)?;
            mount(Some(kind), &target, Some(kind), MsFlags::empty(), none)?;
        }
        for hierarchy in hierarchies {
            let target = root.join("cgroup").join(&hierarchy);
            fs::create_dir(&target)?;
            mount(Some("cgroup"), &target, Some("cgroup"), MsFlags::empty(), Some(hierarchy.as_str()))?;
        }
        for bind in ["etc-hosts", "etc-hostname", "etc-resolv"] {
            let target = root.join(bind);
            fs::write(&target, "")?;
            mount(Some("/etc/hostname"), &target, none, MsFlags::MS_BIND, none)?;
        }
        let status = Command::new("/bin/busybox").arg("true").stdin(Stdio::null()).status()?;
        ensure!(status.success(), "busybox true ended with {status}");
        Ok(())
    });
    thread.join().map_err(|_| anyhow::anyhow!("the floor's thread panicked"))??;
    let elapsed = start.elapsed();
    for joined_by in cgroups {
        fs::remove_dir(joined_by.parent().context("a cgroup file without a directory")?)?;
    }
    Ok(elapsed)
}

/// What the reference plugin alone takes, called by hand: ADD and DEL of a bridge with host-local.
fn plugin(node: &Node, config: &str, verb: &'static str, id: &str) -> Result<Duration> {
    let mut command = Command::new("/usr/lib/cni/bridge");
    command
        .env_clear()
        .env("PATH", "/usr/lib/cni:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", id)
        .env("CNI_NETNS", format!("/run/netns/{id}"))
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", "/usr/lib/cni")
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let config = config.to_owned();
    node.run(move || {
        let start = Instant::now();
        let mut child = command.spawn()?;
        child.stdin.take().context("the plugin's input")?.write_all(config.as_bytes())?;
        let status = child.wait()?;
        ensure!(status.success(), "bridge {verb} ended with {status}");
        Ok(start.elapsed())
    })?
}

/// ADD and DEL of the plugin alone, on network namespaces made for it.
fn plugins(ground: &Ground) -> Result<(Series, Series)> {
    let list = fs::read_dir(&ground.network.conf_dir)?.flatten().map(|entry| entry.path());
    let list = list.filter(|path| path.extension().is_some_and(|kind| kind == "conflist")).last();
    let list: serde_json::Value = serde_json::from_slice(&fs::read(list.context("a conflist")?)?)?;
    let mut bridge = list["plugins"][0].clone();
    bridge["name"] = list["name"].clone();
    bridge["cniVersion"] = list["cniVersion"].clone();
    let (config, mut adds, mut dels) = (bridge.to_string(), Series::default(), Series::default());
    for round in 0..40 {
        let id = format!("bench{round}");
        ground.node.output("ip", &["netns", "add", &id])?;
        adds.0.push(plugin(&ground.node, &config, "ADD", &id)?);
        dels.0.push(plugin(&ground.node, &config, "DEL", &id)?);
        ground.node.output("ip", &["netns", "del", &id])?;
    }
    Ok((adds, dels))
}

/// The kernel's price of a sandbox's own part: a network namespace and the others, without a plugin.
fn floor_of_a_sandbox() -> Result<Duration> {
    let start = Instant::now();
    let thread = std::thread::spawn(|| -> Result<()> {
        unshare(
            CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS,
        )?;
        Command::new("/bin/busybox").arg("true").stdin(Stdio::null()).status()?;
        Ok(())
    });
    thread.join().map_err(|_| anyhow::anyhow!("the floor's thread panicked"))??;
    Ok(start.elapsed())
}

fn floor_of_an_exec() -> Result<Duration> {
    let start = Instant::now();
    Command::new("/bin/busybox").arg("true").stdin(Stdio::null()).status()?;
    Ok(start.elapsed())
}

fn series(rounds: usize, mode: Mode, mut one: impl FnMut(usize) -> Result<Duration>) -> Result<Series> {
    let mut series = Series::default();
    for round in 0..rounds {
        let since = Instant::now();
        series.0.push(one(round)?);
        if let Mode::Paced = mode {
            std::thread::sleep(PACE.saturating_sub(since.elapsed()));
        }
    }
    Ok(series)
}

fn print(name: &str, fast: &mut Series, paced: &mut Series) {
    println!(
        "{name:<34} {:>8.2} {:>8.2}   {:>8.2} {:>8.2}",
        fast.percentile(50),
        fast.percentile(99),
        paced.percentile(50),
        paced.percentile(99)
    );
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut bench = Bench::new().await?;
    // The first pods of a node warm its caches up, as on a node that lives.
    let config = bench.pod()?;
    let pod = bench.client.run_pod(&config).await?;
    bench.client.remove_pod(&pod).await?;

    let mut fast = bench.lives(Mode::BackToBack).await?;
    let mut paced = bench.lives(Mode::Paced).await?;
    println!("milliseconds                        back to back        paced at 10/s");
    println!("                                        p50      p99        p50      p99");
    print("RunPodSandbox (bridge + portmap)", &mut fast.run, &mut paced.run);
    print("CreateContainer", &mut fast.create, &mut paced.create);
    print("StartContainer", &mut fast.start, &mut paced.start);
    print("ExecSync of true", &mut fast.exec, &mut paced.exec);
    print("StopContainer, no grace", &mut fast.stop, &mut paced.stop);
    print("RemoveContainer", &mut fast.remove, &mut paced.remove);
    print("StopPodSandbox", &mut fast.stop_pod, &mut paced.stop_pod);
    print("RemovePodSandbox", &mut fast.remove_pod, &mut paced.remove_pod);

    println!("the kernel's own price, without husk:");
    let layer = bench.ground.directory().join("floor-layer");
    fs::create_dir_all(layer.join("bin"))?;
    fs::copy("/bin/busybox", layer.join("bin/busybox"))?;
    let scratch = bench.ground.directory().join("floor");
    let mut number = 0;
    let cgroup = &bench.ground.cgroup;
    let mut container = |_| {
        number += 1;
        floor_of_a_container(&layer, &scratch.join(number.to_string()), cgroup, &format!("floor{number}"))
    };
    let (mut a, mut b) =
        (series(ROUNDS, Mode::BackToBack, &mut container)?, series(ROUNDS, Mode::Paced, &mut container)?);
    print("  a container (Create + Start)", &mut a, &mut b);
    let mut sandbox = |_| floor_of_a_sandbox();
    let (mut a, mut b) = (series(ROUNDS, Mode::BackToBack, &mut sandbox)?, series(ROUNDS, Mode::Paced, &mut sandbox)?);
    print("  a sandbox, without plugins", &mut a, &mut b);
    let mut exec = |_| floor_of_an_exec();
    let (mut a, mut b) = (series(EXECS, Mode::BackToBack, &mut exec)?, series(EXECS, Mode::Paced, &mut exec)?);
    print("  an exec of true", &mut a, &mut b);

    let (mut adds, mut dels) = plugins(&bench.ground)?;
    println!("  the bridge plugin alone: ADD p50 {:.2}, DEL p50 {:.2}", adds.percentile(50), dels.percentile(50));

    bench.memory(30).await
}
