// SPDX-License-Identifier: Apache-2.0
//! Pods' network by CNI: a pod's id is the container id of its attachment.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use cni_client::args::CniArgs;
use cni_client::capability::{Bandwidth, CapabilityArgs, DnsArgs, PortMapping, Protocol};
use cni_client::{Attach, Client, ContainerId, Error, InterfaceName, Kind};
use sandbox::PodId;
use sandbox::config;
use sandbox::ports::{AttachRequest, Attachment, Boxed, Network, PortError};

use super::backlog::Backlog;

/// The interface in a pod.
const INTERFACE: &str = "eth0";

/// How much may come at once where a rate is set, in bits: what containerd and CRI-O tell the plugin, since Kubernetes
/// has no word for it.
const BURST_BITS: u64 = i32::MAX as u64;

/// The node's network.
#[derive(Debug)]
pub(crate) struct CniNetwork {
    pub(crate) client: Arc<Client>,
    pub(crate) backlog: Arc<Backlog>,
}

impl Network for CniNetwork {
    fn attach(&self, request: AttachRequest) -> Boxed<'_, Result<Attachment, PortError>> {
        Box::pin(async move {
            let request = attach(request).map_err(|error| failed(&error))?;
            let attached = self.client.add(request).await.map_err(|error| failed(&error))?;
            Ok(Attachment { ips: attached.ips.iter().map(|ip| ip.address.ip).collect() })
        })
    }

    fn detach(&self, pod: PodId, netns: Option<PathBuf>) -> Boxed<'_, Result<(), PortError>> {
        Box::pin(async move {
            let id = container_id(pod).map_err(|error| failed(&error))?;
            let result = self.client.del(&id, netns.as_deref()).await;
            if result.is_err() {
                self.backlog.notice();
            }
            result.map_err(|error| failed(&error))
        })
    }

    fn attached(&self, pod: PodId) -> Option<Attachment> {
        let entry = self.client.attached(&container_id(pod).ok()?)?;
        let interface = entry.interface.clone();
        let result = cni_client::result::parse(entry.network.version, entry.result()?.get().as_bytes()).ok()?;
        let ips: Vec<IpAddr> = result.addresses_of(&interface).ok()?.iter().map(|ip| ip.address.ip).collect();
        Some(Attachment { ips })
    }
}

fn container_id(pod: PodId) -> Result<ContainerId, Error> {
    Ok(ContainerId::parse(&pod.to_string())?)
}

fn attach(request: AttachRequest) -> Result<Attach, Error> {
    let dns = request.dns.map(|dns| DnsArgs { servers: dns.servers, searches: dns.searches, options: dns.options });
    let mappings = request.port_mappings.iter().filter_map(port_mapping).collect();
    // The names that every runtime of Kubernetes passes; plugins that do not know one must say nothing.
    let args = [
        ("IgnoreUnknown", "1".to_owned()),
        ("K8S_POD_NAMESPACE", request.namespace),
        ("K8S_POD_NAME", request.name),
        ("K8S_POD_INFRA_CONTAINER_ID", request.pod.to_string()),
        ("K8S_POD_UID", request.uid),
    ];
    Ok(Attach {
        container_id: container_id(request.pod)?,
        netns: request.netns,
        interface: InterfaceName::parse(INTERFACE)?,
        args: CniArgs::parse(args.map(|(key, value)| (key.to_owned(), value)).into())?,
        capabilities: CapabilityArgs {
            port_mappings: mappings,
            bandwidth: request.bandwidth.map(bandwidth),
            dns,
            cgroup_path: Some(request.cgroup_parent),
            pod_annotations: request.annotations,
            ..CapabilityArgs::default()
        },
    })
}

fn port_mapping(mapping: &config::PortMapping) -> Option<PortMapping> {
    Some(PortMapping {
        host_port: mapping.host_port?,
        container_port: mapping.container_port,
        protocol: match mapping.protocol {
            config::Protocol::Tcp => Protocol::Tcp,
            config::Protocol::Udp => Protocol::Udp,
            config::Protocol::Sctp => Protocol::Sctp,
        },
        host_ip: mapping.host_ip,
    })
}

fn bandwidth(asked: config::Bandwidth) -> Bandwidth {
    Bandwidth {
        ingress_rate_bits: asked.ingress_bits_per_second,
        ingress_burst_bits: asked.ingress_bits_per_second.map(|_| BURST_BITS),
        egress_rate_bits: asked.egress_bits_per_second,
        egress_burst_bits: asked.egress_bits_per_second.map(|_| BURST_BITS),
    }
}

fn failed(error: &Error) -> PortError {
    let kind = match error.kind() {
        // The node is not ready for pods, and will be when its network is installed.
        Kind::NotConfigured | Kind::PluginMissing => sandbox::Kind::Unavailable,
        Kind::InvalidInput => sandbox::Kind::InvalidInput,
        Kind::PluginFailed => sandbox::Kind::Internal,
        Kind::Timeout => sandbox::Kind::Timeout,
        // Disk, memory and what later versions of the client tell apart.
        _ => sandbox::Kind::Internal,
    };
    PortError { kind, message: error.to_line() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> AttachRequest {
        let mapping = |host_port| config::PortMapping {
            protocol: config::Protocol::Udp,
            container_port: 53,
            host_port,
            host_ip: Some([127, 0, 0, 1].into()),
        };
        AttachRequest {
            pod: "ab".repeat(32).parse().unwrap(),
            netns: "/run/netns/husk-1".into(),
            namespace: "default".into(),
            name: "web".into(),
            uid: String::new(),
            port_mappings: vec![mapping(Some(5353)), mapping(None)],
            annotations: [("a".to_owned(), "b".to_owned())].into(),
            dns: Some(config::Dns { servers: vec!["10.0.0.10".into()], ..config::Dns::default() }),
            bandwidth: Some(config::Bandwidth { ingress_bits_per_second: Some(1000), egress_bits_per_second: None }),
            cgroup_parent: "/kubepods/pod1".into(),
        }
    }

    #[test]
    fn a_pod_as_plugins_see_it() {
        let attach = attach(request()).unwrap();
        assert_eq!(attach.container_id.to_string(), "ab".repeat(32));
        assert_eq!(
            attach.args.to_variable(),
            format!(
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID=",
                "ab".repeat(32)
            )
        );
        let told = serde_json::to_value(&attach.capabilities).unwrap();
        let expected = serde_json::json!({
            "portMappings": [{"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"}],
            "bandwidth": {"ingressRate": 1000, "ingressBurst": 2_147_483_647},
            "dns": {"servers": ["10.0.0.10"]},
            "cgroupPath": "/kubepods/pod1",
            "io.kubernetes.cri.pod-annotations": {"a": "b"},
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn a_name_that_would_inject_an_argument_is_refused() {
        let hostile = AttachRequest { name: "a;K8S_POD_NAME=b".into(), ..request() };
        let error = attach(hostile).unwrap_err();
        assert_eq!(failed(&error).kind, sandbox::Kind::InvalidInput);
    }

    #[tokio::test]
    async fn without_a_configuration_a_pod_is_refused_and_a_detach_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        let settings = cni_client::Settings {
            conf_dir: dir.path().join("net.d"),
            bin_dirs: Vec::new(),
            ledger_dir: dir.path().join("ledger"),
            timeouts: cni_client::Timeouts::default(),
        };
        let client = Arc::new(Client::start(settings).await.unwrap());
        let network = CniNetwork { backlog: Arc::new(Backlog::new(Arc::clone(&client))), client };
        let pod = request().pod;
        assert_eq!(network.attached(pod), None);
        assert!(network.detach(pod, None).await.is_ok());
        let here = AttachRequest { netns: "/proc/self/ns/net".into(), ..request() };
        let refused = network.attach(here).await.unwrap_err();
        assert_eq!(refused.kind, sandbox::Kind::Unavailable, "{}", refused.message);
        assert!(refused.message.contains("net.d"), "{}", refused.message);
        assert_eq!(network.attached(pod), None);
    }
}
