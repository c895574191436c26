// SPDX-License-Identifier: Apache-2.0
//! What a container shall be (CRI `ContainerConfig`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{PidMode, Resources, Signal};

/// What makes two `CreateContainer` requests in one pod the same request (CRI `ContainerMetadata`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerKey {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.attempt`.
    pub attempt: u32,
}

impl fmt::Display for ContainerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (attempt {})", self.name, self.attempt)
    }
}

/// What a container shall be. Everything in it has been checked, but for what only the image or the disk can tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// Its metadata.
    pub key: ContainerKey,
    /// Its image.
    pub image: ImageRequest,
    /// Replaces the image's entrypoint and command when it is not empty.
    pub command: Vec<String>,
    /// Arguments to `command`, or to the image's entrypoint in place of its command.
    pub args: Vec<String>,
    /// The working directory, absolute; `None` for the image's.
    pub working_dir: Option<String>,
    /// Environment that goes over the image's, later ones over earlier ones.
    pub envs: Vec<Environment>,
    /// Bind mounts, in the order of the request.
    pub mounts: Vec<MountRequest>,
    /// Labels, returned unchanged.
    pub labels: BTreeMap<String, String>,
    /// Annotations, returned unchanged.
    pub annotations: BTreeMap<String, String>,
    /// The log file, relative to the pod's log directory; `None` for no log.
    pub log_path: Option<String>,
    /// Standard input.
    pub stdin: StdinRequest,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Its resources.
    pub resources: Resources,
    /// Its identity and confinement.
    pub security: SecurityRequest,
    /// The signal that stops it; `None` for the image's, else SIGTERM.
    pub stop_signal: Option<Signal>,
}

/// Which image (CRI `ImageSpec`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRequest {
    /// What to look up: an id or a reference.
    pub image: String,
    /// What the user wrote in the pod; empty when the client does not tell.
    pub user_specified: String,
    /// Annotations, returned unchanged.
    pub annotations: BTreeMap<String, String>,
}

/// One environment variable; the value is bytes and need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The name: not empty, without `=` and NUL.
    pub name: String,
    /// The value, without NUL.
    pub value: Vec<u8>,
}

/// A bind mount (CRI `Mount`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRequest {
    /// Where, in the container: absolute, without `..`.
    pub container_path: String,
    /// From where, on the host: absolute. It is touched by the launch alone, since it may be a dead volume.
    pub host_path: PathBuf,
    /// Whether it is read-only.
    pub readonly: bool,
}

/// Standard input (CRI `stdin`, `stdin_once`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StdinRequest {
    /// `/dev/null`.
    Closed,
    /// Open until the container ends.
    Open,
    /// Open until the first attached client leaves.
    Once,
}

/// Identity and confinement (CRI `LinuxContainerSecurityContext`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityRequest {
    /// Everything allowed; needs a privileged pod.
    pub privileged: bool,
    /// Who it runs as; `None` for the image's user.
    pub identity: Option<IdentityRequest>,
    /// Supplementary groups in addition to the primary one.
    pub supplemental_groups: Vec<u32>,
    /// Whether the root file system is read-only.
    pub readonly_rootfs: bool,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    /// Paths to hide; exactly these, since an empty list means `procMount: Unmasked`.
    pub masked_paths: Vec<String>,
    /// Paths to make read-only; exactly these.
    pub readonly_paths: Vec<String>,
    /// Changes to the default capabilities.
    pub capabilities: CapabilityChange,
    /// Pid namespace.
    pub pid: PidMode,
}

/// Who a container runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityRequest {
    /// `run_as_user`.
    pub uid: u32,
    /// `run_as_group`; `None` for the user's group in the image, else 0.
    pub gid: Option<u32>,
}

/// Changes to the default capabilities, as capability numbers (bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityChange {
    /// `ALL` was among the added.
    pub add_all: bool,
    /// The added ones, a bit per number.
    pub add: u64,
    /// `ALL` was among the dropped.
    pub drop_all: bool,
    /// The dropped ones, a bit per number.
    pub drop: u64,
}
