// SPDX-License-Identifier: Apache-2.0
//! `husk serve` under test: started on a node, stopped politely or not, started again.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::fs::inotify;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;
use crate::event::first_readable;
use crate::limits;
use crate::node::Node;
use crate::process::Process;

/// Environment variable that marks every process of a world that inherits its environment.
pub const MARK: &str = "HUSK_TEST_WORLD";

/// Joins the cgroups named before `--`, then becomes the program named after it. The process moves
/// itself, so that there is no moment in which it forks outside.
const JOIN: &str = r#"while [ "$1" != -- ]; do echo 0 > "$1" || exit 97; shift; done; shift; exec "$@""#;

/// Where a daemon keeps its things, and its configuration file.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory of the world; marks its processes.
    pub directory: PathBuf,
    /// `root`.
    pub root: PathBuf,
    /// `state`.
    pub state: PathBuf,
    /// `[server] socket`.
    pub socket: PathBuf,
    /// Values as TOML, by section (`""` is the top) and key.
    values: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
}

impl Settings {
    /// A daemon that keeps everything below `directory`.
    #[must_use]
    pub fn new(directory: &Path) -> Settings {
        let mut settings = Settings {
            directory: directory.to_owned(),
            root: directory.join("root"),
            state: directory.join("state"),
            socket: directory.join("socket").join("husk.sock"),
            values: BTreeMap::new(),
        };
        let text = |path: &Path| format!("{:?}", path.display().to_string());
        let (root, state, socket) = (text(&settings.root), text(&settings.state), text(&settings.socket));
        settings.set("", "root", root);
        settings.set("", "state", state);
        settings.set("server", "socket", socket);
        settings.set("cgroup", "driver", "\"cgroupfs\"".to_owned());
        settings.set("log", "level", "\"debug\"".to_owned());
        settings
    }

    /// Sets one key; the value is TOML (strings with their quotes).
    pub fn set(&mut self, section: &'static str, key: &'static str, value: String) {
        self.values.entry(section).or_default().insert(key, value);
    }

    /// The configuration file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.values {
            if !section.is_empty() {
                let _ = writeln!(text, "\n[{section}]");
            }
            for (key, value) in keys {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        text
    }
}

/// The binary under test: `HUSK_BIN`, or `husk` in the directory that cargo built this test into.
///
/// # Errors
/// When there is none.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("HUSK_BIN") {
        return Ok(PathBuf::from(path));
    }
    let program = env::current_exe().context("find this test program")?;
    program
        .ancestors()
        .map(|directory| directory.join("husk"))
        .find(|candidate| candidate.is_file())
        .context("no husk beside this test program: run `cargo build -p husk` or set HUSK_BIN")
}

/// A daemon, running or not. Dropping it kills the process; what it made is the world's to remove.
#[derive(Debug)]
pub struct Daemon {
    settings: Settings,
    joins: Vec<PathBuf>,
    log: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    /// Starts a daemon on a node, inside the cgroups whose `cgroup.procs` files are given, and waits
    /// until it answers.
    ///
    /// # Errors
    /// When it does not; the message has the end of its log.
    pub async fn start(node: &Node, settings: Settings, joins: Vec<PathBuf>) -> Result<Daemon> {
        for path in [&settings.directory, &settings.socket] {
            let directory = path.parent().context("a path without parent")?;
            fs::create_dir_all(directory)?;
        }
        let log = settings.directory.join("husk.log");
        let mut daemon = Daemon { settings, joins, log, child: None };
        daemon.start_again(node).await?;
        Ok(daemon)
    }

    /// Starts it once more, after it has ended, and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up, or still runs.
    pub async fn start_again(&mut self, node: &Node) -> Result<()> {
        if self.child.is_some() {
            bail!("the daemon still runs");
        }
        let watch = self.spawn(node)?;
        if let Err(error) = self.wait_until_it_answers(watch).await {
            self.kill();
            bail!("{error:#}; its log ends with:\n{}", self.log_tail());
        }
        Ok(())
    }

    /// Starts it without waiting, and gives an inotify descriptor on its log and its socket's directory.
    fn spawn(&mut self, node: &Node) -> Result<OwnedFd> {
        let file = self.settings.directory.join("husk.toml");
        fs::write(&file, self.settings.to_toml())?;
        let log = OpenOptions::new().append(true).create(true).open(&self.log).context("open the daemon's log")?;
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&watch, &self.log, inotify::WatchFlags::MODIFY)?;
        let directory = self.settings.socket.parent().context("a socket without parent")?;
        inotify::add_watch(&watch, directory, inotify::WatchFlags::CREATE)?;
        let mut command = self.command(log)?;
        command.arg("serve").arg("--config").arg(file);
        self.child = Some(node.run(move || command.spawn())?.context("start husk")?);
        Ok(watch)
    }

    /// The program with its cgroups and a small environment, its output going to the log.
    fn command(&self, log: File) -> Result<Command> {
        let mut command = Command::new("/bin/busybox");
        command
            .args(["sh", "-c", JOIN, "join"])
            .args(&self.joins)
            .arg("--")
            .arg(binary()?)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("RUST_BACKTRACE", "1")
            .env(MARK, &self.settings.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }

    /// Starts a second daemon with the same configuration, which must end by itself, and gives how it
    /// ended and what it wrote.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn run_a_second(&self, node: &Node) -> Result<(ExitStatus, String)> {
        let path = self.settings.directory.join("second.log");
        let mut command = self.command(File::create(&path)?)?;
        let file = self.settings.directory.join("husk.toml");
        command.arg("serve").arg("--config").arg(file);
        let mut child = node.run(move || command.spawn())?.context("start a second husk")?;
        if !ends(&child).await? {
            child.kill()?;
            child.wait()?;
            bail!("a second daemon on the same state directory goes on running");
        }
        Ok((child.wait()?, fs::read_to_string(path)?))
    }

    /// Waits for the first answer to `Version`. What may have made it possible is an event each time:
    /// the socket appears, the log grows; and the daemon's end is one too.
    async fn wait_until_it_answers(&self, watch: OwnedFd) -> Result<()> {
        let pidfd = self.process().and_then(|process| process.pidfd());
        let ended = Arc::new(pidfd.context("husk ended at once")?);
        let sources = [Arc::new(watch), ended];
        let deadline = Instant::now() + limits::DAEMON_START;
        loop {
            if let Ok(client) = Client::connect(&self.settings.socket).await {
                client.version().await.context("husk listens but does not answer Version")?;
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match first_readable(&sources, left).await? {
                // Only the fact that something changed matters.
                Some(0) => while rustix::io::read(&*sources[0], &mut [0; 4096]).is_ok() {},
                Some(_) => bail!("husk ended before it answered"),
                None => bail!("husk does not answer within {:?}", limits::DAEMON_START),
            }
        }
    }

    /// A new connection to it.
    ///
    /// # Errors
    /// When it does not listen.
    pub async fn connect(&self) -> Result<Client> {
        Client::connect(&self.settings.socket).await
    }

    /// Its configuration.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its configuration, to be changed for the next start.
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// The running process, `None` when it was stopped or has ended.
    #[must_use]
    pub fn process(&self) -> Option<Process> {
        self.child.as_ref().and_then(|child| Process::read(child.id()))
    }

    /// kill -9, and wait until it has gone. Nothing happens when it does not run.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and wait for its end.
    ///
    /// # Errors
    /// When it does not run, or goes on running; then it is killed.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().context("the daemon does not run")?;
        let pid = Pid::from_child(&child);
        kill_process(pid, Signal::TERM).context("send SIGTERM to the daemon")?;
        if !ends(&child).await? {
            child.kill()?;
            child.wait()?;
            bail!("husk ignores SIGTERM; its log ends with:\n{}", self.log_tail());
        }
        child.wait().context("wait for the daemon")
    }

    /// All that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of its log, without the frames of gRPC.
    #[must_use]
    pub fn log_tail(&self) -> String {
        const LINES: usize = 60;
        let log = self.log();
        let lines: Vec<&str> = log.lines().filter(|line| !line.contains(" h2::")).collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

/// Waits for the end of a child, as long as a daemon may take; whether it has ended.
async fn ends(child: &Child) -> Result<bool> {
    match Process::read(child.id()).and_then(|process| process.pidfd()) {
        Some(pidfd) => Ok(first_readable(&[Arc::new(pidfd)], limits::DAEMON_STOP).await?.is_some()),
        None => Ok(true),
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_toml_with_the_top_first() {
        let mut settings = Settings::new(Path::new("/tmp/w"));
        settings.set("cni", "bin_dirs", r#"["/usr/lib/cni"]"#.to_owned());
        let text = settings.to_toml();
        assert!(text.starts_with("root = \"/tmp/w/root\"\nstate = \"/tmp/w/state\"\n"));
        assert!(text.contains("\n[cni]\nbin_dirs = [\"/usr/lib/cni\"]\n"));
        assert!(text.contains("\n[server]\nsocket = \"/tmp/w/socket/husk.sock\"\n"));
    }
}
