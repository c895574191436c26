// SPDX-License-Identifier: Apache-2.0
//! What the CRI asks for, as an OCI config. Pure: everything comes in as an argument.
//!
//! The config is written as JSON and then parsed into `oci-spec`'s types, never built from that library's defaults:
//! those hold capabilities and limits of another project.

use std::path::Path;

use cgroups::{Ceiling, DeviceAccess, DeviceKind, DeviceRule, Limits};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use crate::config::{
    CapabilityChange, ContainerConfig, IdentityRequest, MountRequest, PidMode, PodConfig, Resources, Sharing, Signal,
};
use crate::error::Error;
use crate::host_devices::HostDevice;
use crate::ports::ImageFacts;

/// Capabilities of a container that asks for no change: what containerd and Docker give, which images rely on.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Where programs are looked for when the image does not say.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Open files of a container: the soft limit that programs with `select` need, and a hard one that they can raise it
/// to. Inheriting the daemon's own would make containers depend on its unit file.
const OPEN_FILES: (u64, u64) = (1024, 524_288);

/// The device nodes that every container has (runtime-spec, "config-linux#default-devices"): name, major, minor.
const STANDARD_DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// What the config is made from.
pub(crate) struct Request<'a> {
    pub(crate) container: &'a ContainerConfig,
    pub(crate) pod: &'a PodConfig,
    pub(crate) image: &'a ImageFacts,
    /// The directory with the pod's generated files.
    pub(crate) live_dir: &'a Path,
    pub(crate) hostname: &'a str,
    pub(crate) cgroup_path: &'a str,
    /// Capabilities that this process could give at all, a bit per number.
    pub(crate) available_capabilities: u64,
    /// The devices of the host, for a privileged container.
    pub(crate) host_devices: &'a [HostDevice],
}

/// What comes out.
#[derive(Debug)]
pub(crate) struct Generated {
    pub(crate) spec: Spec,
    /// The environment as bytes, which JSON cannot hold.
    pub(crate) env: Vec<Vec<u8>>,
    pub(crate) stop_signal: Signal,
    pub(crate) user: (u32, u32, Vec<u32>),
}

/// Makes the OCI config of a container.
pub(crate) fn generate(request: &Request<'_>) -> Result<Generated, Error> {
    let container = request.container;
    let security = &container.security;
    let (uid, gid) = identity(security.identity, request.image.user.as_deref())?;
    let mut groups = vec![gid];
    groups.extend(security.supplemental_groups.iter().filter(|group| **group != gid));
    groups.dedup();
    let env = environment(request, uid)?;
    let capabilities = capabilities(security.privileged, security.capabilities, request.available_capabilities);
    let cwd = working_dir(container, request.image)?;
    let masked: &[String] = if security.privileged { &[] } else { &security.masked_paths };
    let readonly: &[String] = if security.privileged { &[] } else { &security.readonly_paths };

    let spec = json!({
        "ociVersion": "1.2.1",
        "process": {
            "terminal": container.tty,
            "user": {"uid": uid, "gid": gid, "additionalGids": groups},
            "args": arguments(container, request.image)?,
            "env": env.iter().map(|entry| String::from_utf8_lossy(entry)).collect::<Vec<_>>(),
            "cwd": cwd,
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                "inheritable": [], "ambient": [],
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": OPEN_FILES.0, "hard": OPEN_FILES.1}],
            "noNewPrivileges": security.no_new_privs,
            // Not left unset: the child would inherit the monitor's own, which protects it.
            "oomScoreAdj": container.resources.oom_score_adj.unwrap_or(0),
        },
        "root": {"path": "rootfs", "readonly": security.readonly_rootfs},
        "mounts": mounts(request),
        "linux": {
            "cgroupsPath": request.cgroup_path,
            "namespaces": namespaces(request),
            "devices": devices(request),
            "resources": resources(&container.resources),
            "maskedPaths": masked,
            "readonlyPaths": readonly,
        },
    });
    let spec = serde_json::from_value(spec).map_err(|error| Error::Fault(format!("make an OCI config: {error}")))?;
    Ok(Generated { spec, env, stop_signal: stop_signal(container, request.image)?, user: (uid, gid, groups) })
}

/// What the machine's cgroups can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CgroupFacts {
    /// The kernel accounts swap.
    pub(crate) accounts_swap: bool,
    /// Access to devices is decided by a version 1 hierarchy.
    pub(crate) has_device_rules: bool,
}

/// The limits of a container's cgroup. Without a swap limit of its own a container may not swap beyond its memory
/// limit, as both peers have it. Devices are denied unless they are the standard ones; a privileged container has all.
pub(crate) fn cgroup_limits(container: &ContainerConfig, facts: CgroupFacts) -> Limits {
    let resources = &container.resources;
    let swap = resources.memory_swap_limit_bytes.or(resources.memory_limit_bytes).filter(|_| facts.accounts_swap);
    let restricted = facts.has_device_rules && !container.security.privileged;
    Limits {
        cpu_shares: resources.cpu_shares,
        cpu_quota_us: resources.cpu_quota_us.map(Ceiling::At),
        cpu_period_us: resources.cpu_period_us,
        memory_limit_bytes: resources.memory_limit_bytes.map(Ceiling::At),
        memory_swap_limit_bytes: swap.map(Ceiling::At),
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        devices: restricted.then(device_rules),
        ..Limits::default()
    }
}

/// Every node may be made, as image unpackers and package managers expect, and the standard ones may be opened.
fn device_rules() -> Vec<DeviceRule> {
    let rule = |kind, major, minor, opens| DeviceRule {
        kind,
        major,
        minor,
        access: DeviceAccess { read: opens, write: opens, mknod: true },
    };
    let mut rules = vec![rule(DeviceKind::Char, None, None, false), rule(DeviceKind::Block, None, None, false)];
    let standard = STANDARD_DEVICES.iter().map(|(_, major, minor)| (*major, Some(*minor)));
    // The console, the terminal multiplexer, and the terminals themselves.
    let terminals = [(5, Some(1)), (5, Some(2)), (136, None)];
    rules.extend(standard.chain(terminals).map(|(major, minor)| rule(DeviceKind::Char, Some(major), minor, true)));
    rules
}

/// Kubernetes' rules: a command drops the image's entrypoint and command, arguments alone drop its command.
fn arguments(container: &ContainerConfig, image: &ImageFacts) -> Result<Vec<String>, Error> {
    let (program, rest) = match (container.command.is_empty(), container.args.is_empty()) {
        (false, _) => (&container.command, &container.args),
        (true, false) => (&image.entrypoint, &container.args),
        (true, true) => (&image.entrypoint, &image.cmd),
    };
    let arguments: Vec<_> = program.iter().chain(rest).cloned().collect();
    match arguments.first() {
        None => Err(Error::Invalid {
            field: "config.command",
            reason: "is empty, and the image has neither an entrypoint nor a command; name a program to run".into(),
        }),
        Some(_) if arguments.iter().any(|argument| argument.contains('\0')) => Err(Error::Invalid {
            field: "config.args",
            reason: "the image's entrypoint or command holds a NUL byte; no program can be given one".into(),
        }),
        Some(_) => Ok(arguments),
    }
}

fn working_dir(container: &ContainerConfig, image: &ImageFacts) -> Result<String, Error> {
    let dir = container.working_dir.as_deref().or(image.working_dir.as_deref()).filter(|dir| !dir.is_empty());
    let dir = dir.unwrap_or("/");
    let climbs = Path::new(dir).components().any(|part| matches!(part, std::path::Component::ParentDir));
    if !dir.starts_with('/') || climbs || dir.contains('\0') {
        return Err(Error::Invalid {
            field: "config.working_dir",
            reason: format!("{dir:?} (of the request or of the image) is not an absolute path without `..`"),
        });
    }
    Ok(dir.to_owned())
}

/// The user and group: the request's, else the image's, else root.
fn identity(request: Option<IdentityRequest>, image: Option<&str>) -> Result<(u32, u32), Error> {
    if let Some(IdentityRequest { uid, gid }) = request {
        return Ok((uid, gid.unwrap_or(0)));
    }
    let Some(text) = image.filter(|text| !text.is_empty()) else { return Ok((0, 0)) };
    let (user, group) = text.split_once(':').unwrap_or((text, "0"));
    Ok((numeric_id(user, text)?, numeric_id(group, text)?))
}

/// A number is never looked up as a name, and one that is out of range is an error (CVE-2024-40635).
fn numeric_id(part: &str, whole: &str) -> Result<u32, Error> {
    let invalid = |reason: String| Error::Invalid { field: "image USER", reason };
    if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::Unsupported {
            field: "image USER",
            reason: format!("{whole:?} is a name; set run_as_user to a number until husk looks names up in images"),
        });
    }
    part.parse()
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| invalid(format!("{whole:?} holds a number over 4294967294")))
}

/// The environment: the image's, husk's own, the request's over both; the last of a name wins and stays where the
/// first stood.
fn environment(request: &Request<'_>, uid: u32) -> Result<Vec<Vec<u8>>, Error> {
    let mut variables: Vec<(Vec<u8>, Vec<u8>)> = vec![(b"PATH".to_vec(), DEFAULT_PATH.to_vec())];
    let mut set = |name: &[u8], value: &[u8]| match variables.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value.to_vec(),
        None => variables.push((name.to_vec(), value.to_vec())),
    };
    if request.container.tty {
        set(b"TERM", b"xterm");
    }
    set(b"HOSTNAME", request.hostname.as_bytes());
    for entry in &request.image.env {
        // An entry without a value sets nothing: taking it from the host's environment would leak that.
        let Some((name, value)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) else { continue };
        if entry.contains('\0') {
            return Err(Error::Invalid { field: "image ENV", reason: format!("{name:?} holds a NUL byte") });
        }
        set(name.as_bytes(), value.as_bytes());
    }
    for variable in &request.container.envs {
        set(variable.name.as_bytes(), &variable.value);
    }
    let home: &[u8] = if uid == 0 { b"/root" } else { b"/" };
    match variables.iter_mut().find(|(name, _)| name == b"HOME") {
        Some((_, value)) if value.is_empty() => *value = home.to_vec(),
        Some(_) => {}
        None => variables.push((b"HOME".to_vec(), home.to_vec())),
    }
    Ok(variables.into_iter().map(|(name, value)| [name.as_slice(), b"=", &value].concat()).collect())
}

/// The capabilities by name: ALL added, ALL dropped, then single ones added and dropped, as both peers do it.
fn capabilities(privileged: bool, change: CapabilityChange, available: u64) -> Vec<&'static str> {
    let default = DEFAULT_CAPABILITIES.iter().filter_map(|name| plan::capability_bit(name)).sum::<u64>();
    let mut bits = if privileged || change.add_all { u64::MAX } else { default };
    if !privileged {
        if change.drop_all {
            bits = 0;
        }
        bits = (bits | change.add) & !change.drop;
    }
    (0..64).filter(|number| bits & available & (1 << number) != 0).filter_map(plan::capability_name).collect()
}

fn stop_signal(container: &ContainerConfig, image: &ImageFacts) -> Result<Signal, Error> {
    if let Some(signal) = container.stop_signal {
        return Ok(signal);
    }
    let Some(text) = image.stop_signal.as_deref().filter(|text| !text.is_empty()) else { return Ok(Signal::TERM) };
    text.parse().map_err(|error: crate::config::SignalError| Error::Invalid {
        field: "image STOPSIGNAL",
        reason: error.to_string(),
    })
}

/// The standard mounts, husk's own files, and the request's, those nearest to the root first. An explicit mount takes
/// the place of a standard one at the same path, and a later one that of an earlier one.
fn mounts(request: &Request<'_>) -> Vec<Value> {
    let security = &request.container.security;
    let access = if security.privileged { "rw" } else { "ro" };
    let file = |name: &str| request.live_dir.join(name);
    let own = |target: &str, name: &str| json!({"destination": target, "type": "bind", "source": file(name), "options": ["rbind", "rprivate"]});
    let shm = match request.pod.ipc {
        Sharing::Pod => json!({"destination": "/dev/shm", "type": plan::SHM_TYPE}),
        Sharing::Node => {
            json!({"destination": "/dev/shm", "type": "bind", "source": "/dev/shm", "options": ["rbind", "rprivate"]})
        }
    };
    let standard = [
        json!({"destination": "/proc", "type": "proc", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/dev", "type": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        json!({"destination": "/dev/pts", "type": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]}),
        json!({"destination": "/dev/mqueue", "type": "mqueue", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/sys", "type": "sysfs", "options": ["nosuid", "noexec", "nodev", access]}),
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", access]}),
        shm,
        own("/etc/hosts", "hosts"),
        own("/etc/hostname", "hostname"),
        own("/etc/resolv.conf", "resolv.conf"),
    ];
    let mut asked: Vec<&MountRequest> = Vec::new();
    for mount in &request.container.mounts {
        asked.retain(|earlier| normal(&earlier.container_path) != normal(&mount.container_path));
        asked.push(mount);
    }
    asked.sort_by_key(|mount| normal(&mount.container_path).matches('/').count());
    let is_replaced = |mount: &Value| {
        let target = mount["destination"].as_str().unwrap_or_default();
        asked.iter().any(|other| normal(&other.container_path) == target)
    };
    let mut mounts: Vec<Value> = standard.into_iter().filter(|mount| !is_replaced(mount)).collect();
    mounts.extend(asked.iter().map(|mount| {
        let access = if mount.readonly { "ro" } else { "rw" };
        json!({"destination": normal(&mount.container_path), "type": "bind", "source": mount.host_path,
            "options": ["rbind", "rprivate", access]})
    }));
    mounts
}

/// A path without doubled, leading `.` and trailing slashes.
fn normal(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    let joined = parts.fold(String::new(), |text, part| text + "/" + part);
    if joined.is_empty() { "/".to_owned() } else { joined }
}

fn namespaces(request: &Request<'_>) -> Value {
    let security = &request.container.security;
    let mut kinds = vec![json!({"type": "mount"})];
    if request.pod.network == crate::config::NetworkMode::Pod {
        kinds.extend([json!({"type": "network"}), json!({"type": "uts"})]);
    }
    if request.pod.ipc == Sharing::Pod {
        kinds.push(json!({"type": "ipc"}));
    }
    if security.pid != PidMode::Node {
        kinds.push(json!({"type": "pid"}));
    }
    if !security.privileged {
        kinds.push(json!({"type": "cgroup"}));
    }
    Value::Array(kinds)
}

fn devices(request: &Request<'_>) -> Value {
    if request.container.security.privileged {
        let host = request.host_devices.iter().map(|device| {
            json!({"path": device.path, "type": device.kind, "major": device.major, "minor": device.minor,
                "fileMode": device.mode, "uid": device.uid, "gid": device.gid})
        });
        return host.collect();
    }
    let standard = STANDARD_DEVICES.iter().map(|(name, major, minor)| {
        json!({"path": format!("/dev/{name}"), "type": "c", "major": major, "minor": minor,
            "fileMode": 0o666, "uid": 0, "gid": 0})
    });
    standard.collect()
}

fn resources(resources: &Resources) -> Value {
    json!({
        "memory": {"limit": resources.memory_limit_bytes, "swap": resources.memory_swap_limit_bytes},
        "cpu": {
            "shares": resources.cpu_shares, "quota": resources.cpu_quota_us, "period": resources.cpu_period_us,
            "cpus": resources.cpuset_cpus, "mems": resources.cpuset_mems,
        },
    })
}

#[cfg(test)]
#[path = "oci/tests.rs"]
mod tests;
