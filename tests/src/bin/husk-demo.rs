// SPDX-License-Identifier: Apache-2.0
//! `make run`: husk at work, for a person to watch. A private daemon on a private node runs two pods whose containers
//! talk to each other, survives its own death, and takes everything down; the machine's configuration is untouched.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use husk_tests::client::{Client, container_config, pod_config};
use husk_tests::daemon::binary;
use husk_tests::images::Image;
use husk_tests::log::Log;
use husk_tests::node::Node;
use proto::cri::{ContainerConfig, PodSandboxConfig};
use tempfile::TempDir;

const IMAGE: &str = "localhost/husk-demo/busybox:1";

/// How long a container of the demo may take for its one sentence.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the demo takes place.
struct Stage {
    node: Node,
    directory: TempDir,
    cgroup: String,
    daemon: Option<Child>,
}

impl Stage {
    fn new() -> Result<Stage> {
        let directory = tempfile::Builder::new().prefix("husk-demo-").tempdir_in("/tmp")?;
        // husk is one file: a copy of it alone, somewhere else, is all that the demo runs.
        fs::copy(binary()?, directory.path().join("husk")).context("copy the binary")?;
        Ok(Stage {
            node: Node::new("demo")?,
            directory,
            cgroup: format!("/husk-demo-{}", std::process::id()),
            daemon: None,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path("state/husk.sock")
    }

    /// Starts the daemon and waits for the line that says it is ready.
    fn start(&mut self) -> Result<()> {
        let config = self.path("husk.toml");
        let text = |path: &Path| format!("{:?}", path.display().to_string());
        fs::write(
            &config,
            format!(
                "root = {}\nstate = {}\n\n[cgroup]\nparent = {:?}\n\n[network]\nnetns_dir = {}\n",
                text(&self.path("root")),
                text(&self.path("state")),
                self.cgroup,
                text(&self.path("netns")),
            ),
        )?;
        let mut command = Command::new(self.path("husk"));
        command.arg("serve").arg("--embedded-network").arg("--config").arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = self.node.run(move || command.spawn())?.context("start husk")?;
        let stderr = child.stderr.take().context("the daemon's log")?;
        self.daemon = Some(child);
        let mut log = BufReader::new(stderr);
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            if log.read_line(&mut line)? == 0 {
                bail!("the daemon ended before it was ready; it said:\n{seen}");
            }
            if line.contains("husk is ready") {
                break;
            }
            seen.push_str(&line);
        }
        // Somebody must go on reading, or the daemon would block on a full pipe.
        let mut rest = File::create(self.path("husk.log"))?;
        std::thread::spawn(move || std::io::copy(&mut log, &mut rest));
        Ok(())
    }

    /// Ends the daemon, hard.
    fn kill(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("no daemon runs")?;
        daemon.kill()?;
        daemon.wait()?;
        Ok(())
    }

    fn pod(&self, name: &str) -> Result<PodSandboxConfig> {
        let mut config = pod_config(name, &format!("demo-{name}"));
        let logs = self.path("logs").join(name);
        fs::create_dir_all(&logs)?;
        config.log_directory = logs.display().to_string();
        if let Some(linux) = &mut config.linux {
            linux.cgroup_parent.clear();
        }
        Ok(config)
    }

    /// What a container wrote: both streams, one after the other.
    fn log(&self, pod: &PodSandboxConfig, container: &str) -> Result<String> {
        let log = Log::read(&Path::new(&pod.log_directory).join(format!("{container}.log")))?;
        Ok((log.stdout()? + &log.stderr()?).trim().to_owned())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Prints what was done and how long it took.
fn tell(since: Instant, what: &str) {
    println!("{:>9.1} ms  {what}", since.elapsed().as_secs_f64() * 1000.0);
}

fn say(text: &str) {
    println!("\n{text}");
}

fn sh(name: &str, script: &str) -> ContainerConfig {
    container_config(name, IMAGE, &["/bin/sh", "-c", script])
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut stage = Stage::new()?;
    println!("husk: the shell around your pods. A private node, a private daemon; this machine stays as it is.");
    let result = play(&mut stage).await;
    if result.is_err() {
        // Take down what still runs, as far as a daemon answers.
        if let Ok(client) = Client::connect(&stage.socket()).await {
            let _ = client.remove_all_pods().await;
        }
        let log = fs::read_to_string(stage.path("husk.log")).unwrap_or_default();
        eprintln!("the daemon's log:\n{log}");
    }
    result
}

async fn play(stage: &mut Stage) -> Result<()> {
    let begin = Instant::now();
    stage.start()?;
    tell(begin, "husk serve --embedded-network is ready");
    let client = Client::connect(&stage.socket()).await?;
    let start = Instant::now();
    let archive = stage.path("busybox.tar");
    fs::write(&archive, Image::busybox()?.build().oci_archive(&[IMAGE]))?;
    client.load(&archive, &[]).await?;
    tell(start, &format!("loaded the image {IMAGE}, made from Debian's busybox"));

    say("A pod of two containers: one serves, the other asks it over localhost.");
    let web = stage.pod("web")?;
    let start = Instant::now();
    let web_id = client.run_pod(&web).await?;
    let web_ip = client.pod_ip(&web_id).await?;
    tell(start, &format!("pod web is up at {web_ip}"));
    let serve = "mkdir -p /www && echo 'hello from the pod web' > /www/index.html && exec httpd -f -vv -p 80 -h /www";
    let start = Instant::now();
    let server = client.launch(&web_id, &web, &sh("server", serve)).await?;
    tell(start, "container server runs: busybox httpd");
    let ask = |host: &str| {
        format!("n=0; until wget -q -O- http://{host}/; do n=$((n+1)); [ $n -lt 50 ] || exit 1; usleep 20000; done")
    };
    let start = Instant::now();
    let asker = client.launch(&web_id, &web, &sh("asker", &ask("127.0.0.1"))).await?;
    let end = client.wait_exited(&asker, PATIENCE).await?;
    ensure!(end.exit_code == 0, "asker ended with {}: {}", end.exit_code, end.message);
    tell(start, &format!("container asker fetched over localhost: {:?}", stage.log(&web, "asker")?));

    say("A second pod asks the first by its address. No NAT: the server sees who asks.");
    let visitor = stage.pod("visitor")?;
    let start = Instant::now();
    let visitor_id = client.run_pod(&visitor).await?;
    let visitor_ip = client.pod_ip(&visitor_id).await?;
    tell(start, &format!("pod visitor is up at {visitor_ip}"));
    let start = Instant::now();
    let asker2 = client.launch(&visitor_id, &visitor, &sh("asker", &ask(&web_ip))).await?;
    let end = client.wait_exited(&asker2, PATIENCE).await?;
    ensure!(end.exit_code == 0, "the visitor's asker ended with {}: {}", end.exit_code, end.message);
    tell(start, &format!("it fetched: {:?}", stage.log(&visitor, "asker")?));
    let seen_by_the_server = stage.log(&web, "server")?;
    let seen = seen_by_the_server.lines().find(|line| line.contains(&visitor_ip));
    let seen =
        seen.with_context(|| format!("the server did not see the visitor's address, but: {}", seen_by_the_server))?;
    tell(start, &format!("the server logged: {seen}"));
    let start = Instant::now();
    let hostname = client.output(&server, &["hostname"]).await?;
    tell(start, &format!("exec of `hostname` in the server: {:?}", hostname.trim()));

    say("kill -9 of the daemon. Pods do not care.");
    let before = client.container_answer(&server).await?.info;
    stage.kill()?;
    let start = Instant::now();
    stage.start()?;
    tell(start, "a new daemon has taken over");
    let client = Client::connect(&stage.socket()).await?;
    let after = client.container_answer(&server).await?.info;
    ensure!(pid_of(&before)? == pid_of(&after)?, "the server has another process");
    tell(
        start,
        &format!("the server is still process {}, and still answers: {:?}", pid_of(&after)?, {
            client.output(&server, &["wget", "-q", "-O-", "http://127.0.0.1/"]).await?.trim().to_owned()
        }),
    );

    say("All of it taken down.");
    for (id, name) in [(&web_id, "web"), (&visitor_id, "visitor")] {
        let start = Instant::now();
        client.stop_pod(id).await?;
        tell(start, &format!("pod {name} is stopped, its address given back"));
        let start = Instant::now();
        client.remove_pod(id).await?;
        tell(start, &format!("pod {name} is removed"));
    }
    let left = fs::read_dir(stage.path("netns")).map(Iterator::count).unwrap_or(0);
    ensure!(left == 0, "{left} network namespaces are left");
    ensure!(fs::read_dir(stage.path("root/pods"))?.count() == 0, "records are left");
    let start = Instant::now();
    let daemon = stage.daemon.take().context("no daemon runs")?;
    let status = tokio::task::spawn_blocking(move || terminate(daemon)).await??;
    tell(start, &format!("SIGTERM: the daemon ended with {status}"));
    println!("\n{:.1} s in all. Nothing is left.", begin.elapsed().as_secs_f64());
    Ok(())
}

fn pid_of(info: &std::collections::HashMap<String, String>) -> Result<u64> {
    let text = info.get("info").context("no verbose information")?;
    let value: serde_json::Value = serde_json::from_str(text)?;
    value["pid"].as_u64().context("no pid in the verbose information")
}

fn terminate(mut daemon: Child) -> Result<std::process::ExitStatus> {
    let pid = rustix::process::Pid::from_child(&daemon);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    Ok(daemon.wait()?)
}
