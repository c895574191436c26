// SPDX-License-Identifier: Apache-2.0
//! Runs one plugin.
//!
//! ```text
//!  spawn (own process group) ─▶ feed stdin, read stdout and stderr, wait for the pidfd
//!     │ leader exits ─▶ kill what is left of its group ─▶ reap ─▶ take what the pipes still hold
//!     │ deadline, too much output, or the future is dropped ─▶ kill the group ─▶ reap
//! ```
//!
//! The group is always killed *before* its leader is reaped: until then the kernel cannot give its
//! number to anybody else. Nothing that a plugin leaves in its group outlives it; a daemon that means to
//! stay makes a session of its own. End of file on the pipes is never waited for, since such a daemon
//! may hold them.
//!
//! A plugin gets three descriptors, since all that Rust opens is close-on-exec. What the daemon itself
//! inherited it has to close when it starts (`sys::close_all_but`); here that could not be done without
//! unsafe code between fork and exec.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::error::{Error, Verb};
use crate::failure;
use crate::limits;
use crate::names::PluginType;
use crate::readable_fd;

/// What a plugin may find its own programs in, after the plugin directories.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where plugins are looked for, in this order.
#[derive(Clone, Debug)]
pub(crate) struct BinDirs(pub(crate) Vec<PathBuf>);

/// When a chain of plugins must be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    allowed: Duration,
}

/// One call of one plugin.
pub(crate) struct Call<'a> {
    pub(crate) plugin: &'a PluginType,
    pub(crate) verb: Verb,
    /// CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS: what the verb takes. The rest is added here.
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) stdin: Vec<u8>,
    pub(crate) deadline: Deadline,
}

impl Deadline {
    pub(crate) fn after(allowed: Duration) -> Self {
        Self { at: Instant::now() + allowed, allowed }
    }
}

impl BinDirs {
    /// The value of CNI_PATH.
    fn to_variable(&self) -> String {
        let dirs: Vec<_> = self.0.iter().map(|dir| dir.to_string_lossy()).collect();
        dirs.join(":")
    }

    /// The first executable file of that name. The name has no slash (its type sees to that), so
    /// nothing outside of the directories can be meant; links in them are the installers' business.
    fn find(&self, plugin: &PluginType) -> Result<PathBuf, String> {
        let mut not_executable = None;
        for dir in &self.0 {
            let path = dir.join(plugin.as_str());
            match std::fs::metadata(&path) {
                Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => {
                    return Ok(path);
                }
                Ok(_) => not_executable = not_executable.or(Some(path)),
                Err(_) => {}
            }
        }
        Err(match not_executable {
            Some(path) => format!("{} is not an executable file", path.display()),
            None if self.0.is_empty() => "no directory of plugins is configured".into(),
            None => format!("it is in none of {}", self.to_variable()),
        })
    }
}

/// Runs the plugin and gives its standard output.
///
/// # Errors
/// When it is missing, cannot be started, fails, says too much or takes too long. Then nothing of its
/// process group is left.
pub(crate) async fn run(bin_dirs: &BinDirs, call: &Call<'_>) -> Result<Vec<u8>, Error> {
    let path = bin_dirs.find(call.plugin).map_err(|why| Error::PluginMissing {
        plugin: call.plugin.clone(),
        verb: call.verb,
        why,
    })?;
    let started = Instant::now();
    let child = start(bin_dirs, call, &path).await?;
    let mut running = Running::of(child).map_err(|e| lost(call, e))?;
    let outcome = match timeout_at(call.deadline.at, running.converse(call)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Timeout { plugin: call.plugin.clone(), verb: call.verb, allowed: call.deadline.allowed }),
    };
    if outcome.is_err() {
        running.end().await;
    }
    tracing::debug!(
        plugin = %call.plugin,
        verb = %call.verb,
        micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        failed = outcome.is_err(),
        "run CNI plugin"
    );
    let (status, stdout, stderr) = outcome?;
    match failure::of(status, &stdout, &stderr) {
        None => Ok(stdout),
        Some(failure) => Err(Error::PluginFailed {
            plugin: call.plugin.clone(),
            verb: call.verb,
            message: failure.message,
            code: failure.code,
        }),
    }
}

/// Spawns. A binary that an installer just writes is busy for a moment (ETXTBSY); there is no event for
/// its end that cannot be missed, so this alone is tried again in small steps.
async fn start(bin_dirs: &BinDirs, call: &Call<'_>, path: &Path) -> Result<Child, Error> {
    let give_up = Instant::now() + limits::BUSY_BINARY;
    loop {
        match spawn(bin_dirs, call, path) {
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < give_up => {
                sleep(limits::BUSY_RETRY).await;
            }
            other => {
                return other.map_err(|source| Error::Start {
                    plugin: call.plugin.clone(),
                    verb: call.verb,
                    path: path.into(),
                    source,
                });
            }
        }
    }
}

fn spawn(bin_dirs: &BinDirs, call: &Call<'_>, path: &Path) -> io::Result<Child> {
    let dirs = bin_dirs.to_variable();
    Command::new(path)
        .env_clear()
        .env("PATH", format!("{dirs}:{SYSTEM_PATH}"))
        .env("CNI_COMMAND", call.verb.as_str())
        .env("CNI_PATH", &dirs)
        .envs(call.variables.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// A plugin whose leader is not reaped yet. Dropping it kills the group; the leader is then reaped by
/// the runtime.
struct Running {
    // Dropped first, in this order: dropping the child may reap it.
    group: Option<Group>,
    child: Child,
    exit: AsyncFd<OwnedFd>,
}

/// The right to kill a process group: while it exists, the leader is not reaped.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // ESRCH and EPERM (a member that changed its user) leave nothing that could be done.
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

impl Running {
    fn of(child: Child) -> io::Result<Self> {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let pid = id.and_then(Pid::from_raw).ok_or_else(|| io::Error::other("the child has no process id"))?;
        let group = Some(Group(pid));
        let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        Ok(Self { group, exit: readable_fd::watch(pidfd)?, child })
    }

    /// Feeds and reads until the leader is gone, then kills what is left of its group.
    async fn converse(&mut self, call: &Call<'_>) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), Error> {
        let failed = |source| lost(call, source);
        let (stdin, mut stdout, mut stderr) = self.pipes().map_err(failed)?;
        let mut feeding = std::pin::pin!(feed(stdin, &call.stdin));
        let mut fed = false;
        loop {
            tokio::select! {
                gone = self.exit.readable() => {
                    gone.map_err(failed)?.retain_ready();
                    break;
                }
                () = &mut feeding, if !fed => fed = true,
                ready = stdout.pipe.readable(), if stdout.open => {
                    ready.map_err(failed)?;
                    stdout.take().map_err(failed)?;
                }
                ready = stderr.pipe.readable(), if stderr.open => {
                    ready.map_err(failed)?;
                    stderr.take().map_err(failed)?;
                }
            }
            if stdout.overflowed() {
                return Err(too_much(call));
            }
        }
        drop(self.group.take());
        let status = self.child.wait().await.map_err(failed)?;
        while stdout.take().map_err(failed)? == Left::Perhaps {
            if stdout.overflowed() {
                return Err(too_much(call));
            }
        }
        stderr.take().map_err(failed)?;
        Ok((status, stdout.bytes, stderr.bytes))
    }

    fn pipes(&mut self) -> io::Result<(pipe::Sender, Capture, Capture)> {
        let taken = (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = taken else {
            return Err(io::Error::other("the child has no pipes"));
        };
        Ok((
            pipe::Sender::from_owned_fd(stdin.into_owned_fd()?)?,
            Capture::of(stdout.into_owned_fd()?, Bound::Refuse(limits::STDOUT_BYTES))?,
            Capture::of(stderr.into_owned_fd()?, Bound::KeepEnd(limits::STDERR_BYTES))?,
        ))
    }

    /// Kills the group and waits a moment for the leader, so that its death is certain when the caller
    /// goes on. One that even SIGKILL cannot end now is left to the runtime.
    async fn end(&mut self) {
        drop(self.group.take());
        let _ = timeout(limits::REAP, self.child.wait()).await;
    }
}

/// A plugin that does not read its input (EPIPE) may still succeed.
async fn feed(stdin: pipe::Sender, bytes: &[u8]) {
    use tokio::io::AsyncWriteExt;

    let mut stdin = stdin;
    let _ = stdin.write_all(bytes).await;
}

fn lost(call: &Call<'_>, source: io::Error) -> Error {
    Error::Lost { plugin: call.plugin.clone(), verb: call.verb, source }
}

fn too_much(call: &Call<'_>) -> Error {
    Error::BadAnswer {
        plugin: call.plugin.clone(),
        verb: call.verb,
        why: format!("it wrote more than {} KiB", limits::STDOUT_BYTES / 1024),
    }
}

/// What to do with more output than there is room for.
#[derive(Clone, Copy)]
enum Bound {
    /// Stop reading: it is no result.
    Refuse(usize),
    /// Forget the beginning: the reason of a failure stands at the end.
    KeepEnd(usize),
}

/// Whether a pipe may still hold something.
#[derive(PartialEq, Eq)]
enum Left {
    Nothing,
    Perhaps,
}

/// One output of the plugin.
struct Capture {
    pipe: pipe::Receiver,
    bound: Bound,
    bytes: Vec<u8>,
    open: bool,
}

impl Capture {
    fn of(fd: OwnedFd, bound: Bound) -> io::Result<Self> {
        Ok(Self { pipe: pipe::Receiver::from_owned_fd(fd)?, bound, bytes: Vec::new(), open: true })
    }

    fn overflowed(&self) -> bool {
        matches!(self.bound, Bound::Refuse(most) if self.bytes.len() > most)
    }

    /// Takes what the pipe holds now, at most two usual pipes' worth, so that a flood cannot keep it
    /// here.
    fn take(&mut self) -> io::Result<Left> {
        let mut chunk = [0; 16 * 1024];
        for _ in 0..8 {
            match self.pipe.try_read(&mut chunk) {
                Ok(0) => {
                    self.open = false;
                    return Ok(Left::Nothing);
                }
                Ok(count) => self.keep(&chunk[..count]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Left::Nothing);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(Left::Perhaps)
    }

    fn keep(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        if let Bound::KeepEnd(most) = self.bound
            && self.bytes.len() > most
        {
            self.bytes.drain(..self.bytes.len() - most);
        }
    }
}
