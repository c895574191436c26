// SPDX-License-Identifier: Apache-2.0
//! Links and addresses of a namespace, as rtnetlink(7) reports them.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage};

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index in this namespace.
    pub index: u32,
    /// Its name, for example `eth0`.
    pub name: String,
    /// What the kernel calls its type (`veth`, `macvlan`); nothing for `lo` and physical devices.
    pub kind: Option<String>,
    /// Whether it is administratively up (IFF_UP).
    pub up: bool,
    /// Its hardware address, for links that have one of six bytes.
    pub mac: Option<MacAddress>,
    /// The largest packet in bytes.
    pub mtu_bytes: u32,
}

/// One address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address itself; on a point-to-point link, the local one.
    pub ip: IpAddr,
    /// The length of its network's prefix in bits.
    pub prefix_length: u8,
    /// How far it is valid.
    pub scope: Scope,
    /// Whether it can be used.
    pub readiness: Readiness,
}

/// How far an address is valid (rtnetlink(7), ifa_scope).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// Everywhere.
    Global,
    /// Within the site.
    Site,
    /// On the link only: fe80::/10 and 169.254.0.0/16.
    Link,
    /// Inside the namespace only: 127.0.0.1 and ::1.
    Host,
    /// Something else.
    Other,
}

/// Whether the kernel lets an address be used (IPv6 looks for duplicates first, RFC 4862).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can be used.
    Ready,
    /// The search for duplicates still runs.
    Tentative,
    /// A duplicate was found; the address does not work.
    Duplicate,
}

/// A hardware address of six bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Link {
    pub(crate) fn from_message(message: &LinkMessage) -> Option<Self> {
        let mut name = None;
        let mut kind = None;
        let mut mac = None;
        let mut mtu_bytes = 0;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(value) => name = Some(value.clone()),
                LinkAttribute::Mtu(value) => mtu_bytes = *value,
                LinkAttribute::Address(bytes) => {
                    mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddress);
                }
                LinkAttribute::LinkInfo(infos) => {
                    kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        Some(Self {
            index: message.header.index,
            name: name?,
            kind,
            up: message.header.flags.contains(LinkFlags::Up),
            mac,
            mtu_bytes,
        })
    }
}

impl Address {
    pub(crate) fn from_message(message: &AddressMessage) -> Option<Self> {
        let mut local = None;
        let mut address = None;
        let mut readiness = from_header(message.header.flags);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(value) => local = Some(*value),
                AddressAttribute::Address(value) => address = Some(*value),
                AddressAttribute::Flags(flags) => readiness = from_flags(*flags),
                _ => {}
            }
        }
        Some(Self {
            // On a point-to-point link IFA_ADDRESS is the peer's; IPv6 has IFA_ADDRESS alone.
            ip: local.or(address)?,
            prefix_length: message.header.prefix_len,
            scope: match message.header.scope {
                AddressScope::Universe => Scope::Global,
                AddressScope::Site => Scope::Site,
                AddressScope::Link => Scope::Link,
                AddressScope::Host => Scope::Host,
                _ => Scope::Other,
            },
            readiness,
        })
    }
}

fn from_header(flags: AddressHeaderFlags) -> Readiness {
    from_flags(AddressFlags::from_bits_retain(u32::from(flags.bits())))
}

fn from_flags(flags: AddressFlags) -> Readiness {
    if flags.contains(AddressFlags::Dadfailed) {
        Readiness::Duplicate
    } else if flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic) {
        Readiness::Tentative
    } else {
        Readiness::Ready
    }
}
