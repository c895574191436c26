// SPDX-License-Identifier: Apache-2.0
//! What the CRI says about an end (`ContainerStatus.reason`, `exit_code`).

use wire::{Exit, ExitStatus};

use crate::limits;
use crate::records::{ContainerStatusRecord, VERSION};
use crate::snapshot::ContainerPhase;
use crate::time::wall_ns;

/// The code of a container that could not be started, as both peers have it.
const START_ERROR: i32 = 128;

/// The code of a container whose end nobody saw, as containerd has it.
const UNKNOWN: i32 = 255;

/// A main process ended.
pub(crate) fn ended(exit: &Exit) -> ContainerPhase {
    let reason = match exit.status {
        _ if exit.oom_killed => "OOMKilled",
        ExitStatus::Code(0) => "Completed",
        ExitStatus::Code(_) | ExitStatus::Signal(_) => "Error",
    };
    let message = match exit.oom_kills {
        0 => String::new(),
        _ if exit.oom_killed => "the main process was killed at the container's memory limit".to_owned(),
        count => format!("{count} of its processes were killed at the container's memory limit"),
    };
    ContainerPhase::Exited {
        started_at_ns: exit.started_at_ns,
        finished_at_ns: exit.finished_at_ns.max(1),
        exit_code: exit.status.shell_code(),
        reason,
        message,
    }
}

/// The launch failed.
pub(crate) fn not_started(message: &str) -> ContainerPhase {
    ContainerPhase::Exited {
        started_at_ns: 0,
        finished_at_ns: wall_ns(),
        exit_code: START_ERROR,
        reason: "StartError",
        message: shortened(message),
    }
}

/// It is over, and nobody saw how.
pub(crate) fn unknown(started_at_ns: u64, message: &str) -> ContainerPhase {
    ContainerPhase::Exited {
        started_at_ns,
        finished_at_ns: wall_ns().max(started_at_ns),
        exit_code: UNKNOWN,
        reason: "Unknown",
        message: shortened(message),
    }
}

/// The record of an end; `None` for a container that has not ended.
pub(crate) fn to_record(phase: &ContainerPhase) -> Option<ContainerStatusRecord> {
    let ContainerPhase::Exited { started_at_ns, finished_at_ns, exit_code, reason, message } = phase else {
        return None;
    };
    Some(ContainerStatusRecord {
        version: VERSION,
        started_at_ns: *started_at_ns,
        finished_at_ns: *finished_at_ns,
        exit_code: *exit_code,
        reason: (*reason).to_owned(),
        message: message.clone(),
    })
}

/// The end that a record tells of.
pub(crate) fn from_record(record: ContainerStatusRecord) -> ContainerPhase {
    let known = ["Completed", "Error", "OOMKilled", "StartError"];
    ContainerPhase::Exited {
        started_at_ns: record.started_at_ns,
        finished_at_ns: record.finished_at_ns.max(1),
        exit_code: record.exit_code,
        reason: known.into_iter().find(|reason| *reason == record.reason).unwrap_or("Unknown"),
        message: shortened(&record.message),
    }
}

fn shortened(message: &str) -> String {
    let mut end = message.len().min(limits::MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_codes() {
        let exit =
            |status, oom_kills, oom_killed| Exit { status, started_at_ns: 5, finished_at_ns: 9, oom_kills, oom_killed };
        let table = [
            (exit(ExitStatus::Code(0), 0, false), 0, "Completed"),
            (exit(ExitStatus::Code(3), 0, false), 3, "Error"),
            (exit(ExitStatus::Signal(15), 0, false), 143, "Error"),
            (exit(ExitStatus::Signal(9), 1, true), 137, "OOMKilled"),
            (exit(ExitStatus::Code(0), 2, false), 0, "Completed"),
        ];
        for (exit, code, why) in table {
            let phase = ended(&exit);
            let ContainerPhase::Exited { exit_code, reason, .. } = &phase else { panic!("{phase:?}") };
            assert_eq!((*exit_code, *reason), (code, why), "{exit:?}");
            assert_eq!(from_record(to_record(&phase).unwrap()), phase);
        }
    }

    #[test]
    fn messages_are_cut_between_characters() {
        let ContainerPhase::Exited { message, .. } = not_started(&"é".repeat(2000)) else { panic!() };
        assert_eq!(message.len(), limits::MESSAGE_BYTES);
    }
}
