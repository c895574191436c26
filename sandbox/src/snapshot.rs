// SPDX-License-Identifier: Apache-2.0
//! What List and Status answer from: an immutable picture of all pods and containers.
//!
//! Every change of state puts a new picture in place; a reader takes the current one and holds no lock, so no
//! operation, disk, plugin or monitor can make a reader wait.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{ContainerConfig, PodConfig, Signal};
use crate::container_state::ContainerState;
use crate::ids::{ContainerId, PodId};
use crate::pod_state::PodState;

/// All pods and containers at one moment. Those whose making nobody has claimed yet are not in it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The pods.
    pub pods: BTreeMap<PodId, Arc<PodView>>,
    /// The containers.
    pub containers: BTreeMap<ContainerId, Arc<ContainerView>>,
}

/// One pod at one moment.
#[derive(Clone, Debug)]
pub struct PodView {
    /// Its id.
    pub id: PodId,
    /// What it shall be.
    pub config: Arc<PodConfig>,
    /// Where it is in its life; READY in the CRI's sense is [`PodState::Ready`] alone.
    pub state: PodState,
    /// When it was made, in nanoseconds since the epoch.
    pub created_at_ns: u64,
    /// Its addresses, the pod's IP first; empty for a pod on the host's network and for a stopped one.
    pub ips: Vec<IpAddr>,
    /// Where its network namespace is pinned; `None` for a pod on the host's network.
    pub netns: Option<PathBuf>,
    /// Process id of pause, 0 when it does not run.
    pub pause_pid: u32,
    /// Process id of the monitor, 0 when it does not run.
    pub monitor_pid: u32,
    /// Why it is not ready, when something else than a Stop made it so.
    pub reason: Option<String>,
}

/// One container at one moment.
#[derive(Clone, Debug)]
pub struct ContainerView {
    /// Its id.
    pub id: ContainerId,
    /// Its pod.
    pub pod: PodId,
    /// What it shall be.
    pub config: Arc<ContainerConfig>,
    /// The id of its image.
    pub image_id: String,
    /// A name of its image for people.
    pub image_reference: String,
    /// When it was made, in nanoseconds since the epoch.
    pub created_at_ns: u64,
    /// Where it is in its life.
    pub state: ContainerState,
    /// What belongs to that state.
    pub phase: ContainerPhase,
    /// The full path of its log file.
    pub log_path: Option<PathBuf>,
    /// The signal that stops it: the request's, the image's, or SIGTERM.
    pub stop_signal: Signal,
    /// The uid, gid and supplementary groups that its first process gets.
    pub user: (u32, u32, Vec<u32>),
}

/// What belongs to a container's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerPhase {
    /// Made, not started.
    Created,
    /// It runs.
    Running {
        /// Its main process.
        pid: u32,
        /// When its program was executed, in nanoseconds since the epoch.
        started_at_ns: u64,
    },
    /// It is over.
    Exited {
        /// 0 when it never started.
        started_at_ns: u64,
        /// Never 0.
        finished_at_ns: u64,
        /// As a shell shows it: the code, or 128 plus the signal; 255 when it is not known.
        exit_code: i32,
        /// `Completed`, `Error`, `OOMKilled`, `StartError` or `Unknown`.
        reason: &'static str,
        /// More about it, for people; under 1 KiB.
        message: String,
    },
}

/// Why a text does not name exactly one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// It is empty or holds something else than hexadecimal digits.
    Malformed,
    /// Nothing has an id that begins so.
    Unknown,
    /// More than one thing has an id that begins so.
    Ambiguous,
}

impl Snapshot {
    /// The pod whose id is, or begins with, `text`.
    ///
    /// # Errors
    /// When not exactly one pod is meant.
    pub fn pod(&self, text: &str) -> Result<&Arc<PodView>, Unresolved> {
        let from: PodId = lowest(text)?;
        unique(text, self.pods.range(from..).map(|(id, view)| (id.to_string(), view)))
    }

    /// The container whose id is, or begins with, `text`.
    ///
    /// # Errors
    /// When not exactly one container is meant.
    pub fn container(&self, text: &str) -> Result<&Arc<ContainerView>, Unresolved> {
        let from: ContainerId = lowest(text)?;
        unique(text, self.containers.range(from..).map(|(id, view)| (id.to_string(), view)))
    }

    /// The containers of a pod.
    pub fn containers_of(&self, pod: PodId) -> impl Iterator<Item = &Arc<ContainerView>> {
        self.containers.values().filter(move |view| view.pod == pod)
    }
}

/// The lowest id that begins with `text`.
fn lowest<T: std::str::FromStr>(text: &str) -> Result<T, Unresolved> {
    let hexadecimal = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.is_empty() || text.len() > 64 || !hexadecimal {
        return Err(Unresolved::Malformed);
    }
    format!("{text:0<64}").parse().map_err(|_| Unresolved::Malformed)
}

fn unique<'a, V>(text: &str, from_lowest: impl Iterator<Item = (String, &'a V)>) -> Result<&'a V, Unresolved> {
    let mut matching = from_lowest.take_while(|(id, _)| id.starts_with(text));
    match (matching.next(), matching.next()) {
        (Some((_, view)), None) => Ok(view),
        (None, _) => Err(Unresolved::Unknown),
        (Some(_), Some(_)) => Err(Unresolved::Ambiguous),
    }
}
