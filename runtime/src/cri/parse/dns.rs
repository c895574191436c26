// SPDX-License-Identifier: Apache-2.0
//! The resolver configuration.

use std::net::IpAddr;

use proto::cri;
use sandbox::config::Dns;

use super::{Field, Refusal, strings};

/// Reads `DNSConfig`. An empty one stays an empty one: it gives an empty `/etc/resolv.conf`.
pub(super) fn dns(field: &Field<'_>, config: &cri::DnsConfig) -> Result<Dns, Refusal> {
    Ok(Dns {
        servers: each(&field.then("servers"), &config.servers, server)?,
        searches: each(&field.then("searches"), &config.searches, word)?,
        options: each(&field.then("options"), &config.options, word)?,
    })
}

fn each(
    field: &Field<'_>,
    texts: &[String],
    check: fn(&Field<'_>, &str) -> Result<String, Refusal>,
) -> Result<Vec<String>, Refusal> {
    texts.iter().enumerate().map(|(index, text)| check(&field.at(index), text)).collect()
}

/// An address, with a zone perhaps (`fe80::1%eth0`): resolv.conf(5) knows no names here.
fn server(field: &Field<'_>, text: &str) -> Result<String, Refusal> {
    let text = word(field, text)?;
    let address = text.split_once('%').map_or(text.as_str(), |(address, _)| address);
    match address.parse::<IpAddr>() {
        Ok(_) => Ok(text),
        Err(_) => Err(field.invalid(format!("{text:?} is not an IP address"))),
    }
}

/// What stands between spaces in a line of resolv.conf.
fn word(field: &Field<'_>, text: &str) -> Result<String, Refusal> {
    let text = strings::one_line(field, text)?;
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(field.invalid(format!("{text:?} is not one word, which resolv.conf(5) takes here")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_addresses() {
        let config = cri::DnsConfig {
            servers: vec!["10.96.0.10".into(), "fe80::1%eth0".into(), "::1".into()],
            searches: vec!["default.svc.cluster.local".into(), ".".into()],
            options: vec!["ndots:5".into(), "edns0".into()],
        };
        let parsed = dns(&Field::of_request("dns_config"), &config).unwrap();
        assert_eq!(
            (parsed.servers, parsed.searches, parsed.options),
            (config.servers, config.searches, config.options)
        );
        let table: [(&str, &str, &str, &str); 7] = [
            ("1.1.1.1\nnameserver 6.6.6.6", "a", "b", "dns_config.servers[0]"),
            ("dns.example", "a", "b", "dns_config.servers[0]"),
            ("", "a", "b", "dns_config.servers[0]"),
            ("1.1.1.1", "a\nnameserver 6.6.6.6", "b", "dns_config.searches[0]"),
            ("1.1.1.1", "a b", "b", "dns_config.searches[0]"),
            ("1.1.1.1", "a", "b\r", "dns_config.options[0]"),
            ("1.1.1.1", "a", "b\0", "dns_config.options[0]"),
        ];
        for (server, search, option, field) in table {
            let config = cri::DnsConfig {
                servers: vec![server.into()],
                searches: vec![search.into()],
                options: vec![option.into()],
            };
            let refusal = dns(&Field::of_request("dns_config"), &config).unwrap_err().to_string();
            assert!(refusal.starts_with(field), "{refusal}");
        }
    }
}
