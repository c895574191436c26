// SPDX-License-Identifier: Apache-2.0
//! The life of a pod sandbox, as a table.
//!
//! ```text
//!              Opened               StopAsked               Stopped
//!  ┌─────────┐ ───────▶ ┌───────┐ ────────────▶ ┌──────────┐ ───────▶ ┌─────────┐
//!  │ Opening │          │ Ready │               │ Stopping │          │ Stopped │
//!  └─────────┘          └───────┘               └──────────┘          └─────────┘
//!       │ OpenFailed        │ Died (pause or monitor)  ▲                   │ RemoveAsked
//!       ▼                   ▼           StopAsked      │                   ▼
//!  ┌──────────┐         ┌──────┐ ──────────────────────┘             ┌──────────┐
//!  │ Removing │         │ Dead │                                     │ Removing │──▶ gone
//!  └──────────┘         └──────┘                                     └──────────┘
//! ```

use serde::{Deserialize, Serialize};

/// Where a pod sandbox is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodState {
    /// `RunPodSandbox` is at work.
    Opening,
    /// It is up: CRI `SANDBOX_READY`.
    Ready,
    /// Pause or the monitor died; what it holds is still to be given back.
    Dead,
    /// `StopPodSandbox` is at work.
    Stopping,
    /// Its processes are dead and its network is given back, or is in the ledger for it.
    Stopped,
    /// It is being removed.
    Removing,
}

/// What happens to a pod sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodEvent {
    /// Everything that `RunPodSandbox` makes is there.
    Opened,
    /// `RunPodSandbox` failed.
    OpenFailed,
    /// Pause or the monitor ended unasked.
    Died,
    /// Somebody wants it stopped.
    StopAsked,
    /// The stop is complete.
    Stopped,
    /// Somebody wants it gone.
    RemoveAsked,
}

/// What an event does in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition<S> {
    /// The next state.
    To(S),
    /// Nothing: the event repeats what is so already, or comes too late to matter.
    NoOp,
    /// The event makes no sense here.
    Illegal,
}

impl PodState {
    /// Every state, for tables.
    pub const ALL: [Self; 6] = [Self::Opening, Self::Ready, Self::Dead, Self::Stopping, Self::Stopped, Self::Removing];

    /// The transition table.
    pub fn on(self, event: PodEvent) -> Transition<Self> {
        use PodEvent as E;
        use PodState as S;
        use Transition::{Illegal, NoOp, To};
        match (self, event) {
            (S::Opening, E::Opened) => To(S::Ready),
            (S::Opening, E::OpenFailed) => To(S::Removing),
            (S::Opening, E::Died) => NoOp, // The open itself sees it and fails.
            (S::Opening, E::StopAsked) => To(S::Stopping),
            (S::Opening, E::RemoveAsked) => To(S::Removing),
            (S::Ready, E::Died) => To(S::Dead),
            (S::Ready | S::Dead, E::StopAsked) => To(S::Stopping),
            (S::Ready | S::Dead | S::Stopping | S::Stopped, E::RemoveAsked) => To(S::Removing),
            (S::Stopping, E::Stopped) => To(S::Stopped),
            (S::Ready, E::Opened) => NoOp,
            (S::Dead | S::Stopping | S::Stopped | S::Removing, E::Died) => NoOp,
            (S::Stopping | S::Stopped | S::Removing, E::StopAsked) => NoOp,
            (S::Stopped | S::Removing, E::Stopped) => NoOp,
            (S::Removing, E::RemoveAsked | E::OpenFailed) => NoOp,
            (S::Opening | S::Ready | S::Dead, E::Stopped) => Illegal,
            (S::Dead | S::Stopping | S::Stopped | S::Removing, E::Opened) => Illegal,
            (S::Ready | S::Dead | S::Stopping | S::Stopped, E::OpenFailed) => Illegal,
        }
    }

    /// The state in words, as errors name it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Opening => "still being made",
            Self::Ready => "ready",
            Self::Dead => "dead: its pause process or its monitor ended",
            Self::Stopping => "being stopped",
            Self::Stopped => "stopped",
            Self::Removing => "being removed",
        }
    }
}

impl PodEvent {
    /// Every event, for tables.
    pub const ALL: [Self; 6] =
        [Self::Opened, Self::OpenFailed, Self::Died, Self::StopAsked, Self::Stopped, Self::RemoveAsked];
}
