// SPDX-License-Identifier: Apache-2.0
//! CNI configurations for a node, with Debian's reference plugins.
//!
//! The leases of host-local lie in the test's own directory, so that two nodes never share them. The
//! plugins leave things behind by design (the bridge, portmap's chains, host-local's lock); a
//! [`Network::warm_up`] makes them appear before the first census.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::node::Node;

/// Where Debian keeps the reference plugins (package containernetworking-plugins).
pub const BIN_DIR: &str = "/usr/lib/cni";
/// Name of the network in the configuration.
pub const NAME: &str = "husk-test";
/// Bridge that the bridge plugin makes on the node.
pub const BRIDGE: &str = "husk0";
/// Link of the node that macvlan sits on.
pub const UPLINK: &str = "uplink0";
/// Version of the specification that the configuration asks for: the newest that Debian's 1.1.1 knows.
const CNI_VERSION: &str = "1.0.0";

/// Whether pods keep their own address on the way out of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masquerade {
    /// The bridge plugin adds rules that hide pods behind the node.
    On,
    /// Packets leave with the pod's address.
    Off,
}

/// A network of one node: its configuration directory and its leases.
#[derive(Clone, Debug)]
pub struct Network {
    /// Directory with the one configuration file; `[cni] conf_dir`.
    pub conf_dir: PathBuf,
    /// Directory in which host-local keeps a file per address in use.
    pub leases: PathBuf,
    plugins: Vec<Value>,
}

impl Network {
    /// bridge, host-local and portmap: pods get addresses of `subnet` (as `10.1.0.0/24`), reach each
    /// other through a bridge, and host ports work.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn bridge(directory: &Path, subnet: &str, masquerade: Masquerade) -> Result<Network> {
        let leases = directory.join("leases");
        let plugins = vec![
            json!({
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": true,
                "ipMasq": masquerade == Masquerade::On,
                "hairpinMode": true,
                "ipam": ipam(&leases, subnet),
            }),
            json!({ "type": "portmap", "capabilities": { "portMappings": true }, "snat": true }),
        ];
        Network::write(directory, leases, plugins)
    }

    /// macvlan in bridge mode on a link of the node, with host-local.
    ///
    /// # Errors
    /// When the link cannot be made or the files cannot be written.
    pub fn macvlan(node: &Node, directory: &Path, subnet: &str) -> Result<Network> {
        // A veth whose other end leads nowhere: not every kernel has the type `dummy`.
        let far = format!("{UPLINK}-far");
        node.output("ip", &["link", "add", UPLINK, "type", "veth", "peer", "name", &far])?;
        for end in [UPLINK, &far] {
            node.output("ip", &["link", "set", end, "up"])?;
        }
        let leases = directory.join("leases");
        let plugins = vec![json!({
            "type": "macvlan",
            "master": UPLINK,
            "mode": "bridge",
            "ipam": ipam(&leases, subnet),
        })];
        Network::write(directory, leases, plugins)
    }

    fn write(directory: &Path, leases: PathBuf, plugins: Vec<Value>) -> Result<Network> {
        let conf_dir = directory.join("net.d");
        fs::create_dir_all(&conf_dir).with_context(|| format!("make {}", conf_dir.display()))?;
        fs::create_dir_all(&leases).with_context(|| format!("make {}", leases.display()))?;
        let network = Network { conf_dir, leases, plugins };
        network.enable()?;
        Ok(network)
    }

    /// The configuration file.
    fn file(&self) -> PathBuf {
        self.conf_dir.join("10-husk-test.conflist")
    }

    /// Writes the configuration file, in one step, as a well-behaved installer does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn enable(&self) -> Result<()> {
        let list = json!({ "cniVersion": CNI_VERSION, "name": NAME, "plugins": self.plugins });
        let half = self.conf_dir.join(".new");
        fs::write(&half, list.to_string()).context("write the network configuration")?;
        fs::rename(half, self.file()).context("put the network configuration in place")
    }

    /// Removes the configuration file.
    ///
    /// # Errors
    /// When it is not there.
    pub fn disable(&self) -> Result<()> {
        fs::remove_file(self.file()).context("remove the network configuration")
    }

    /// Addresses that host-local has given away.
    #[must_use]
    pub fn leased(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.leases.join(NAME)) else {
            return Vec::new();
        };
        let mut addresses: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.parse::<std::net::IpAddr>().is_ok())
            .collect();
        addresses.sort();
        addresses
    }

    /// Attaches a throw-away namespace once, by calling the plugins as a runtime does, so that what
    /// they keep for good is there before the first census.
    ///
    /// # Errors
    /// When a plugin fails; the message has what it printed.
    pub fn warm_up(&self, node: &Node) -> Result<()> {
        let scratch = Scratch::new(node)?;
        let mut result = Value::Null;
        for plugin in &self.plugins {
            result = self.execute(node, "ADD", plugin, &scratch, &result)?;
        }
        for plugin in self.plugins.iter().rev() {
            self.execute(node, "DEL", plugin, &scratch, &result)?;
        }
        Ok(())
    }

    /// One call of one plugin: CNI specification, "Section 2: Execution Protocol".
    fn execute(&self, node: &Node, verb: &str, plugin: &Value, scratch: &Scratch, previous: &Value) -> Result<Value> {
        let mut input = plugin.clone();
        input["cniVersion"] = json!(CNI_VERSION);
        input["name"] = json!(NAME);
        if !previous.is_null() {
            input["prevResult"] = previous.clone();
        }
        input["runtimeConfig"] = json!({ "portMappings": [
            { "hostPort": 1, "containerPort": 1, "protocol": "tcp" },
            { "hostPort": 1, "containerPort": 1, "protocol": "udp" },
        ] });
        let kind = plugin["type"].as_str().context("a plugin without type")?;
        let mut command = Command::new(Path::new(BIN_DIR).join(kind));
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", "warm-up")
            .env("CNI_NETNS", &scratch.path)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", BIN_DIR)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = node
            .run(move || command.spawn())?
            .with_context(|| format!("start the plugin {kind}: install containernetworking-plugins"))?;
        let mut stdin = child.stdin.take().context("the plugin's stdin")?;
        stdin.write_all(input.to_string().as_bytes())?;
        drop(stdin);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            bail!("plugin {kind} failed at {verb}: {}", said.trim());
        }
        Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
    }
}

/// How host-local shall give addresses.
fn ipam(leases: &Path, subnet: &str) -> Value {
    json!({
        "type": "host-local",
        "dataDir": leases,
        "ranges": [[{ "subnet": subnet }]],
        "routes": [{ "dst": "0.0.0.0/0" }],
    })
}

/// A network namespace that lives as long as this value: a process in it waits on its stdin.
struct Scratch {
    process: Child,
    path: String,
}

impl Scratch {
    fn new(node: &Node) -> Result<Scratch> {
        let mut command = Command::new("unshare");
        command
            .args(["--net", "/bin/busybox", "sh", "-c", "echo ready; read end"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let process = node.run(move || command.spawn())?.context("start `unshare --net`")?;
        let path = format!("/proc/{}/ns/net", process.id());
        let mut scratch = Scratch { process, path };
        let stdout = scratch.process.stdout.take().context("its stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("wait for the namespace")?;
        anyhow::ensure!(line == "ready\n", "`unshare --net` failed");
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_up_leaves_the_bridge_and_no_lease() {
        let node = Node::new("warm").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let network = Network::bridge(directory.path(), "10.77.0.0/24", Masquerade::On).unwrap();
        network.warm_up(&node).unwrap();
        assert!(node.links().unwrap().contains(&BRIDGE.to_owned()));
        assert!(network.leased().is_empty());
        let rules = node.output("iptables-save", &["-t", "nat"]).unwrap();
        assert!(rules.contains("CNI-HOSTPORT-DNAT"), "{rules}");
    }

    #[test]
    fn macvlan_attaches_to_the_nodes_uplink() {
        let node = Node::new("macvlan").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let network = Network::macvlan(&node, directory.path(), "10.78.0.0/24").unwrap();
        network.warm_up(&node).unwrap();
        assert!(network.leased().is_empty());
        assert!(node.links().unwrap().contains(&UPLINK.to_owned()));
        network.disable().unwrap();
        assert!(fs::read_dir(&network.conf_dir).unwrap().next().is_none());
    }
}
