// SPDX-License-Identifier: Apache-2.0
//! Results of every version, good and bad.

use super::*;

fn eth0() -> InterfaceName {
    InterfaceName::parse("eth0").unwrap()
}

#[track_caller]
fn refused(version: SpecVersion, text: &str, because: &str) {
    let error = parse(version, text.as_bytes()).unwrap_err().to_string();
    assert!(error.contains(because), "{text}: {error}");
}

/// An address alone, in the newest version.
#[track_caller]
fn check_address(address: &str, expected: Option<&str>) {
    let text = format!(r#"{{"cniVersion":"1.1.0","ips":[{{"address":{address:?}}}]}}"#);
    let got = parse(SpecVersion::V1_1_0, text.as_bytes()).ok().map(|result| result.ips[0].address.to_string());
    assert_eq!(got.as_deref(), expected, "{address}");
}

#[test]
fn a_dual_stack_result_of_each_generation() {
    let old = r#"{"cniVersion":"0.4.0",
        "interfaces":[{"name":"cni0","mac":"02:00:00:00:00:01"},
                      {"name":"eth0","mac":"02:00:00:00:00:02","sandbox":"/run/netns/x"}],
        "ips":[{"version":"6","interface":1,"address":"fd00::5/64","gateway":"fd00::1"},
               {"version":"4","interface":1,"address":"10.1.0.5/16","gateway":"10.1.0.1"}],
        "routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0","gw":"fd00::1"}],
        "dns":{"nameservers":["10.0.0.10"],"domain":"d","search":["s"],"options":["ndots:5"]}}"#;
    let new = old.replace(r#""version":"6","#, "").replace(r#""version":"4","#, "");
    for (version, text) in [
        (SpecVersion::V0_3_0, old.replace("0.4.0", "0.3.0")),
        (SpecVersion::V0_3_1, old.replace("0.4.0", "0.3.1")),
        (SpecVersion::V0_4_0, old.to_owned()),
        (SpecVersion::V1_0_0, new.replace("0.4.0", "1.0.0")),
        (SpecVersion::V1_1_0, new.replace("0.4.0", "1.1.0")),
    ] {
        let result = parse(version, text.as_bytes()).unwrap();
        assert_eq!(result.raw().get(), text);
        let ips = result.addresses_of(&eth0()).unwrap();
        let ips: Vec<String> = ips.iter().map(|ip| ip.address.to_string()).collect();
        assert_eq!(ips, ["fd00::5/64", "10.1.0.5/16"], "order is the plugin's");
        assert_eq!(result.interfaces[0].sandbox, None);
        assert_eq!(result.routes[1].gateway, Some("fd00::1".parse().unwrap()));
        assert_eq!(result.dns.domain.as_deref(), Some("d"));
    }
}

#[test]
fn unknown_keys_and_numbers_pass_through_unchanged() {
    let text = r#"{"cniVersion":"1.0.0", "x":{"y":1e400}, "ips":null,"n":123456789012345678901}"#;
    let result = parse(SpecVersion::V1_0_0, text.as_bytes()).unwrap();
    assert_eq!(result.raw().get(), text);
    let without = parse(SpecVersion::V1_0_0, br#"{"x":1e400,"dns":{}}"#).unwrap();
    assert_eq!(without.raw().get(), r#"{"cniVersion":"1.0.0","dns":{},"x":1e400}"#);
}

#[test]
fn addresses() {
    check_address("10.0.0.1/8", Some("10.0.0.1/8"));
    check_address("10.0.0.1/32", Some("10.0.0.1/32"));
    check_address("fe80::1/64", Some("fe80::1/64"));
    check_address("2001:db8::1/128", Some("2001:db8::1/128"));
    for bad in [
        "",
        "10.0.0.1",
        "10.0.0.1/",
        "10.0.0.1/33",
        "10.0.0.1/+8",
        "10.0.0.1/-1",
        "10.0.0/8",
        "010.0.0.1/8",
        "::1/129",
        "fd00::1%eth0/64",
        "10.0.0.1/8/8",
        " 10.0.0.1/8",
        "0.0.0.0/0",
        "::/0",
        "127.0.0.1/8",
        "::1/128",
        "224.0.0.1/24",
        "ff02::1/16",
        "255.255.255.255/32",
        "::ffff:10.0.0.1/96",
        "10.0.0.1/256",
    ] {
        check_address(bad, None);
    }
}

#[test]
fn only_the_containers_interface_counts() {
    let result = |interfaces: &str, ips: &str| {
        let text = format!(r#"{{"cniVersion":"1.0.0","interfaces":[{interfaces}],"ips":[{ips}]}}"#);
        parse(SpecVersion::V1_0_0, text.as_bytes()).unwrap()
    };
    let ip = r#"{"address":"10.0.0.1/8","interface":0}"#;
    let inside = r#"{"name":"eth0","sandbox":"/n"}"#;
    assert!(result(inside, ip).addresses_of(&eth0()).is_ok());
    assert!(result(r#"{"name":"cali0"}"#, r#"{"address":"10.0.0.1/8"}"#).addresses_of(&eth0()).is_ok());
    for (interfaces, ips) in [
        (inside, ""),
        ("", ""),
        (r#"{"name":"eth0"}"#, ip),
        (r#"{"name":"eth0","sandbox":""}"#, ip),
        (r#"{"name":"eth1","sandbox":"/n"}"#, ip),
    ] {
        let error = result(interfaces, ips).addresses_of(&eth0()).unwrap_err();
        assert!(matches!(error, ResultError::NoAddress(_)), "{interfaces} {ips}: {error}");
    }
}

#[test]
fn what_is_not_a_result_is_refused_with_the_reason() {
    let v = SpecVersion::V0_4_0;
    for garbage in ["", "{", "null", "[]x", "\u{0}", "Error: no", "{}{}", "\"x\""] {
        refused(v, garbage, "not a CNI result");
    }
    refused(v, &"[".repeat(100_000), "not a CNI result");
    refused(v, r#"{"cniVersion":"1.0.0"}"#, "instead of 0.4.0");
    refused(v, r#"{"cniVersion":4}"#, "invalid type");
    refused(v, r#"{"ips":[{}]}"#, "address");
    refused(v, r#"{"ips":[{"version":"6","address":"10.0.0.1/8"}]}"#, "the IP version \"6\"");
    refused(v, r#"{"ips":[{"address":"10.0.0.1/8","interface":0}]}"#, "interface 0 of 0");
    refused(v, r#"{"ips":[{"address":"10.0.0.1/8","interface":-1}]}"#, "not a CNI result");
    refused(v, r#"{"ips":[{"address":"10.0.0.1/8","gateway":"x"}]}"#, "the gateway \"x\"");
    refused(v, r#"{"routes":[{"dst":"x"}]}"#, "the route \"x\"");
    refused(v, r#"{"routes":[{"gw":"10.0.0.1"}]}"#, "dst");
    refused(v, r#"{"interfaces":[{"mac":"1"}]}"#, "name");
    refused(v, r#"{"interfaces":[{"name":"a","mac":"zz"}]}"#, "the hardware address");
    refused(v, r#"{"interfaces":[{"name":"a\u0000"}]}"#, "the interface");
    refused(v, r#"{"dns":{"search":["a\nnameserver 6.6.6.6"]}}"#, "the DNS entry");
    let many = |entry: &str, count: usize| vec![entry; count].join(",");
    let ips = many(r#"{"address":"10.0.0.1/8"}"#, 65);
    refused(v, &format!(r#"{{"ips":[{ips}]}}"#), "more than 64 addresses");
    let interfaces = many(r#"{"name":"a"}"#, 65);
    refused(v, &format!(r#"{{"interfaces":[{interfaces}]}}"#), "more than 64 interfaces");
    let routes = many(r#"{"dst":"10.0.0.0/8"}"#, 513);
    refused(v, &format!(r#"{{"routes":[{routes}]}}"#), "more than 512 routes");
}

#[test]
fn a_result_cut_at_any_byte_never_panics() {
    let text = br#"{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/n"}],
        "ips":[{"address":"10.0.0.1/8","interface":0,"gateway":"10.0.0.2"}],"routes":[{"dst":"::/0"}]}"#;
    for end in 0..text.len() {
        assert!(parse(SpecVersion::V1_0_0, &text[..end]).is_err(), "{end}");
    }
    assert!(parse(SpecVersion::V1_0_0, text).is_ok());
}
