// SPDX-License-Identifier: Apache-2.0
//! Every key of the configuration file: its name, its comment, how it is read and how it is shown.

use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use super::value::{list, number, path, quoted, quoted_list, quoted_path, text, word};
use super::{CgroupDriver, Config, LogLevel};

/// One key.
pub(super) struct Key {
    /// Its table; empty for the keys at the top.
    pub(super) section: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// What it is for, in lines.
    pub(super) comment: &'static str,
    /// Takes its value into the configuration, or says what is wrong with it.
    pub(super) read: fn(&mut Config, &DeValue<'_>) -> Result<(), String>,
    /// Its value in the form of TOML.
    pub(super) show: fn(&Config) -> String,
}

const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

/// All keys, in the order of the printed file: those of a table stand together.
pub(super) const KEYS: [Key; 16] = [
    Key {
        section: "",
        name: "root",
        comment: "What survives a reboot: images, records of pods and containers, and the ledger of network attachments.\n\
                  It wants a file system that overlayfs takes as an upper layer (ext4, xfs, btrfs).",
        read: |config, value| path(value).map(|path| config.root = path),
        show: |config| quoted_path(&config.root),
    },
    Key {
        section: "",
        name: "state",
        comment: "What a reboot may take away: sockets, pods' host files, exits. Usually on a tmpfs.\n\
                  One husk per `state` and per `root`; several live side by side when theirs differ.",
        read: |config, value| path(value).map(|path| config.state = path),
        show: |config| quoted_path(&config.state),
    },
    Key {
        section: "server",
        name: "socket",
        comment: "The unix socket of the CRI (mode 0660); husk.sock in `state` when it is not set.\n\
                  Clients must send \"localhost\" as authority, as the kubelet and crictl do.",
        read: |config, value| path(value).map(|path| config.server.socket = path),
        show: |config| quoted_path(&config.server.socket),
    },
    Key {
        section: "cni",
        name: "conf_dir",
        comment: "Network configurations: the first valid *.conflist, *.conf or *.json in the order of names is used.\n\
                  The directory is watched and need not exist yet.",
        read: |config, value| path(value).map(|path| config.cni.conf_dir = path),
        show: |config| quoted_path(&config.cni.conf_dir),
    },
    Key {
        section: "cni",
        name: "bin_dirs",
        comment: "Directories of network plugins, in the order of search.",
        read: |config, value| list(value, path).map(|paths| config.cni.bin_dirs = paths),
        show: |config| quoted_list(config.cni.bin_dirs.iter().filter_map(|dir| dir.to_str())),
    },
    Key {
        section: "cni",
        name: "timeout_seconds",
        comment: "How long the plugins may take to attach a pod, and as long again to detach it (1 to 110: the kubelet\n\
                  waits four minutes for both).",
        read: |config, value| number(value, 1..=110).map(|n| config.cni.timeout = Duration::from_secs(n)),
        show: |config| config.cni.timeout.as_secs().to_string(),
    },
    Key {
        section: "network",
        name: "netns_dir",
        comment: "Where the network namespaces of pods are pinned, each as husk-<pod id>. Tools such as `ip netns`\n\
                  expect them here.",
        read: |config, value| path(value).map(|path| config.network.netns_dir = path),
        show: |config| quoted_path(&config.network.netns_dir),
    },
    Key {
        section: "network",
        name: "embedded_subnet",
        comment: "With `husk serve --embedded-network`: the pods' addresses.",
        read: |config, value| {
            let subnet = text(value)?.parse().map_err(|error| format!("{error}"))?;
            config.network.embedded_subnet = subnet;
            Ok(())
        },
        show: |config| quoted(&config.network.embedded_subnet.to_string()),
    },
    Key {
        section: "network",
        name: "embedded_bridge",
        comment: "With `husk serve --embedded-network`: the bridge on this node.",
        read: |config, value| interface(text(value)?).map(|name| config.network.embedded_bridge = name),
        show: |config| quoted(&config.network.embedded_bridge),
    },
    Key {
        section: "image",
        name: "registry_config",
        comment: "Mirrors, certificates and plain-http registries: <host[:port]>/hosts.toml and _default/hosts.toml below\n\
                  this directory, in containerd's form; read at each pull.",
        read: |config, value| path(value).map(|path| config.image.registry_config = path),
        show: |config| quoted_path(&config.image.registry_config),
    },
    Key {
        section: "image",
        name: "max_parallel_layers",
        comment: "Layers of one pull that are fetched and unpacked at a time (1 to 32).",
        read: |config, value| {
            config.image.max_parallel_layers = usize::try_from(number(value, 1..=32)?).map_err(|e| e.to_string())?;
            Ok(())
        },
        show: |config| config.image.max_parallel_layers.to_string(),
    },
    Key {
        section: "image",
        name: "progress_timeout_seconds",
        comment: "How long a registry may send nothing before the transfer is tried again (1 to 3600).",
        read: |config, value| number(value, 1..=3600).map(|n| config.image.progress_timeout = Duration::from_secs(n)),
        show: |config| config.image.progress_timeout.as_secs().to_string(),
    },
    Key {
        section: "image",
        name: "pinned",
        comment: "Full references of images that the kubelet's garbage collection must leave alone, such as\n\
                  \"registry.example/base:1\".",
        read: |config, value| list(value, reference).map(|names| config.image.pinned = names),
        show: |config| quoted_list(config.image.pinned.iter().map(String::as_str)),
    },
    Key {
        section: "cgroup",
        name: "driver",
        comment: "Who makes cgroups: \"cgroupfs\" is husk itself. The kubelet asks for this (RuntimeConfig).",
        read: |config, value| driver(value).map(|driver| config.cgroup.driver = driver),
        show: |config| match config.cgroup.driver {
            CgroupDriver::Cgroupfs => quoted("cgroupfs"),
        },
    },
    Key {
        section: "cgroup",
        name: "parent",
        comment: "The cgroup of pods whose request names no parent (crictl's; the kubelet's always do).",
        read: |config, value| {
            let parsed = cgroups::CgroupPath::parse(text(value)?).map_err(|error| error.to_string())?;
            config.cgroup.parent = parsed.as_str().to_owned();
            Ok(())
        },
        show: |config| quoted(&config.cgroup.parent),
    },
    Key {
        section: "log",
        name: "level",
        comment: "The least severe line that is written to standard error: error, warn, info, debug or trace.",
        read: |config, value| word(value, &LEVELS).map(|level| config.log.level = level),
        show: |config| {
            let name = LEVELS.iter().find(|(_, level)| *level == config.log.level).map_or("info", |(name, _)| name);
            quoted(name)
        },
    },
];

fn driver(value: &DeValue<'_>) -> Result<CgroupDriver, String> {
    match text(value)? {
        "cgroupfs" => Ok(CgroupDriver::Cgroupfs),
        "systemd" => {
            Err("the driver \"systemd\" is not supported by this version of husk; use \"cgroupfs\"".to_owned())
        }
        other => Err(format!("{other:?} is not a driver; use \"cgroupfs\"")),
    }
}

fn reference(value: &DeValue<'_>) -> Result<String, String> {
    let parsed = image::Reference::parse(text(value)?).map_err(|error| error.to_string())?;
    Ok(parsed.canonical())
}

/// A name that the kernel takes for an interface (dev_valid_name in net/core/dev.c).
fn interface(name: &str) -> Result<String, String> {
    let plain = !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
    if name.is_empty() || name.len() > 15 || !plain || Path::new(name).file_name().is_none() {
        return Err(format!("{name:?} is not a name for an interface; it has 1 to 15 letters, digits or hyphens"));
    }
    Ok(name.to_owned())
}
