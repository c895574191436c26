// SPDX-License-Identifier: Apache-2.0
//! Plugins that are scripts, and a client that runs them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use husk_cni_client::args::CniArgs;
use husk_cni_client::{Attach, CapabilityArgs, Client, ContainerId, InterfaceName, Settings, Timeouts};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tempfile::TempDir;

/// A namespace that exists everywhere; the scripts never look at it.
pub(crate) const NETNS: &str = "/proc/self/ns/net";

/// What a well-behaved plugin answers.
pub(crate) const GOOD: &str = r#"echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/n"}],"ips":[{"address":"10.1.0.5/16","interface":0}],"x":1e400}'"#;

/// Directories of a client, with plugins that record how they were called.
pub(crate) struct Bench {
    dir: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["net.d", "bin", "calls"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    /// A bench with one list of these plugins, which all behave well.
    pub(crate) fn with_list(version: &str, plugins: &[&str]) -> Self {
        let bench = Self::new();
        let parts: Vec<String> = plugins.iter().map(|p| format!(r#"{{"type":"{p}"}}"#)).collect();
        bench.configure(&format!(r#"{{"cniVersion":"{version}","name":"pods","plugins":[{}]}}"#, parts.join(",")));
        let answer = GOOD.replace("1.0.0", version);
        for plugin in plugins {
            bench.plugin(plugin, &format!("case $CNI_COMMAND in ADD) {answer};; esac"));
        }
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn configure(&self, text: &str) {
        let temporary = self.path("conflist");
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, self.path("net.d/10-pods.conflist")).unwrap();
    }

    /// Installs a plugin. It records verb, variables and input, then does what the body says. `$DIR` is
    /// the bench.
    pub(crate) fn plugin(&self, name: &str, body: &str) {
        let dir = self.dir.path().display();
        let script = format!(
            "#!/bin/sh\nDIR={dir}\n\
             tr '\\0' '\\n' < /proc/self/environ > $DIR/calls/{name}.$CNI_COMMAND.env\n\
             cat > $DIR/calls/{name}.$CNI_COMMAND.stdin\n\
             echo \"{name} $CNI_COMMAND $CNI_CONTAINERID\" >> $DIR/calls/log\n{body}\n"
        );
        self.raw_plugin(name, script.as_bytes());
    }

    pub(crate) fn raw_plugin(&self, name: &str, bytes: &[u8]) {
        let temporary = self.path("plugin");
        fs::write(&temporary, bytes).unwrap();
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(temporary, self.path("bin").join(name)).unwrap();
    }

    /// The calls so far, each as `plugin VERB`, and forgets them.
    pub(crate) fn calls(&self) -> Vec<String> {
        let log = self.path("calls/log");
        let text = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(&log);
        let calls = text.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "));
        calls.collect()
    }

    pub(crate) fn stdin(&self, call: &str) -> String {
        fs::read_to_string(self.path(&format!("calls/{call}.stdin"))).unwrap()
    }

    pub(crate) fn variable(&self, call: &str, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.path(&format!("calls/{call}.env"))).unwrap();
        let mut pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            conf_dir: self.path("net.d"),
            bin_dirs: vec![self.path("absent"), self.path("bin")],
            ledger_dir: self.path("ledger"),
            timeouts: Timeouts::default(),
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::start(self.settings()).await.unwrap()
    }

    /// A client that waits for ADD and DEL this long only.
    pub(crate) async fn hasty_client(&self, patience: Duration) -> Client {
        let mut settings = self.settings();
        settings.timeouts.add = patience;
        settings.timeouts.del = patience;
        Client::start(settings).await.unwrap()
    }

    /// The process whose id a plugin wrote to this file.
    pub(crate) fn written_pid(&self, name: &str) -> Pid {
        let text = fs::read_to_string(self.path(name)).unwrap();
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }
}

pub(crate) fn id(name: &str) -> ContainerId {
    ContainerId::parse(name).unwrap()
}

pub(crate) fn request(name: &str) -> Attach {
    Attach {
        container_id: id(name),
        netns: NETNS.into(),
        interface: InterfaceName::parse("eth0").unwrap(),
        args: CniArgs::default(),
        capabilities: CapabilityArgs::default(),
    }
}

/// Waits until a process is dead (a zombie counts), by event.
pub(crate) fn assert_dead(pid: Pid) {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let ten_seconds = Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&ten_seconds))).unwrap(),
        1,
        "process {pid:?} lives on"
    );
}

/// Makes a FIFO and gives a task that ends when something was written to it.
pub(crate) fn signal(path: &Path) -> tokio::task::JoinHandle<()> {
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || drop(fs::read(path).unwrap()))
}
