// SPDX-License-Identifier: Apache-2.0
//! Tables for the OCI config.

use std::path::PathBuf;

use super::*;
use crate::config::{ContainerKey, Environment, ImageRequest, NetworkMode, PodKey, SecurityRequest, StdinRequest};

const ALL: u64 = (1 << 41) - 1;

fn pod() -> PodConfig {
    PodConfig {
        key: PodKey { namespace: "default".into(), name: "web".into(), uid: "u".into(), attempt: 0 },
        hostname: None,
        log_directory: None,
        dns: None,
        port_mappings: Vec::new(),
        labels: Default::default(),
        annotations: Default::default(),
        bandwidth: None,
        cgroup_parent: None,
        network: NetworkMode::Pod,
        pid: PidMode::Container,
        ipc: Sharing::Pod,
        privileged: true,
        resources: None,
        overhead: None,
        runtime_handler: String::new(),
    }
}

fn container() -> ContainerConfig {
    ContainerConfig {
        key: ContainerKey { name: "app".into(), attempt: 0 },
        image: ImageRequest { image: "i".into(), user_specified: String::new(), annotations: Default::default() },
        command: vec!["/bin/app".into()],
        args: Vec::new(),
        working_dir: None,
        envs: Vec::new(),
        mounts: Vec::new(),
        labels: Default::default(),
        annotations: Default::default(),
        log_path: None,
        stdin: StdinRequest::Closed,
        tty: false,
        resources: Resources::default(),
        security: SecurityRequest {
            privileged: false,
            identity: None,
            supplemental_groups: Vec::new(),
            readonly_rootfs: false,
            no_new_privs: false,
            masked_paths: vec!["/proc/kcore".into()],
            readonly_paths: vec!["/proc/sys".into()],
            capabilities: CapabilityChange::default(),
            pid: PidMode::Container,
        },
        stop_signal: None,
    }
}

fn made(container: &ContainerConfig, image: &ImageFacts) -> Result<Generated, Error> {
    generate(&Request {
        container,
        pod: &pod(),
        image,
        live_dir: Path::new("/run/husk/pods/p"),
        hostname: "web",
        cgroup_path: "/husk/c",
        available_capabilities: ALL,
        host_devices: &[HostDevice {
            path: PathBuf::from("/dev/kvm"),
            kind: "c",
            major: 10,
            minor: 232,
            mode: 0o660,
            uid: 0,
            gid: 100,
        }],
    })
}

fn json_of(container: &ContainerConfig) -> Value {
    serde_json::to_value(made(container, &ImageFacts::default()).unwrap().spec).unwrap()
}

fn destinations(config: &Value) -> Vec<&str> {
    config["mounts"].as_array().unwrap().iter().map(|mount| mount["destination"].as_str().unwrap()).collect()
}

#[test]
fn the_plain_container_is_what_we_say_and_nothing_of_the_library() {
    let config = json_of(&container());
    let text = serde_json::to_string_pretty(&config).unwrap();
    let golden = include_str!("golden.json");
    assert_eq!(sorted(&config), sorted(&serde_json::from_str(golden).unwrap()), "{text}");
}

/// Sets come out of the library in no order.
fn sorted(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(sets) = value["process"]["capabilities"].as_object_mut() {
        for set in sets.values_mut().filter_map(Value::as_array_mut) {
            set.sort_by_key(ToString::to_string);
        }
    }
    value
}

#[test]
fn commands_by_kubernetes_rules() {
    let image = ImageFacts { entrypoint: vec!["/entry".into()], cmd: vec!["default".into()], ..ImageFacts::default() };
    let table: [(&[&str], &[&str], &[&str]); 4] = [
        (&[], &[], &["/entry", "default"]),
        (&[], &["a"], &["/entry", "a"]),
        (&["/c"], &[], &["/c"]),
        (&["/c"], &["a"], &["/c", "a"]),
    ];
    let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (command, args, expected) in table {
        let config = ContainerConfig { command: owned(command), args: owned(args), ..container() };
        let spec = made(&config, &image).unwrap().spec;
        assert_eq!(spec.process().as_ref().unwrap().args().clone().unwrap(), owned(expected));
    }
    let nothing = ContainerConfig { command: Vec::new(), ..container() };
    assert!(matches!(made(&nothing, &ImageFacts::default()), Err(Error::Invalid { field: "config.command", .. })));
}

#[test]
fn users_are_numbers_and_never_wrap() {
    let user = |text: &str| {
        let image = ImageFacts { user: Some(text.into()), ..ImageFacts::default() };
        made(&container(), &image).map(|generated| generated.user)
    };
    assert_eq!(user("").unwrap(), (0, 0, vec![0]));
    assert_eq!(user("1002").unwrap(), (1002, 0, vec![0]));
    assert_eq!(user("1003:100").unwrap(), (1003, 100, vec![100]));
    for text in ["4294967296", "4294967295", "2147483648:4294967296", "99999999999999999999"] {
        assert!(matches!(user(text), Err(Error::Invalid { .. })), "{text}");
    }
    for text in ["www-data", "1002:users", ":5", "-1", "+1", "1 ", "root"] {
        assert!(matches!(user(text), Err(Error::Unsupported { .. })), "{text}");
    }
    let mut config = container();
    config.security.identity = Some(IdentityRequest { uid: 5, gid: Some(6) });
    config.security.supplemental_groups = vec![7, 6, 8];
    assert_eq!(made(&config, &ImageFacts::default()).unwrap().user, (5, 6, vec![6, 7, 8]));
}

#[test]
fn the_environment_is_the_images_then_the_requests() {
    let image = ImageFacts {
        env: ["PATH=/img", "A=image", "B=image", "NOVALUE", "=x"].map(String::from).to_vec(),
        ..ImageFacts::default()
    };
    let mut config = container();
    let variable = |name: &str, value: &[u8]| Environment { name: name.into(), value: value.to_vec() };
    config.envs = vec![variable("B", b"first"), variable("B", b"last\xff"), variable("HOME", b"")];
    let env = made(&config, &image).unwrap().env;
    let expected: [&[u8]; 5] = [b"PATH=/img", b"HOSTNAME=web", b"A=image", b"B=last\xff", b"HOME=/root"];
    assert_eq!(env, expected);
}

#[test]
fn capabilities_in_the_peers_order() {
    let bit = |name| plan::capability_bit(name).unwrap();
    let of = |privileged, change| {
        let names = capabilities(privileged, change, ALL);
        names.iter().map(|name| bit(name)).sum::<u64>()
    };
    let default = of(false, CapabilityChange::default());
    assert_eq!(default.count_ones(), 14);
    let net_admin = bit("CAP_NET_ADMIN");
    let chown = bit("CAP_CHOWN");
    let drop_all = CapabilityChange { drop_all: true, add: net_admin, ..CapabilityChange::default() };
    assert_eq!(of(false, drop_all), net_admin);
    let add_all = CapabilityChange { add_all: true, drop: chown, ..CapabilityChange::default() };
    assert_eq!(of(false, add_all), ALL & !chown);
    assert_eq!(
        of(false, CapabilityChange { add: net_admin, drop: chown, ..CapabilityChange::default() }),
        (default | net_admin) & !chown
    );
    assert_eq!(of(true, drop_all), ALL);
    assert!(capabilities(true, CapabilityChange::default(), chown) == ["CAP_CHOWN"], "only what this kernel has");
}

#[test]
fn an_explicit_mount_wins_and_the_order_is_by_depth() {
    let mount = |target: &str, source: &str| MountRequest {
        container_path: target.into(),
        host_path: source.into(),
        readonly: false,
    };
    let mut config = container();
    config.mounts = vec![
        mount("/data/deep/er", "/a"),
        mount("/etc//hosts", "/kubelet/hosts"),
        mount("/data", "/b"),
        mount("/data/", "/c"),
        mount("/dev/shm", "/shm"),
    ];
    let json = json_of(&config);
    let targets = destinations(&json);
    assert_eq!(
        targets,
        [
            "/proc",
            "/dev",
            "/dev/pts",
            "/dev/mqueue",
            "/sys",
            "/sys/fs/cgroup",
            "/etc/hostname",
            "/etc/resolv.conf",
            "/data",
            "/etc/hosts",
            "/dev/shm",
            "/data/deep/er",
        ]
    );
    let source = |target| {
        let index = targets.iter().position(|other| *other == target).unwrap();
        json["mounts"][index]["source"].as_str().unwrap()
    };
    assert_eq!((source("/data"), source("/etc/hosts")), ("/c", "/kubelet/hosts"));
}

#[test]
fn privileged_has_devices_and_no_masks() {
    let mut config = container();
    config.security.privileged = true;
    let json = json_of(&config);
    assert_eq!(json["linux"]["devices"][0]["path"], "/dev/kvm");
    assert_eq!(json["linux"]["maskedPaths"], json!([]));
    let sys = json["mounts"].as_array().unwrap().iter().find(|mount| mount["destination"] == "/sys").unwrap();
    assert!(sys["options"].as_array().unwrap().contains(&json!("rw")));
}

#[test]
fn stop_signals_of_request_and_image() {
    let signal = |request: Option<&str>, image: Option<&str>| {
        let config = ContainerConfig { stop_signal: request.map(|text| text.parse().unwrap()), ..container() };
        let image = ImageFacts { stop_signal: image.map(String::from), ..ImageFacts::default() };
        made(&config, &image).map(|generated| generated.stop_signal.number())
    };
    assert_eq!(signal(None, None).unwrap(), 15);
    assert_eq!(signal(None, Some("SIGQUIT")).unwrap(), 3);
    assert_eq!(signal(Some("SIGUSR1"), Some("SIGQUIT")).unwrap(), 10);
    assert!(signal(None, Some("SIGNOPE")).is_err());
}

#[test]
fn swap_is_bounded_by_memory_where_it_is_accounted() {
    let facts = |accounts_swap| CgroupFacts { accounts_swap, has_device_rules: false };
    let mut config = container();
    assert_eq!(cgroup_limits(&config, facts(true)), Limits::default());
    config.resources.memory_limit_bytes = Some(100);
    assert_eq!(cgroup_limits(&config, facts(true)).memory_swap_limit_bytes, Some(Ceiling::At(100)));
    assert_eq!(cgroup_limits(&config, facts(false)).memory_swap_limit_bytes, None);
}

#[test]
fn devices_are_denied_unless_standard_or_privileged() {
    let facts = CgroupFacts { accounts_swap: false, has_device_rules: true };
    let mut config = container();
    let rules: Vec<_> = cgroup_limits(&config, facts).devices.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(rules[..3], ["c *:* m", "b *:* m", "c 1:3 rwm"]);
    assert!(rules.iter().all(|rule| !rule.starts_with("b ") || rule.ends_with(" m")), "{rules:?}");
    config.security.privileged = true;
    assert_eq!(cgroup_limits(&config, facts).devices, None);
}
