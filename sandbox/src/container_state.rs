// SPDX-License-Identifier: Apache-2.0
//! The life of a container, as a table.
//!
//! ```text
//!  ┌─────────┐ StartAsked ┌──────────┐ Started ┌─────────┐ Exited ┌────────┐ RemoveAsked ┌──────────┐
//!  │ Created │ ─────────▶ │ Starting │ ──────▶ │ Running │ ─────▶ │ Exited │ ──────────▶ │ Removing │──▶ gone
//!  └─────────┘            └──────────┘         └─────────┘        └────────┘             └──────────┘
//!                              │ StartFailed, Exited                  ▲
//!                              └──────────────────────────────────────┘
//! ```

use serde::{Deserialize, Serialize};

use crate::pod_state::Transition;

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Made; nothing of it runs. CRI `CONTAINER_CREATED`.
    Created,
    /// `StartContainer` is at work. CRI `CONTAINER_CREATED`.
    Starting,
    /// Its program runs. CRI `CONTAINER_RUNNING`.
    Running,
    /// It is over, or could not be started. CRI `CONTAINER_EXITED`.
    Exited,
    /// It is being removed. CRI `CONTAINER_EXITED`.
    Removing,
}

/// What happens to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerEvent {
    /// Somebody wants it started.
    StartAsked,
    /// Its program was executed.
    Started,
    /// The launch failed.
    StartFailed,
    /// Its main process ended, or its monitor did.
    Exited,
    /// Somebody wants it gone.
    RemoveAsked,
}

impl ContainerState {
    /// Every state, for tables.
    pub const ALL: [Self; 5] = [Self::Created, Self::Starting, Self::Running, Self::Exited, Self::Removing];

    /// The transition table.
    pub fn on(self, event: ContainerEvent) -> Transition<Self> {
        use ContainerEvent as E;
        use ContainerState as S;
        use Transition::{Illegal, NoOp, To};
        match (self, event) {
            (S::Created, E::StartAsked) => To(S::Starting),
            (S::Starting, E::Started) => To(S::Running),
            (S::Starting, E::StartFailed) => To(S::Exited),
            // A container of a pod that died before its start, and one that ended before its start was answered.
            (S::Created | S::Starting | S::Running, E::Exited) => To(S::Exited),
            (S::Created | S::Starting | S::Running | S::Exited, E::RemoveAsked) => To(S::Removing),
            (S::Running | S::Exited, E::Started) => NoOp,
            (S::Exited, E::StartFailed | E::Exited) => NoOp,
            (S::Removing, E::Started | E::StartFailed | E::Exited | E::RemoveAsked) => NoOp,
            (S::Starting | S::Running | S::Exited | S::Removing, E::StartAsked) => Illegal,
            (S::Created, E::Started | E::StartFailed) => Illegal,
            (S::Running, E::StartFailed) => Illegal,
        }
    }

    /// The state in words, as errors name it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Created => "created and not started",
            Self::Starting => "being started",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Removing => "being removed",
        }
    }
}

impl ContainerEvent {
    /// Every event, for tables.
    pub const ALL: [Self; 5] = [Self::StartAsked, Self::Started, Self::StartFailed, Self::Exited, Self::RemoveAsked];
}
