// SPDX-License-Identifier: Apache-2.0
//! Port mappings.

use proto::cri;
use sandbox::config::{PortMapping, Protocol};

use super::{Field, Refusal};

/// Reads `port_mappings`. Those without a host port are kept: they tell what the pod listens on.
pub(super) fn port_mappings(field: &Field<'_>, mappings: &[cri::PortMapping]) -> Result<Vec<PortMapping>, Refusal> {
    mappings.iter().enumerate().map(|(index, mapping)| port_mapping(&field.at(index), mapping)).collect()
}

fn port_mapping(field: &Field<'_>, mapping: &cri::PortMapping) -> Result<PortMapping, Refusal> {
    let protocol = match cri::Protocol::try_from(mapping.protocol) {
        Ok(cri::Protocol::Tcp) => Protocol::Tcp,
        Ok(cri::Protocol::Udp) => Protocol::Udp,
        Ok(cri::Protocol::Sctp) => Protocol::Sctp,
        Err(_) => return Err(field.then("protocol").invalid(format!("{} is not a protocol", mapping.protocol))),
    };
    let port = |name: &'static str, number: i32| match u16::try_from(number) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(field.then(name).invalid(format!("{number} is not a port; ports are 1 to 65535"))),
    };
    Ok(PortMapping {
        protocol,
        container_port: port("container_port", mapping.container_port)?,
        // 0 means "no mapping", not "choose one".
        host_port: if mapping.host_port == 0 { None } else { Some(port("host_port", mapping.host_port)?) },
        host_ip: match mapping.host_ip.as_str() {
            "" => None,
            text => match text.parse() {
                Ok(address) => Some(address),
                Err(_) => return Err(field.then("host_ip").invalid(format!("{text:?} is not an IP address"))),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(protocol: i32, container_port: i32, host_port: i32, host_ip: &str) -> cri::PortMapping {
        cri::PortMapping { protocol, container_port, host_port, host_ip: host_ip.into() }
    }

    #[test]
    fn ports() {
        let field = Field::of_request("port_mappings");
        let good = [mapping(0, 80, 8080, ""), mapping(1, 65535, 0, "127.0.0.1"), mapping(2, 1, 1, "::1")];
        let parsed = port_mappings(&field, &good).unwrap();
        assert_eq!((parsed[0].host_port, parsed[0].host_ip), (Some(8080), None));
        assert_eq!((parsed[1].host_port, parsed[1].protocol), (None, Protocol::Udp));
        assert_eq!(parsed[2].host_ip, Some("::1".parse().unwrap()));
        let table = [
            (mapping(3, 80, 0, ""), "protocol"),
            (mapping(-1, 80, 0, ""), "protocol"),
            (mapping(0, 0, 80, ""), "container_port"),
            (mapping(0, -80, 80, ""), "container_port"),
            (mapping(0, 65536, 80, ""), "container_port"),
            (mapping(0, 80, -1, ""), "host_port"),
            (mapping(0, 80, i32::MAX, ""), "host_port"),
            (mapping(0, 80, 80, "localhost"), "host_ip"),
            (mapping(0, 80, 80, "1.2.3.4\0"), "host_ip"),
            (mapping(0, 80, 80, "1.2.3.4/24"), "host_ip"),
        ];
        for (wrong, name) in table {
            let refusal = port_mappings(&field, &[good[0].clone(), wrong]).unwrap_err().to_string();
            assert!(refusal.starts_with(&format!("port_mappings[1].{name}: ")), "{refusal}");
        }
    }
}
