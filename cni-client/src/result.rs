// SPDX-License-Identifier: Apache-2.0
//! What a plugin answers to ADD: CNI "Section 5: Result Types", "ADD Success".
//!
//! Strict where husk uses a value, and blind to the rest: the bytes are kept and handed on as
//! `prevResult` unchanged.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::limits;
use crate::names::InterfaceName;
use crate::version::SpecVersion;

/// The answer of one plugin, or of a whole list (that of its last plugin).
#[derive(Clone, Debug)]
pub struct AddResult {
    /// All interfaces, on the node and in the container.
    pub interfaces: Vec<Interface>,
    /// All addresses, in the plugin's order.
    pub ips: Vec<IpConfig>,
    /// The routes that were added.
    pub routes: Vec<Route>,
    /// What the network says about DNS.
    pub dns: Dns,
    raw: Box<RawValue>,
}

/// An interface that the plugins made or used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address, where it has one.
    pub mac: Option<String>,
    /// The container's namespace (or the hypervisor's word for it); nothing for one on the node.
    pub sandbox: Option<String>,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpConfig {
    /// Which of the interfaces has it, as an index that is in range.
    pub interface: Option<usize>,
    /// The address and its network's prefix.
    pub address: Cidr,
    /// The gateway of its network.
    pub gateway: Option<IpAddr>,
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub destination: Cidr,
    /// Through which gateway; nothing means the network's own.
    pub gateway: Option<IpAddr>,
}

/// What a network says about DNS. It is the caller's choice to use it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses of name servers.
    pub nameservers: Vec<String>,
    /// The local domain.
    pub domain: Option<String>,
    /// Domains to try.
    pub search: Vec<String>,
    /// Options as in resolv.conf(5).
    pub options: Vec<String>,
}

/// An address with the length of its network's prefix in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The address.
    pub ip: IpAddr,
    /// 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub prefix_length: u8,
}

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultError {
    /// It is no JSON, or a key has the wrong type.
    #[error("it is not a CNI result ({0})")]
    Syntax(serde_json::Error),
    /// It has another version than it was asked for.
    #[error("it has version {got:?} instead of {wanted}")]
    Version {
        /// What the plugin was told.
        wanted: SpecVersion,
        /// What it wrote.
        got: String,
    },
    /// A list is longer than it may be.
    #[error("it has more than {allowed} {what}")]
    TooMany {
        /// Which list.
        what: &'static str,
        /// How many it may have.
        allowed: usize,
    },
    /// A value is not an address, or not one that a container can have.
    #[error("{what} {value:?} is not valid")]
    Value {
        /// What it should be.
        what: &'static str,
        /// What was written, shortened.
        value: String,
    },
    /// An address is on an interface that is not in the list.
    #[error("an address is on interface {index} of {count}")]
    Index {
        /// The index, from 0.
        index: usize,
        /// How many interfaces there are.
        count: usize,
    },
    /// No address is on the interface that was asked for.
    #[error("it gives no address to the interface {0}")]
    NoAddress(InterfaceName),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "cniVersion")]
    version: Option<String>,
    interfaces: Option<Vec<InterfaceAnswer>>,
    ips: Option<Vec<IpAnswer>>,
    routes: Option<Vec<RouteAnswer>>,
    dns: Option<DnsAnswer>,
}

#[derive(Deserialize)]
struct InterfaceAnswer {
    name: String,
    mac: Option<String>,
    sandbox: Option<String>,
}

#[derive(Deserialize)]
struct IpAnswer {
    /// Up to 0.4.0.
    version: Option<String>,
    interface: Option<usize>,
    address: String,
    gateway: Option<String>,
}

#[derive(Deserialize)]
struct RouteAnswer {
    dst: String,
    gw: Option<String>,
}

#[derive(Deserialize)]
struct DnsAnswer {
    nameservers: Option<Vec<String>>,
    domain: Option<String>,
    search: Option<Vec<String>>,
    options: Option<Vec<String>>,
}

/// Reads the answer of a plugin that was spoken to in `wanted`. Pure.
///
/// # Errors
/// When it is no JSON object, has another version, more of anything than it may have, an address
/// that is none, or an index out of range. A missing `cniVersion` means the one that was asked for.
pub fn parse(wanted: SpecVersion, bytes: &[u8]) -> Result<AddResult, ResultError> {
    let raw: &RawValue = serde_json::from_slice(bytes).map_err(ResultError::Syntax)?;
    let answer: Answer = serde_json::from_str(raw.get()).map_err(ResultError::Syntax)?;
    let raw = match answer.version.as_deref() {
        // The reference library does the same, since the next plugin wants to see one.
        None | Some("") => with_version(raw, wanted)?,
        Some(version) if version == wanted.as_str() => raw.to_owned(),
        Some(version) => {
            return Err(ResultError::Version { wanted, got: shorten(version) });
        }
    };
    let interfaces = read_all(answer.interfaces, "interfaces", limits::INTERFACES, interface)?;
    let count = interfaces.len();
    Ok(AddResult {
        interfaces,
        ips: read_all(answer.ips, "addresses", limits::IPS, |ip| ip_config(ip, wanted, count))?,
        routes: read_all(answer.routes, "routes", limits::ROUTES, route)?,
        dns: answer.dns.map(dns).transpose()?.unwrap_or_default(),
        raw,
    })
}

impl AddResult {
    /// The answer as it was written.
    pub fn raw(&self) -> &RawValue {
        &self.raw
    }

    /// The addresses of the container's interface of this name, in the plugin's order. One without an
    /// interface counts too: some plugins list none.
    ///
    /// # Errors
    /// [`ResultError::NoAddress`] when there is none.
    pub fn addresses_of(&self, name: &InterfaceName) -> Result<Vec<IpConfig>, ResultError> {
        let ips: Vec<IpConfig> = self
            .ips
            .iter()
            .filter(|ip| match ip.interface.and_then(|at| self.interfaces.get(at)) {
                Some(interface) => interface.name == name.as_str() && interface.sandbox.is_some(),
                None => true,
            })
            .cloned()
            .collect();
        if ips.is_empty() {
            return Err(ResultError::NoAddress(name.clone()));
        }
        Ok(ips)
    }
}

fn with_version(raw: &RawValue, version: SpecVersion) -> Result<Box<RawValue>, ResultError> {
    let mut keys: BTreeMap<String, Box<RawValue>> = serde_json::from_str(raw.get()).map_err(ResultError::Syntax)?;
    let value = serde_json::value::to_raw_value(&version).map_err(ResultError::Syntax)?;
    keys.insert("cniVersion".into(), value);
    serde_json::value::to_raw_value(&keys).map_err(ResultError::Syntax)
}

fn read_all<A, T>(
    answers: Option<Vec<A>>,
    what: &'static str,
    allowed: usize,
    read: impl Fn(A) -> Result<T, ResultError>,
) -> Result<Vec<T>, ResultError> {
    let answers = answers.unwrap_or_default();
    if answers.len() > allowed {
        return Err(ResultError::TooMany { what, allowed });
    }
    answers.into_iter().map(read).collect()
}

fn interface(answer: InterfaceAnswer) -> Result<Interface, ResultError> {
    let mac = answer.mac.filter(|mac| !mac.is_empty());
    if let Some(mac) = &mac {
        // Infiniband has 20 bytes.
        let digits = mac.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'-'));
        if !digits || mac.len() > 59 {
            return Err(invalid("the hardware address", mac));
        }
    }
    let sandbox = answer.sandbox.filter(|sandbox| !sandbox.is_empty());
    for text in sandbox.iter().chain([&answer.name]) {
        if text.len() > 4096 || text.chars().any(char::is_control) {
            return Err(invalid("the interface", text));
        }
    }
    Ok(Interface { name: answer.name, mac, sandbox })
}

fn ip_config(answer: IpAnswer, wanted: SpecVersion, interfaces: usize) -> Result<IpConfig, ResultError> {
    let address: Cidr = answer.address.parse().map_err(|()| invalid("the address", &answer.address))?;
    if !can_be_a_containers(address.ip) {
        return Err(invalid("the address", &answer.address));
    }
    // Up to 0.4.0 the family is written beside the address.
    if let (true, Some(version)) = (wanted < SpecVersion::V1_0_0, &answer.version) {
        let family = if address.ip.is_ipv4() { "4" } else { "6" };
        if version != family {
            return Err(invalid("the IP version", version));
        }
    }
    if let Some(index) = answer.interface
        && index >= interfaces
    {
        return Err(ResultError::Index { index, count: interfaces });
    }
    Ok(IpConfig { interface: answer.interface, address, gateway: gateway(answer.gateway)? })
}

fn route(answer: RouteAnswer) -> Result<Route, ResultError> {
    Ok(Route {
        destination: answer.dst.parse().map_err(|()| invalid("the route", &answer.dst))?,
        gateway: gateway(answer.gw)?,
    })
}

fn dns(answer: DnsAnswer) -> Result<Dns, ResultError> {
    let list = |entries: Option<Vec<String>>| {
        read_all(entries, "DNS entries", limits::DNS_ENTRIES, |entry: String| {
            if entry.len() > 256 || entry.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return Err(invalid("the DNS entry", &entry));
            }
            Ok(entry)
        })
    };
    let domain = answer.domain.filter(|domain| !domain.is_empty());
    Ok(Dns {
        nameservers: list(answer.nameservers)?,
        domain: list(domain.map(|domain| vec![domain]))?.pop(),
        search: list(answer.search)?,
        options: list(answer.options)?,
    })
}

fn gateway(text: Option<String>) -> Result<Option<IpAddr>, ResultError> {
    match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => Ok(Some(text.parse().map_err(|_| invalid("the gateway", text))?)),
    }
}

/// What the kubelet would take for the pod's own address and send traffic to.
fn can_be_a_containers(ip: IpAddr) -> bool {
    let mapped = matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || mapped || broadcast)
}

impl FromStr for Cidr {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (ip, length) = text.split_once('/').ok_or(())?;
        let ip: IpAddr = ip.parse().map_err(|_| ())?;
        // Digits alone: the standard library would take a plus sign too.
        if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
            return Err(());
        }
        let prefix_length: u8 = length.parse().map_err(|_| ())?;
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        if prefix_length > longest {
            return Err(());
        }
        Ok(Self { ip, prefix_length })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix_length)
    }
}

fn invalid(what: &'static str, value: &str) -> ResultError {
    ResultError::Value { what, value: shorten(value) }
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
