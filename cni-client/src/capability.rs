// SPDX-License-Identifier: Apache-2.0
//! Capability arguments: what a runtime decides per container and a plugin may ask for (CNI
//! CONVENTIONS.md, "Dynamic Plugin specific Fields (Capabilities / Runtime Configuration)").
//!
//! They reach a plugin as `runtimeConfig`, and only if its `capabilities` declare them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::limits;

/// All capability arguments of one attachment; what is not set is not passed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityArgs {
    /// `portMappings`: ports of the node that lead to the container.
    #[serde(rename = "portMappings", default, skip_serializing_if = "Vec::is_empty")]
    pub port_mappings: Vec<PortMapping>,
    /// `bandwidth`: limits of rate and burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// `dns`: the container's resolver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsArgs>,
    /// `ips`: addresses to give, with or without a prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<String>,
    /// `mac`: the hardware address to give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// `ipRanges`: sets of ranges to choose an address from, one address for each set.
    #[serde(rename = "ipRanges", default, skip_serializing_if = "Vec::is_empty")]
    pub ip_ranges: Vec<Vec<IpRange>>,
    /// `cgroupPath`: the cgroup of the pod.
    #[serde(rename = "cgroupPath", default, skip_serializing_if = "Option::is_none")]
    pub cgroup_path: Option<String>,
    /// `io.kubernetes.cri.pod-annotations`: the pod's annotations, as containerd passes them.
    #[serde(rename = "io.kubernetes.cri.pod-annotations", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_annotations: BTreeMap<String, String>,
    /// `aliases`: further names of the container on this network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

/// One port of the node that leads to one of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// The port on the node.
    pub host_port: u16,
    /// The port in the container.
    pub container_port: u16,
    /// The transport.
    pub protocol: Protocol,
    /// The node's address that it is bound to; on all of them when it is not set.
    #[serde(rename = "hostIP", default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
}

/// A transport.
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

/// Limits of the container's traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Into the container, in bits per second.
    #[serde(rename = "ingressRate", default, skip_serializing_if = "Option::is_none")]
    pub ingress_rate_bits: Option<u64>,
    /// How much may come at once, in bits.
    #[serde(rename = "ingressBurst", default, skip_serializing_if = "Option::is_none")]
    pub ingress_burst_bits: Option<u64>,
    /// Out of the container, in bits per second.
    #[serde(rename = "egressRate", default, skip_serializing_if = "Option::is_none")]
    pub egress_rate_bits: Option<u64>,
    /// How much may go at once, in bits.
    #[serde(rename = "egressBurst", default, skip_serializing_if = "Option::is_none")]
    pub egress_burst_bits: Option<u64>,
}

/// The container's resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsArgs {
    /// Addresses of name servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// Domains to try.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub searches: Vec<String>,
    /// Options as in resolv.conf(5).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// A range of addresses, as the host-local plugin takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpRange {
    /// The network, with its prefix.
    pub subnet: String,
    /// The first address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range_start: Option<IpAddr>,
    /// The last address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range_end: Option<IpAddr>,
    /// The gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

impl CapabilityArgs {
    /// Checks what can be wrong whatever the plugins are.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for more than a megabyte of them.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let bytes = serde_json::to_vec(self).map_or(usize::MAX, |json| json.len());
        if bytes > limits::CAPABILITY_BYTES {
            return Err(Error::InvalidInput {
                what: "the capability arguments",
                why: "together they have more than 1 MiB".into(),
            });
        }
        Ok(())
    }

    /// What a plugin that declares these capabilities is told.
    pub(crate) fn runtime_config(&self, declared: &BTreeSet<String>) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(all)) => all.into_iter().filter(|(name, _)| declared.contains(name)).collect(),
            // A struct of strings, numbers and lists always becomes an object.
            _ => Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(args: &CapabilityArgs, declared: &[&str], expected: &str) {
        let declared = declared.iter().map(|name| (*name).to_owned()).collect();
        let got = Value::Object(args.runtime_config(&declared));
        assert_eq!(got, serde_json::from_str::<Value>(expected).unwrap());
    }

    #[test]
    fn only_what_is_declared_and_set_is_passed() {
        let args = CapabilityArgs {
            port_mappings: vec![PortMapping {
                host_port: 8080,
                container_port: 80,
                protocol: Protocol::Tcp,
                host_ip: Some([127, 0, 0, 1].into()),
            }],
            mac: Some("02:00:00:00:00:01".into()),
            pod_annotations: [("a".to_owned(), "b".to_owned())].into(),
            bandwidth: Some(Bandwidth {
                ingress_rate_bits: Some(1000),
                ingress_burst_bits: Some(2000),
                ..Bandwidth::default()
            }),
            cgroup_path: Some("/kubepods/pod1".into()),
            ..CapabilityArgs::default()
        };
        check(&args, &[], "{}");
        check(&args, &["ips", "dns", "unknown"], "{}");
        check(
            &args,
            &["portMappings", "mac"],
            r#"{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":"127.0.0.1"}],
                "mac":"02:00:00:00:00:01"}"#,
        );
        check(
            &args,
            &["io.kubernetes.cri.pod-annotations", "bandwidth", "cgroupPath"],
            r#"{"io.kubernetes.cri.pod-annotations":{"a":"b"},"cgroupPath":"/kubepods/pod1",
                "bandwidth":{"ingressRate":1000,"ingressBurst":2000}}"#,
        );
    }

    #[test]
    fn every_capability_has_its_conventional_name() {
        let range = IpRange {
            subnet: "10.0.0.0/24".into(),
            range_start: Some([10, 0, 0, 5].into()),
            range_end: None,
            gateway: None,
        };
        let args = CapabilityArgs {
            dns: Some(DnsArgs { servers: vec!["10.0.0.10".into()], searches: vec!["svc".into()], options: vec![] }),
            ips: vec!["10.0.0.5/24".into()],
            ip_ranges: vec![vec![range]],
            aliases: vec!["db".into()],
            ..CapabilityArgs::default()
        };
        check(
            &args,
            &["dns", "ips", "ipRanges", "aliases"],
            r#"{"dns":{"servers":["10.0.0.10"],"searches":["svc"]},"ips":["10.0.0.5/24"],"aliases":["db"],
                "ipRanges":[[{"subnet":"10.0.0.0/24","rangeStart":"10.0.0.5"}]]}"#,
        );
        let text = serde_json::to_string(&args).unwrap();
        assert_eq!(serde_json::from_str::<CapabilityArgs>(&text).unwrap(), args);
    }

    #[test]
    fn too_much_is_refused() {
        let mut args = CapabilityArgs::default();
        args.pod_annotations.insert("a".into(), "x".repeat(2 << 20));
        assert!(args.check().is_err());
        args.pod_annotations.clear();
        assert!(args.check().is_ok());
    }
}
