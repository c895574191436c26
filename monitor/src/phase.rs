// SPDX-License-Identifier: Apache-2.0
//! The life of a container as a table.
//!
//! ```text
//!            Start              Executed               MainEnded            Drained
//!  unknown ────────▶ Starting ────────────▶ Running ──────────────▶ Ending ─────────▶ Exited
//!     ▲                 │ LaunchEnded                                                   │
//!     │                 ▼                                                               │ Forget
//!     ├──────────────Failed                                                             │
//!     │   Forget                                                                        │
//!     └─────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! *Ending*: the main process is gone, the rest of its cgroup is being killed, and the last of its output is being
//! written. To the daemon this is still *running*, so that nobody reads an incomplete log.

use std::fmt;

use wire::{Failure, FailureKind};

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The launch is under way.
    Starting,
    /// Its program runs.
    Running,
    /// Its main process ended; its output is not complete yet.
    Ending,
    /// It ended, and its record is written.
    Exited,
    /// The launch failed.
    Failed,
}

/// What is asked of a container, or happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// [`wire::Request::Start`].
    Start,
    /// [`wire::Request::Signal`].
    Signal,
    /// [`wire::Request::Kill`].
    Kill,
    /// [`wire::Request::Exec`].
    Exec,
    /// [`wire::Request::ReopenLog`].
    ReopenLog,
    /// [`wire::Request::Forget`].
    Forget,
    /// The program was executed.
    Executed,
    /// The launch came to an end without a program.
    LaunchEnded,
    /// The main process was reaped.
    MainEnded,
    /// The output is complete.
    Drained,
}

/// What an input does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// The container is in this phase now.
    To(Phase),
    /// The input is carried out, and the phase stays.
    Stay,
    /// Nothing is left to do: the input asks for what is already so.
    Nothing,
    /// The container is forgotten.
    Gone,
    /// The input does not fit.
    Refuse,
}

/// The table. `None` is a container that is not known.
pub(crate) fn step(phase: Option<Phase>, input: Input) -> Move {
    use Input as I;
    use Phase as P;
    match (phase, input) {
        (None, I::Start) => Move::To(P::Starting),
        (Some(P::Starting), I::Executed) => Move::To(P::Running),
        (Some(P::Starting), I::LaunchEnded) => Move::To(P::Failed),
        (Some(P::Running), I::MainEnded) => Move::To(P::Ending),
        (Some(P::Ending), I::Drained) => Move::To(P::Exited),
        (Some(P::Running), I::Signal | I::Exec | I::ReopenLog) => Move::Stay,
        (Some(P::Starting | P::Running | P::Ending), I::Kill) => Move::Stay,
        (Some(P::Exited | P::Failed), I::Kill) => Move::Nothing,
        (Some(P::Exited | P::Failed), I::Forget) => Move::Gone,
        _ => Move::Refuse,
    }
}

/// Whether a request fits, else the failure that says why not.
pub(crate) fn admit(phase: Option<Phase>, input: Input) -> Result<Move, Failure> {
    match step(phase, input) {
        Move::Refuse => Err(refusal(phase)),
        allowed => Ok(allowed),
    }
}

/// Why a container in this phase does not do what is asked.
pub(crate) fn refusal(phase: Option<Phase>) -> Failure {
    match phase {
        None => Failure::new(FailureKind::UnknownContainer, "the monitor knows no such container"),
        Some(phase) => Failure::new(FailureKind::WrongState, format!("the container {phase}")),
    }
}

impl fmt::Display for Phase {
    /// A verb that goes with `the container`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "is starting",
            Self::Running => "is running",
            Self::Ending => "has just ended",
            Self::Exited => "has exited",
            Self::Failed => "failed to start",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    const TABLE: &str = "\
input         unknown    Starting   Running    Ending     Exited     Failed
Start         Starting   -          -          -          -          -
Signal        -          -          stay       -          -          -
Kill          -          stay       stay       stay       nothing    nothing
Exec          -          -          stay       -          -          -
ReopenLog     -          -          stay       -          -          -
Forget        -          -          -          -          gone       gone
Executed      -          Running    -          -          -          -
LaunchEnded   -          Failed     -          -          -          -
MainEnded     -          -          Ending     -          -          -
Drained       -          -          -          Exited     -          -
";

    #[test]
    fn every_phase_and_every_input() {
        use Input::*;
        let phases = [
            None,
            Some(Phase::Starting),
            Some(Phase::Running),
            Some(Phase::Ending),
            Some(Phase::Exited),
            Some(Phase::Failed),
        ];
        let mut table = format!("{:14}", "input");
        for phase in phases {
            let name = phase.map_or("unknown".into(), |phase| format!("{phase:?}"));
            write!(table, "{name:11}").unwrap();
        }
        for input in [Start, Signal, Kill, Exec, ReopenLog, Forget, Executed, LaunchEnded, MainEnded, Drained] {
            write!(table, "\n{:14}", format!("{input:?}")).unwrap();
            for phase in phases {
                let cell = match step(phase, input) {
                    Move::To(phase) => format!("{phase:?}"),
                    Move::Stay => "stay".into(),
                    Move::Nothing => "nothing".into(),
                    Move::Gone => "gone".into(),
                    Move::Refuse => "-".into(),
                };
                write!(table, "{cell:11}").unwrap();
            }
        }
        let trimmed: String = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        assert_eq!(trimmed, TABLE);
    }

    #[test]
    fn a_refusal_names_the_phase() {
        let refused = admit(Some(Phase::Exited), Input::Exec).unwrap_err();
        assert_eq!((refused.kind, refused.to_string().as_str()), (FailureKind::WrongState, "the container has exited"));
        assert_eq!(admit(None, Input::Kill).unwrap_err().kind, FailureKind::UnknownContainer);
        assert_eq!(admit(None, Input::Start), Ok(Move::To(Phase::Starting)));
    }
}
