// SPDX-License-Identifier: Apache-2.0
//! F-CNIRES: what a plugin prints on ADD, read as every version of the specification.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cni_client::result::{self, AddResult, Cidr};
use cni_client::{InterfaceName, SpecVersion};
use serde_json::value::RawValue;

use crate::{Verdict, limits, message};

const VERSIONS: [SpecVersion; 5] =
    [SpecVersion::V0_3_0, SpecVersion::V0_3_1, SpecVersion::V0_4_0, SpecVersion::V1_0_0, SpecVersion::V1_1_0];

/// Reads `data` in every version. The verdict is whether any version takes it.
///
/// # Panics
/// When a result has an address that no container can have, more of anything than promised, or isn't handed on as it came.
pub fn run(data: &[u8]) -> Verdict {
    let mut verdict = Verdict::Refused;
    for version in VERSIONS {
        match result::parse(version, data) {
            Ok(parsed) => {
                check(version, data, &parsed);
                verdict = Verdict::Accepted;
            }
            Err(error) => message::check(&error),
        }
    }
    verdict
}

fn check(version: SpecVersion, data: &[u8], parsed: &AddResult) {
    assert!(
        parsed.ips.len() <= limits::CNI_ADDRESSES && parsed.interfaces.len() <= limits::CNI_ADDRESSES,
        "too many addresses"
    );
    assert!(parsed.routes.len() <= limits::CNI_ROUTES, "too many routes");
    for ip in &parsed.ips {
        check_address(ip.address);
        assert!(ip.interface.is_none_or(|index| index < parsed.interfaces.len()), "an address is on no interface");
    }
    for interface in &parsed.interfaces {
        assert!(!interface.name.contains(char::is_control), "an interface has the name {:?}", interface.name);
        assert!(
            interface.mac.as_ref().is_none_or(|mac| mac.len() <= 59 && mac.is_ascii()),
            "a hardware address is none"
        );
    }
    let dns = &parsed.dns;
    for word in dns.nameservers.iter().chain(&dns.domain).chain(&dns.search).chain(&dns.options) {
        // One of these in resolv.conf would add a line or a word.
        assert!(!word.contains(|c: char| c.is_control() || c.is_whitespace()), "a DNS entry is {word:?}");
    }
    check_raw(version, data, parsed);
    let name = InterfaceName::parse("eth0").expect("it is a name");
    match parsed.addresses_of(&name) {
        Ok(addresses) => assert!(!addresses.is_empty() && addresses.iter().all(|ip| parsed.ips.contains(ip))),
        Err(error) => message::check(&error),
    }
}

fn check_address(address: Cidr) {
    let longest = if address.ip.is_ipv4() { 32 } else { 128 };
    assert!(address.prefix_length <= longest, "{address} has a prefix that is too long");
    let ip = address.ip;
    assert!(!ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast(), "no container has the address {ip}");
    assert!(!matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()), "{ip} is another family in disguise");
    assert_eq!(address.to_string().parse(), Ok(address), "printing changed the address");
}

/// The next plugin gets the answer as it was written, or with the version added where it was missing.
fn check_raw(version: SpecVersion, data: &[u8], parsed: &AddResult) {
    let raw = parsed.raw().get();
    let text = std::str::from_utf8(data).expect("accepted JSON is UTF-8").trim_matches([' ', '\t', '\r', '\n']);
    let mut expected = keys(text);
    if matches!(expected.get("cniVersion").copied(), None | Some("null" | "\"\"")) {
        let version = format!("\"{version}\"");
        expected.insert("cniVersion".into(), &version);
        assert_eq!(keys(raw), expected, "adding the version changed something else");
    } else {
        assert_eq!(raw, text, "the answer is not handed on as it was written");
    }
    let again = result::parse(version, raw.as_bytes()).unwrap_or_else(|error| panic!("{raw} is refused: {error}"));
    assert_eq!((again.ips, again.interfaces), (parsed.ips.clone(), parsed.interfaces.clone()));
    assert_eq!((again.routes, again.dns), (parsed.routes.clone(), parsed.dns.clone()));
}

/// The keys of an object with their values as they are written: a `Value` would lose numbers that are large or finely written.
fn keys(object: &str) -> BTreeMap<String, &str> {
    let keys: BTreeMap<String, &RawValue> = serde_json::from_str(object).expect("a result is an object");
    keys.into_iter().map(|(key, value)| (key, value.get())).collect()
}
