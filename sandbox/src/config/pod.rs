// SPDX-License-Identifier: Apache-2.0
//! What a pod sandbox shall be (CRI `PodSandboxConfig`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Resources;

/// What makes two `RunPodSandbox` requests the same request (CRI `PodSandboxMetadata`). The kubelet raises `attempt`
/// for every new sandbox of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodKey {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.attempt`.
    pub attempt: u32,
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} (uid {}, attempt {})", self.namespace, self.name, self.uid, self.attempt)
    }
}

/// What a pod sandbox shall be. Everything in it has been checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodConfig {
    /// Its metadata.
    pub key: PodKey,
    /// The host name; `None` for the host's own (host network) or, with a network of its own, one made from the id.
    pub hostname: Option<String>,
    /// Where the logs of its containers go; `None` for no logs.
    pub log_directory: Option<PathBuf>,
    /// The resolver configuration; `None` copies the host's `/etc/resolv.conf`.
    pub dns: Option<Dns>,
    /// Port mappings, those without a host port too.
    pub port_mappings: Vec<PortMapping>,
    /// Labels, returned unchanged.
    pub labels: BTreeMap<String, String>,
    /// Annotations, returned unchanged.
    pub annotations: BTreeMap<String, String>,
    /// Rates from the annotations `kubernetes.io/{ingress,egress}-bandwidth`.
    pub bandwidth: Option<Bandwidth>,
    /// The cgroup below which the pod lives, in cgroupfs form; `None` for husk's default.
    pub cgroup_parent: Option<String>,
    /// Network namespace.
    pub network: NetworkMode,
    /// Pid namespace mode that containers get unless they ask for another.
    pub pid: PidMode,
    /// Ipc namespace.
    pub ipc: Sharing,
    /// Whether privileged containers are allowed.
    pub privileged: bool,
    /// The sum of the containers' resources, for information only (CRI `linux.resources`).
    pub resources: Option<Resources>,
    /// The pod's overhead, for information only (CRI `linux.overhead`).
    pub overhead: Option<Resources>,
    /// `runtime_handler` as asked; empty for the default.
    pub runtime_handler: String,
}

/// The resolver configuration (CRI `DNSConfig`), free of control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The `search` line.
    pub searches: Vec<String>,
    /// The `options` line.
    pub options: Vec<String>,
}

/// A port of the pod (CRI `PortMapping`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port in the pod, 1 to 65535.
    pub container_port: u16,
    /// Port on the host; `None` for no mapping.
    pub host_port: Option<u16>,
    /// Address on the host; `None` for all.
    pub host_ip: Option<IpAddr>,
}

/// Transport protocols of port mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The name that CNI's `portMappings` uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// Rates of a pod, in bits a second; `None` for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Towards the pod.
    pub ingress_bits_per_second: Option<u64>,
    /// From the pod.
    pub egress_bits_per_second: Option<u64>,
}

/// Network namespace of a pod (CRI `NamespaceOption.network`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// One of its own.
    Pod,
    /// The host's; the host's uts namespace too.
    Node,
}

/// Whether a namespace is the pod's or the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Shared by the containers of the pod.
    Pod,
    /// The host's.
    Node,
}

/// Pid namespace of a container (CRI `NamespaceOption.pid`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PidMode {
    /// Shared by the containers of the pod, with pause as process 1.
    Pod,
    /// One per container.
    Container,
    /// The host's.
    Node,
}
