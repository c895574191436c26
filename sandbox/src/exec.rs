// SPDX-License-Identifier: Apache-2.0
//! ExecSync and ReopenContainerLog: what is asked of a running container.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use wire::{Blob, Exec, ExecEnd, Executed, Reply, Request};

use crate::container::Container;
use crate::container_state::ContainerState;
use crate::error::Error;
use crate::limits;
use crate::pods::Inner;

/// How an exec ended (CRI `ExecSyncResponse`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutcome {
    /// As a shell shows it.
    pub exit_code: i32,
    /// Standard output, at most 16 MiB.
    pub stdout: Vec<u8>,
    /// Standard error, at most 16 MiB.
    pub stderr: Vec<u8>,
}

/// The longest wait for an exec without a time limit of its own: the connection's end or the process's.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Inner {
    pub(crate) async fn exec(
        self: &Arc<Self>,
        container: &Arc<Container>,
        command: Vec<String>,
        timeout: Option<Duration>,
    ) -> Result<ExecOutcome, Error> {
        if container.state() != ContainerState::Running {
            return Err(container.wrong_state("a command can be executed only in a running container"));
        }
        let monitor = container.pod.live_monitor()?;
        let mut process = self.process_of(container).await?;
        process.args = command;
        process.terminal = false;
        process.make_cwd = false;
        let exec = Exec {
            container: container.id.wire(),
            process,
            timeout_ms: timeout.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        };
        let deadline = timeout.map_or(FOR_EVER, |time| time + limits::MONITOR_ANSWER);
        let answer = monitor.call(Request::Exec(Box::new(exec)), &[], deadline).await;
        match answer.map_err(|error| Error::MonitorLost { pod: container.pod.id, cause: error.to_string() })? {
            (Reply::Executed(executed), fds) => outcome(container, executed, fds, timeout),
            (reply, _) => {
                Err(crate::run_pod::unexpected(format!("execute a command in container {}", container.id), reply))
            }
        }
    }

    /// What a process of the container is: the same code makes it for start and for exec.
    async fn process_of(self: &Arc<Self>, container: &Arc<Container>) -> Result<wire::Process, Error> {
        if let Some(process) = container.process() {
            return Ok(process);
        }
        let spec = self.load_spec(container).await?;
        let oci = spec.process().as_ref().ok_or_else(|| Error::Fault("an OCI config without a process".to_owned()))?;
        let process = plan::process(oci, &container.env)
            .map_err(|error| Error::Plan { container: container.id, message: error.to_string() })?;
        container.remember_process(&process);
        Ok(process)
    }

    pub(crate) async fn reopen_log(&self, container: &Arc<Container>) -> Result<(), Error> {
        if container.state() != ContainerState::Running {
            return Err(container.wrong_state("only the log of a running container can be reopened"));
        }
        let monitor = container.pod.live_monitor()?;
        let reopen = Request::ReopenLog { container: container.id.wire() };
        let answer = monitor.call(reopen, &[], limits::MONITOR_ANSWER).await;
        match answer.map_err(|error| Error::MonitorLost { pod: container.pod.id, cause: error.to_string() })? {
            (Reply::Done, _) => Ok(()),
            (reply, _) => {
                Err(crate::run_pod::unexpected(format!("reopen the log of container {}", container.id), reply))
            }
        }
    }
}

fn outcome(
    container: &Container,
    executed: Executed,
    fds: Vec<OwnedFd>,
    timeout: Option<Duration>,
) -> Result<ExecOutcome, Error> {
    let status = match executed.end {
        ExecEnd::Exited(status) => status,
        ExecEnd::TimedOut => {
            return Err(Error::ExecTimeout { container: container.id, timeout: timeout.unwrap_or_default() });
        }
    };
    let mut fds = fds.into_iter();
    let mut bytes = |blob: Blob| match blob {
        Blob::Inline(bytes) => Ok(bytes.into()),
        Blob::Attached => {
            let fd = fds.next().ok_or_else(|| Error::Fault("an exec's output came without its memfd".to_owned()))?;
            sys::memfd_read(fd.as_fd(), wire::limits::EXEC_OUTPUT_BYTES)
                .map_err(|error| Error::Fault(error.to_string()))
        }
    };
    Ok(ExecOutcome { exit_code: status.shell_code(), stdout: bytes(executed.stdout)?, stderr: bytes(executed.stderr)? })
}
