// SPDX-License-Identifier: Apache-2.0
//! The network of `--embedded-network`: a CNI configuration in a directory of husk's own, made from reference plugins
//! that the machine has. The node's own configuration is neither read nor touched.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config::Config;
use crate::subnet::Subnet;

/// Below `state`.
const CONF_DIR: &str = "cni/net.d";
/// Below `state`: a reboot takes the interfaces away, and the leases with them.
const LEASES_DIR: &str = "cni/leases";
/// The configuration's file.
const CONF_FILE: &str = "10-husk.conflist";

/// Why there is no embedded network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmbeddedNetworkError {
    /// A plugin that it cannot do without is missing.
    #[error(
        "--embedded-network needs the CNI plugin {plugin}, which is in none of {dirs}; install the reference plugins (Debian: containernetworking-plugins) or set [cni] bin_dirs"
    )]
    NoPlugin {
        /// The plugin.
        plugin: &'static str,
        /// Where it was looked for.
        dirs: String,
    },
    /// The configuration cannot be written.
    #[error("write {}: {error}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        error: io::Error,
    },
}

/// Writes the configuration and returns the directory to use in place of `[cni] conf_dir`.
pub(crate) fn write(config: &Config) -> Result<PathBuf, EmbeddedNetworkError> {
    let has = |plugin: &str| config.cni.bin_dirs.iter().any(|dir| dir.join(plugin).is_file());
    for plugin in ["bridge", "host-local"] {
        if !has(plugin) {
            let dirs: Vec<_> = config.cni.bin_dirs.iter().map(|dir| dir.display().to_string()).collect();
            return Err(EmbeddedNetworkError::NoPlugin { plugin, dirs: dirs.join(", ") });
        }
    }
    let list = conflist(config, has("portmap"));
    let dir = config.state.join(CONF_DIR);
    let path = dir.join(CONF_FILE);
    let failed = |error| EmbeddedNetworkError::Write { path: path.clone(), error };
    std::fs::create_dir_all(&dir).map_err(failed)?;
    // Written aside and renamed, so that nobody who watches the directory sees half of it.
    let temporary = dir.join(".new");
    std::fs::write(&temporary, format!("{list:#}\n")).map_err(failed)?;
    std::fs::rename(&temporary, &path).map_err(failed)?;
    Ok(dir)
}

fn conflist(config: &Config, with_portmap: bool) -> Value {
    let network = &config.network;
    let leases: &Path = &config.state.join(LEASES_DIR);
    let mut plugins = vec![json!({
        "type": "bridge",
        "bridge": network.embedded_bridge,
        "isGateway": true,
        "ipMasq": true,
        // A pod may reach itself through its own host port.
        "hairpinMode": true,
        "ipam": {
            "type": "host-local",
            "dataDir": leases,
            "ranges": [[{"subnet": network.embedded_subnet.to_string()}]],
            "routes": [{"dst": default_route(network.embedded_subnet)}],
        },
    })];
    if with_portmap {
        plugins.push(json!({"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}));
    }
    json!({"cniVersion": "1.0.0", "name": "husk", "plugins": plugins})
}

fn default_route(subnet: Subnet) -> &'static str {
    if subnet.address().is_ipv4() { "0.0.0.0/0" } else { "::/0" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(state: &Path, plugins: &[&str]) -> Config {
        let bin = state.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        for plugin in plugins {
            std::fs::write(bin.join(plugin), "").unwrap();
        }
        let mut config = Config { state: state.to_owned(), ..Config::default() };
        config.cni.bin_dirs = vec![state.join("none"), bin];
        config
    }

    #[test]
    fn the_configuration_is_one_that_our_client_takes() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), &["bridge", "host-local", "portmap"]);
        let conf_dir = write(&config).unwrap();
        assert!(conf_dir.starts_with(dir.path()));
        let bytes = std::fs::read(conf_dir.join(CONF_FILE)).unwrap();
        let list = cni_client::conf::parse(&conf_dir.join(CONF_FILE), &bytes).unwrap();
        let plugins: Vec<_> = list.plugins.iter().map(|plugin| plugin.plugin_type.to_string()).collect();
        assert_eq!(
            (list.name.to_string().as_str(), plugins.as_slice()),
            ("husk", ["bridge", "portmap"].map(str::to_owned).as_slice())
        );
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.88.0.0/16");
        assert_eq!(value["plugins"][0]["ipam"]["routes"][0]["dst"], "0.0.0.0/0");
        assert!(value["plugins"][0]["ipam"]["dataDir"].as_str().unwrap().starts_with(dir.path().to_str().unwrap()));
        // A second start writes it again.
        assert_eq!(write(&config).unwrap(), conf_dir);
    }

    #[test]
    fn portmap_is_used_when_it_is_there_and_the_others_must_be() {
        let dir = tempfile::tempdir().unwrap();
        let without = config(dir.path(), &["bridge"]);
        let error = write(&without).unwrap_err().to_string();
        assert!(error.contains("host-local") && error.contains("containernetworking-plugins"), "{error}");
        let mut two = config(dir.path(), &["bridge", "host-local"]);
        two.network.embedded_subnet = "fd00:88::/64".parse().unwrap();
        let conf_dir = write(&two).unwrap();
        let value: Value = serde_json::from_slice(&std::fs::read(conf_dir.join(CONF_FILE)).unwrap()).unwrap();
        assert_eq!(value["plugins"].as_array().unwrap().len(), 1);
        assert_eq!(value["plugins"][0]["ipam"]["routes"][0]["dst"], "::/0");
    }
}
