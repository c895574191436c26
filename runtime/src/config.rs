// SPDX-License-Identifier: Apache-2.0
//! The daemon's configuration: one typed value, read once.
//!
//! `keys` is the one table from which a file is read and the default file with its comments is printed.

mod keys;
mod print;
mod read;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

pub(crate) use print::print_default;
pub(crate) use read::{Faults, load};

#[cfg(test)]
pub(crate) use read::parse;

use crate::subnet::Subnet;

/// Everything that can be configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Config {
    /// What survives a reboot.
    pub(crate) root: PathBuf,
    /// What does not.
    pub(crate) state: PathBuf,
    /// `[server]`.
    pub(crate) server: Server,
    /// `[cni]`.
    pub(crate) cni: Cni,
    /// `[network]`.
    pub(crate) network: Network,
    /// `[image]`.
    pub(crate) image: Image,
    /// `[cgroup]`.
    pub(crate) cgroup: Cgroup,
    /// `[log]`.
    pub(crate) log: Log,
}

/// Where calls come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Server {
    /// The unix socket.
    pub(crate) socket: PathBuf,
}

/// Network plugins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cni {
    /// Where configurations are looked for.
    pub(crate) conf_dir: PathBuf,
    /// Where plugins are looked for, in this order.
    pub(crate) bin_dirs: Vec<PathBuf>,
    /// How long ADD and DEL may each take.
    #[serde(rename = "timeout_seconds", serialize_with = "seconds")]
    pub(crate) timeout: Duration,
}

/// Network namespaces and the network of `--embedded-network`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Network {
    /// Where network namespaces are pinned.
    pub(crate) netns_dir: PathBuf,
    /// Pods' addresses with `--embedded-network`.
    #[serde(serialize_with = "text")]
    pub(crate) embedded_subnet: Subnet,
    /// The bridge of `--embedded-network`.
    pub(crate) embedded_bridge: String,
}

/// Images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Image {
    /// Where `<host>/hosts.toml` are looked for.
    pub(crate) registry_config: PathBuf,
    /// Layers of one pull that are fetched at a time.
    pub(crate) max_parallel_layers: usize,
    /// How long a registry may send nothing.
    #[serde(rename = "progress_timeout_seconds", serialize_with = "seconds")]
    pub(crate) progress_timeout: Duration,
    /// References that the kubelet's garbage collection leaves alone.
    pub(crate) pinned: Vec<String>,
}

/// Cgroups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cgroup {
    /// Who makes them.
    pub(crate) driver: CgroupDriver,
    /// The parent of pods whose request names none.
    pub(crate) parent: String,
}

/// Who makes cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CgroupDriver {
    /// husk itself, by directories.
    Cgroupfs,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Log {
    /// The least severe line that is written.
    pub(crate) level: LogLevel,
}

/// The least severe line that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    /// What failed.
    Error,
    /// What an operator should look into.
    Warn,
    /// Changes of state.
    Info,
    /// Decisions and calls.
    Debug,
    /// Everything.
    Trace,
}

/// The file name of the socket below `state`, unless a key says otherwise.
const SOCKET: &str = "husk.sock";

impl Default for Config {
    fn default() -> Self {
        let state = PathBuf::from("/run/husk");
        Self {
            root: PathBuf::from("/var/lib/husk"),
            server: Server { socket: state.join(SOCKET) },
            state,
            cni: Cni {
                conf_dir: PathBuf::from("/etc/cni/net.d"),
                bin_dirs: vec![PathBuf::from("/opt/cni/bin"), PathBuf::from("/usr/lib/cni")],
                timeout: Duration::from_secs(60),
            },
            network: Network {
                // Where multus, cilium and `ip netns` look.
                netns_dir: PathBuf::from("/run/netns"),
                embedded_subnet: value::EMBEDDED_SUBNET,
                embedded_bridge: "husk0".to_owned(),
            },
            image: Image {
                registry_config: PathBuf::from("/etc/husk/certs.d"),
                max_parallel_layers: 4,
                progress_timeout: Duration::from_secs(300),
                pinned: Vec::new(),
            },
            cgroup: Cgroup { driver: CgroupDriver::Cgroupfs, parent: "/husk".to_owned() },
            log: Log { level: LogLevel::Info },
        }
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

fn text<S: Serializer>(value: &Subnet, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
