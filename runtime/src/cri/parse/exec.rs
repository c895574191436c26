// SPDX-License-Identifier: Apache-2.0
//! ExecSync's command and the waits of ExecSync and StopContainer.

use std::time::Duration;

use proto::cri;

use super::{Field, Refusal, process};
use crate::limits;

/// What ExecSync asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exec {
    /// The program and its arguments; not empty.
    pub(crate) command: Vec<String>,
    /// How long it may take; `None` for as long as it wants.
    pub(crate) timeout: Option<Duration>,
}

/// Reads `ExecSyncRequest`, but for its container.
pub(crate) fn exec_sync(request: &cri::ExecSyncRequest) -> Result<Exec, Refusal> {
    let field = Field::of_request("cmd");
    if request.cmd.first().is_none_or(String::is_empty) {
        return Err(field.invalid("it names no program"));
    }
    let timeout = seconds(&Field::of_request("timeout"), request.timeout)?;
    Ok(Exec { command: process::arguments(&field, &request.cmd)?, timeout: Some(timeout).filter(|t| !t.is_zero()) })
}

/// How long StopContainer waits after the stop signal; zero kills at once.
pub(crate) fn stop_grace(request: &cri::StopContainerRequest) -> Result<Duration, Refusal> {
    seconds(&Field::of_request("timeout"), request.timeout)
}

fn seconds(field: &Field<'_>, number: i64) -> Result<Duration, Refusal> {
    match u64::try_from(number) {
        // Kubernetes allows any number here, and "for ever" is a fair wish.
        Ok(seconds) => Ok(Duration::from_secs(seconds).min(limits::LONGEST_WAIT)),
        Err(_) => Err(field.invalid(format!("{number} seconds are negative"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(cmd: &[&str], timeout: i64) -> Result<Exec, Refusal> {
        let cmd = cmd.iter().map(|&text| text.to_owned()).collect();
        exec_sync(&cri::ExecSyncRequest { container_id: String::new(), cmd, timeout })
    }

    #[test]
    fn commands_and_waits() {
        let parsed = exec(&["sh", "-c", ""], 0).unwrap();
        assert_eq!((parsed.command.len(), parsed.timeout), (3, None));
        assert_eq!(exec(&["a"], 7).unwrap().timeout, Some(Duration::from_secs(7)));
        assert_eq!(exec(&["a"], i64::MAX).unwrap().timeout, Some(limits::LONGEST_WAIT));
        for (cmd, timeout, name) in
            [(&[] as &[&str], 1, "cmd"), (&[""], 1, "cmd"), (&["a", "b\0"], 1, "cmd[1]"), (&["a"], -1, "timeout")]
        {
            let refusal = exec(cmd, timeout).unwrap_err().to_string();
            assert!(refusal.starts_with(&format!("{name}: ")), "{refusal}");
        }
        let stop = |timeout| stop_grace(&cri::StopContainerRequest { container_id: String::new(), timeout });
        assert_eq!(stop(0), Ok(Duration::ZERO));
        assert!(stop(-1).unwrap_err().to_string().starts_with("timeout: "));
        assert!(stop(i64::MIN).is_err());
    }
}
