// SPDX-License-Identifier: Apache-2.0
//! The reference plugins of Debian (1.1.1): addresses that are really there, traffic that really flows,
//! and nothing left afterwards.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use husk_cni_client::capability::{PortMapping, Protocol};
use husk_cni_client::{Attach, Attached, CapabilityArgs, Client, PluginType, Timeouts};
use husk_cni_client::{Settings, client::Verified};
use netns::{Link, Netns};
use tempfile::TempDir;

use crate::fake::{id, request};
use crate::node::{in_node, run, sysctl};

const PLUGINS: &str = "/usr/lib/cni";

/// A client with the reference plugins and one list.
struct Network {
    dir: TempDir,
    client: Client,
}

impl Network {
    async fn start(version: &str, plugins: &str) -> Self {
        assert!(Path::new(PLUGINS).join("bridge").exists(), "install containernetworking-plugins");
        let dir = tempfile::tempdir().unwrap();
        let conf_dir = dir.path().join("net.d");
        fs::create_dir(&conf_dir).unwrap();
        let plugins = plugins.replace("LEASES", dir.path().join("leases").to_str().unwrap());
        let list = format!(r#"{{"cniVersion":"{version}","name":"pods","plugins":[{plugins}]}}"#);
        fs::write(conf_dir.join("10-pods.conflist"), list).unwrap();
        let client = Client::start(Settings {
            conf_dir,
            bin_dirs: vec![PathBuf::from(PLUGINS)],
            ledger_dir: dir.path().join("ledger"),
            timeouts: Timeouts::default(),
        })
        .await
        .unwrap();
        Self { dir, client }
    }

    /// The addresses that are leased now.
    fn leases(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.dir.path().join("leases/pods")) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut leases: Vec<String> = names.filter(|name| name.parse::<IpAddr>().is_ok()).collect();
        leases.sort();
        leases
    }
}

const BRIDGE: &str = r#"{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"hairpinMode":true,
    "ipam":{"type":"host-local","dataDir":"LEASES","routes":[{"dst":"0.0.0.0/0"}],
            "ranges":[[{"subnet":"10.77.0.0/24"}]]}},
    {"type":"portmap","snat":true,"capabilities":{"portMappings":true}}"#;

const DUAL_STACK: &str = r#"{"type":"bridge","bridge":"cni0","isGateway":true,
    "ipam":{"type":"host-local","dataDir":"LEASES",
            "ranges":[[{"subnet":"fd77::/64"}],[{"subnet":"10.77.0.0/24"}]]}}"#;

fn pod(name: &str) -> (Netns, Attach) {
    let pin = PathBuf::from(format!("/run/netns/husk-{name}"));
    let netns = Netns::create(&pin).unwrap();
    let attach = Attach { netns: pin, ..request(name) };
    (netns, attach)
}

fn ip(attached: &Attached) -> IpAddr {
    attached.ips[0].address.ip
}

/// The links of the node, which is where this thread is.
fn node_links() -> Vec<String> {
    let text = run("ip", &["-o", "link", "show"]);
    let names = text.lines().filter_map(|line| line.split(": ").nth(1));
    names.map(|name| name.split('@').next().unwrap().to_owned()).collect()
}

fn assert_on_interface(netns: &Netns, attached: &Attached) {
    let there = netns.addresses("eth0").unwrap();
    for config in &attached.ips {
        let found = there
            .iter()
            .any(|address| address.ip == config.address.ip && address.prefix_length == config.address.prefix_length);
        assert!(found, "{config:?} is not among {there:?}");
    }
}

/// A server in one namespace that answers with the address of its client, once.
fn serve_once(server: &Netns, address: SocketAddr) -> thread::JoinHandle<()> {
    let listener = server.run(|| TcpListener::bind(address).unwrap()).unwrap();
    thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        stream.write_all(peer.ip().to_string().as_bytes()).unwrap();
    })
}

fn ask(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn two_pods_on_a_bridge_talk_and_leave_nothing() {
    in_node(|| async {
        let machine_forwards = sysctl("ipv4/ip_forward");
        let network = Network::start("1.0.0", BRIDGE).await;
        let (web, attach_web) = pod("web");
        let (client, attach_client) = pod("client");
        let attached_web = network.client.add(attach_web).await.unwrap();
        let attached_client = network.client.add(attach_client).await.unwrap();
        assert_on_interface(&web, &attached_web);
        assert_on_interface(&client, &attached_client);
        assert_eq!(network.leases(), ["10.77.0.2", "10.77.0.3"]);
        assert_eq!(machine_forwards, "0", "a new namespace does not forward");
        assert_eq!(sysctl("ipv4/ip_forward"), "1", "plugins run in the node of the test");
        assert_eq!(node_links().len(), 4, "lo, cni0 and two veths: {:?}", node_links());
        assert_eq!(network.client.check(&id("web")).await.unwrap(), Verified::Asked);

        let address = SocketAddr::new(ip(&attached_web), 8080);
        let server = serve_once(&web, address);
        let seen = client.run(|| ask(address)).unwrap();
        server.join().unwrap();
        assert_eq!(seen, ip(&attached_client).to_string(), "no NAT between pods");

        for (name, netns) in [("web", &web), ("client", &client)] {
            network.client.del(&id(name), Some(netns.path())).await.unwrap();
            network.client.del(&id(name), Some(netns.path())).await.unwrap();
            let left: Vec<Link> = netns.links().unwrap();
            assert_eq!(left.len(), 1, "{left:?}");
        }
        assert!(network.leases().is_empty());
        assert_eq!(node_links(), ["lo", "cni0"]);
        assert!(network.client.ledger().entries().is_empty());
    });
}

#[test]
fn a_host_port_leads_into_the_pod_until_del() {
    in_node(|| async {
        let network = Network::start("1.0.0", BRIDGE).await;
        let (web, mut attach) = pod("web");
        attach.capabilities = CapabilityArgs {
            port_mappings: vec![PortMapping {
                host_port: 18080,
                container_port: 80,
                protocol: Protocol::Tcp,
                host_ip: None,
            }],
            ..CapabilityArgs::default()
        };
        let attached = network.client.add(attach).await.unwrap();
        let server = serve_once(&web, SocketAddr::new(ip(&attached), 80));
        // The bridge's own address is one of the node's.
        let answer = ask("10.77.0.1:18080".parse().unwrap());
        server.join().unwrap();
        assert!(answer.parse::<IpAddr>().is_ok(), "{answer}");

        let rules = || run("iptables-save", &["-t", "nat"]).matches("18080").count();
        assert!(rules() > 0);
        network.client.del(&id("web"), Some(web.path())).await.unwrap();
        assert_eq!(rules(), 0);
        let refused = TcpStream::connect_timeout(&"10.77.0.1:18080".parse().unwrap(), Duration::from_secs(5));
        assert!(refused.is_err());
    });
}

#[test]
fn dual_stack_addresses_come_in_the_plugins_order() {
    in_node(|| async {
        for version in ["0.3.1", "0.4.0", "1.0.0"] {
            let network = Network::start(version, DUAL_STACK).await;
            let (netns, attach) = pod("dual");
            let attached = network.client.add(attach).await.unwrap();
            let ips: Vec<bool> = attached.ips.iter().map(|c| c.address.ip.is_ipv6()).collect();
            assert_eq!(ips, [true, false], "{version}");
            assert_on_interface(&netns, &attached);
            network.client.del(&id("dual"), Some(netns.path())).await.unwrap();
            assert!(network.leases().is_empty(), "{version}");
            Netns::remove(netns.path()).unwrap();
            run("ip", &["link", "del", "cni0"]);
        }
    });
}

#[test]
fn a_namespace_that_died_before_del_still_gives_its_address_back() {
    in_node(|| async {
        let network = Network::start("1.0.0", BRIDGE).await;
        let (netns, attach) = pod("gone");
        network.client.add(attach).await.unwrap();
        assert_eq!(network.leases().len(), 1);
        let pin = netns.path().to_owned();
        drop(netns);
        Netns::remove(&pin).unwrap();
        network.client.del(&id("gone"), Some(&pin)).await.unwrap();
        assert!(network.leases().is_empty());
        assert!(network.client.ledger().entries().is_empty());
    });
}

#[test]
fn no_address_is_left_over_when_the_second_plugin_fails() {
    in_node(|| async {
        let chain = format!(r#"{BRIDGE},{{"type":"tuning","sysctl":{{"net.no.such.key":"1"}}}}"#);
        let network = Network::start("1.0.0", &chain).await;
        let (netns, attach) = pod("half");
        let error = network.client.add(attach).await.unwrap_err().to_line();
        assert!(error.contains("tuning failed at ADD") && error.contains("no/such/key"), "{error}");
        assert!(network.leases().is_empty());
        assert_eq!(netns.links().unwrap().len(), 1);
        assert_eq!(node_links(), ["lo", "cni0"]);
        assert!(network.client.ledger().entries().is_empty());
    });
}

#[test]
fn an_exhausted_range_is_said_in_one_sentence() {
    in_node(|| async {
        let tiny = BRIDGE.replace("10.77.0.0/24", "10.77.0.0/30");
        let network = Network::start("1.0.0", &tiny).await;
        let (_first, attach) = pod("first");
        network.client.add(attach).await.unwrap();
        let (_second, attach) = pod("second");
        let error = network.client.add(attach).await.unwrap_err().to_string();
        assert!(error.starts_with("the CNI plugin bridge failed at ADD: "), "{error}");
        assert!(error.contains("no IP addresses available in range set"), "{error}");
        assert_eq!(network.leases(), ["10.77.0.2"]);
    });
}

#[test]
fn macvlan_on_a_veth() {
    in_node(|| async {
        run("ip", &["link", "add", "up0", "type", "veth", "peer", "name", "wire0"]);
        run("ip", &["link", "set", "up0", "up"]);
        run("ip", &["link", "set", "wire0", "up"]);
        let network = Network::start(
            "0.4.0",
            r#"{"type":"macvlan","master":"up0","mode":"bridge",
                "ipam":{"type":"host-local","dataDir":"LEASES","subnet":"10.78.0.0/24"}}"#,
        )
        .await;
        let (one, attach_one) = pod("one");
        let (two, attach_two) = pod("two");
        let attached = network.client.add(attach_one).await.unwrap();
        let other = network.client.add(attach_two).await.unwrap();
        assert_on_interface(&one, &attached);
        let kinds: Vec<_> = one.links().unwrap().into_iter().filter_map(|l| l.kind).collect();
        assert_eq!(kinds, ["macvlan"]);
        let address = SocketAddr::new(ip(&attached), 8080);
        let server = serve_once(&one, address);
        assert_eq!(two.run(|| ask(address)).unwrap(), ip(&other).to_string());
        server.join().unwrap();
        for (name, netns) in [("one", &one), ("two", &two)] {
            network.client.del(&id(name), Some(netns.path())).await.unwrap();
            assert_eq!(netns.links().unwrap().len(), 1);
        }
        assert!(network.leases().is_empty());
    });
}

#[test]
fn the_reference_plugins_say_which_versions_they_speak() {
    in_node(|| async {
        let network = Network::start("1.0.0", BRIDGE).await;
        for plugin in ["bridge", "host-local", "portmap", "macvlan"] {
            let plugin = PluginType::parse(plugin).unwrap();
            let versions = network.client.versions(&plugin).await.unwrap();
            assert!(versions.iter().any(|version| version == "1.0.0"), "{plugin}: {versions:?}");
        }
    });
}
