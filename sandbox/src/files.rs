// SPDX-License-Identifier: Apache-2.0
//! Files that husk makes for a pod: `hostname`, `hosts`, `resolv.conf`.
//!
//! What goes in has been checked for control characters at the edge; this module only arranges it.

use std::fmt::Write;
use std::net::IpAddr;

use crate::config::Dns;

/// The text of `/etc/hostname`.
pub(crate) fn hostname(name: &str) -> String {
    format!("{name}\n")
}

/// The text of `/etc/hosts` for a pod with a network of its own. The kubelet mounts one of its own over it; this is
/// for everybody else.
pub(crate) fn hosts(hostname: &str, ips: &[IpAddr]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
         ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for ip in ips {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{ip}\t{hostname}");
    }
    text
}

/// The text of `/etc/resolv.conf` (resolv.conf(5)); an empty configuration gives an empty file.
pub(crate) fn resolv_conf(dns: &Dns) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        let _ = writeln!(text, "search {}", dns.searches.join(" "));
    }
    for server in &dns.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !dns.options.is_empty() {
        let _ = writeln!(text, "options {}", dns.options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolver_lines_in_order() {
        let dns = Dns {
            servers: vec!["10.0.0.10".into(), "fd00::a".into()],
            searches: vec!["ns.svc.cluster.local".into(), "cluster.local".into()],
            options: vec!["ndots:5".into()],
        };
        let text =
            "search ns.svc.cluster.local cluster.local\nnameserver 10.0.0.10\nnameserver fd00::a\noptions ndots:5\n";
        assert_eq!(resolv_conf(&dns), text);
        assert_eq!(resolv_conf(&Dns::default()), "");
    }

    #[test]
    fn own_addresses_follow_localhost() {
        let text = hosts("web", &["10.1.0.2".parse().unwrap(), "fd00::2".parse().unwrap()]);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.1.0.2\tweb\nfd00::2\tweb\n"));
    }
}
