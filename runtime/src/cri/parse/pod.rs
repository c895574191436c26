// SPDX-License-Identifier: Apache-2.0
//! `RunPodSandboxRequest` to [`PodConfig`].

use std::path::PathBuf;

use proto::cri;
use sandbox::config::{NetworkMode, PodConfig, PodKey};

use super::{Field, Profile, Refusal, bandwidth, dns, namespaces, ports, resources, strings, users};
use crate::limits;

/// The name of the one handler that there is; empty stands for it too.
pub(crate) const HANDLER: &str = "husk";

/// Reads what a pod shall be.
pub(crate) fn pod_config(request: &cri::RunPodSandboxRequest) -> Result<PodConfig, Refusal> {
    runtime_handler(&Field::of_request("runtime_handler"), &request.runtime_handler)?;
    let field = Field::of_request("config");
    let config = field.required(request.config.as_ref())?;
    let linux = config.linux.clone().unwrap_or_default();
    let linux_field = field.then("linux");
    let security = linux.security_context.unwrap_or_default();
    let security_field = linux_field.then("security_context");
    let namespaces =
        namespaces::of_pod(&security_field.then("namespace_options"), security.namespace_options.as_ref())?;
    pause_only(&security_field, &security)?;
    strings::strings(&linux_field.then("sysctls"), &linux.sysctls)?;
    let annotations = field.then("annotations");
    Ok(PodConfig {
        key: key(&field.then("metadata"), config.metadata.as_ref())?,
        hostname: hostname(&field.then("hostname"), &config.hostname, namespaces.network)?,
        log_directory: log_directory(&field.then("log_directory"), &config.log_directory)?,
        dns: config.dns_config.as_ref().map(|dns| dns::dns(&field.then("dns_config"), dns)).transpose()?,
        port_mappings: ports::port_mappings(&field.then("port_mappings"), &config.port_mappings)?,
        labels: strings::labels(&field.then("labels"), &config.labels)?,
        bandwidth: bandwidth::bandwidth(&annotations, &config.annotations)?,
        annotations: strings::strings(&annotations, &config.annotations)?,
        cgroup_parent: cgroup_parent(&linux_field.then("cgroup_parent"), &linux.cgroup_parent)?,
        network: namespaces.network,
        pid: namespaces.pid,
        ipc: namespaces.ipc,
        privileged: security.privileged,
        resources: sums(&linux_field.then("resources"), linux.resources.as_ref())?,
        overhead: sums(&linux_field.then("overhead"), linux.overhead.as_ref())?,
        runtime_handler: request.runtime_handler.clone(),
    })
}

/// Refuses a handler that there is not.
pub(super) fn runtime_handler(field: &Field<'_>, name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name == HANDLER {
        return Ok(());
    }
    let shown: String = name.chars().take(64).collect();
    Err(field
        .invalid(format!("there is no runtime handler {shown:?}; this node has {HANDLER:?}, which is the default")))
}

/// Checks the networks of `UpdateRuntimeConfig`, a list with commas; nothing uses them.
pub(crate) fn pod_cidrs(request: &cri::UpdateRuntimeConfigRequest) -> Result<(), Refusal> {
    let field = Field::of_request("runtime_config");
    let config = field.required(request.runtime_config.as_ref())?;
    let Some(network) = &config.network_config else { return Ok(()) };
    let network_field = field.then("network_config");
    let cidr_field = network_field.then("pod_cidr");
    for cidr in network.pod_cidr.split(',').filter(|cidr| !cidr.is_empty()) {
        if cidr.parse::<crate::subnet::Subnet>().is_err() {
            let shown: String = cidr.chars().take(64).collect();
            return Err(cidr_field.invalid(format!("{shown:?} is not a network such as 10.244.1.0/24")));
        }
    }
    Ok(())
}

fn key(field: &Field<'_>, metadata: Option<&cri::PodSandboxMetadata>) -> Result<PodKey, Refusal> {
    let metadata = field.required(metadata)?;
    Ok(PodKey {
        // `crictl` may leave namespace and uid out; the kubelet never does.
        namespace: strings::name_or_empty(&field.then("namespace"), &metadata.namespace)?,
        name: strings::name(&field.then("name"), &metadata.name)?,
        uid: strings::name_or_empty(&field.then("uid"), &metadata.uid)?,
        attempt: metadata.attempt,
    })
}

fn hostname(field: &Field<'_>, text: &str, network: NetworkMode) -> Result<Option<String>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    if network == NetworkMode::Node {
        return Err(field.invalid("a pod on the host's network has the host's name; leave it empty"));
    }
    if text.len() > limits::HOSTNAME_BYTES {
        return Err(field.invalid(format!("it has {} bytes; Linux takes {}", text.len(), limits::HOSTNAME_BYTES)));
    }
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !text.split('.').all(label) {
        return Err(field.invalid("it is not made of DNS labels: letters, digits and inner hyphens"));
    }
    Ok(Some(text.to_owned()))
}

fn log_directory(field: &Field<'_>, text: &str) -> Result<Option<PathBuf>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let path = strings::without_parent(field, strings::absolute_path(field, text)?)?;
    Ok(Some(PathBuf::from(path)))
}

fn cgroup_parent(field: &Field<'_>, text: &str) -> Result<Option<String>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.trim_end_matches('/').ends_with(".slice") {
        let reason = "it is a slice, which the systemd cgroup driver has, but this node's driver is cgroupfs; \
                      give the kubelet and husk the same driver"
            .to_owned();
        return Err(Refusal::Misfit { field: field.to_string(), reason });
    }
    let path = strings::absolute_path(field, text)?;
    match cgroups::CgroupPath::parse(&path) {
        Ok(_) => Ok(Some(path)),
        Err(flaw) => Err(field.invalid(flaw.to_string())),
    }
}

fn sums(
    field: &Field<'_>,
    asked: Option<&cri::LinuxContainerResources>,
) -> Result<Option<sandbox::config::Resources>, Refusal> {
    asked.map(|asked| resources::resources(field, asked)).transpose()
}

/// What a pod's security context says about its pause process, which nobody can see: checked and then left alone.
#[expect(deprecated, reason = "old clients send the profile's path, and the CRI keeps it")]
fn pause_only(field: &Field<'_>, security: &cri::LinuxSandboxSecurityContext) -> Result<(), Refusal> {
    let user = users::optional_id(&field.then("run_as_user"), security.run_as_user.as_ref())?;
    let group_field = field.then("run_as_group");
    let group = users::optional_id(&group_field, security.run_as_group.as_ref())?;
    if group.is_some() && user.is_none() {
        return Err(group_field.invalid("it needs run_as_user beside it"));
    }
    users::groups(&field.then("supplemental_groups"), &security.supplemental_groups)?;
    users::groups_policy(&field.then("supplemental_groups_policy"), security.supplemental_groups_policy)?;
    let old = field.then("seccomp_profile_path");
    Profile::read(&field.then("seccomp"), security.seccomp.as_ref(), &old, &security.seccomp_profile_path)?;
    Profile::read(&field.then("apparmor"), security.apparmor.as_ref(), &old, "")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::cri::parse::samples;

    type Change = Box<dyn Fn(&mut cri::PodSandboxConfig)>;

    fn parse(change: &dyn Fn(&mut cri::PodSandboxConfig)) -> Result<PodConfig, Refusal> {
        let mut request = samples::run_pod_sandbox();
        change(request.config.as_mut().unwrap());
        pod_config(&request)
    }

    fn linux(change: impl Fn(&mut cri::LinuxPodSandboxConfig) + 'static) -> Change {
        Box::new(move |config| change(config.linux.get_or_insert_default()))
    }

    fn security(change: impl Fn(&mut cri::LinuxSandboxSecurityContext) + 'static) -> Change {
        linux(move |linux| change(linux.security_context.get_or_insert_default()))
    }

    fn metadata(change: impl Fn(&mut cri::PodSandboxMetadata) + 'static) -> Change {
        Box::new(move |config| change(config.metadata.get_or_insert_default()))
    }

    fn id(value: i64) -> Option<cri::Int64Value> {
        Some(cri::Int64Value { value })
    }

    #[test]
    fn the_least_request() {
        let parsed = parse(&|config| {
            *config = cri::PodSandboxConfig {
                metadata: Some(cri::PodSandboxMetadata { name: "a".into(), ..Default::default() }),
                ..Default::default()
            };
        })
        .unwrap();
        assert_eq!((parsed.key.name.as_str(), parsed.key.namespace.as_str()), ("a", ""));
        assert_eq!((parsed.hostname, parsed.log_directory, parsed.dns, parsed.cgroup_parent), (None, None, None, None));
    }

    #[test]
    fn what_is_given_is_kept() {
        let parsed = parse(&|config| {
            config.hostname = "web-1.example".into();
            config.log_directory = "/var/log/pods/a".into();
            config.dns_config = Some(cri::DnsConfig::default());
            config.labels = HashMap::from([("a".into(), "b".into())]);
            config.annotations = HashMap::from([
                ("json".into(), "{\n}".into()),
                ("kubernetes.io/egress-bandwidth".into(), "10M".into()),
            ]);
            let linux = config.linux.get_or_insert_default();
            linux.cgroup_parent = "/kubepods/burstable/pod1".into();
            linux.security_context.get_or_insert_default().privileged = true;
        })
        .unwrap();
        assert_eq!(parsed.hostname.as_deref(), Some("web-1.example"));
        assert_eq!(parsed.dns, Some(sandbox::config::Dns::default()));
        assert_eq!(parsed.annotations["json"], "{\n}");
        assert_eq!(parsed.bandwidth.unwrap().egress_bits_per_second, Some(10_000_000));
        assert_eq!(parsed.cgroup_parent.as_deref(), Some("/kubepods/burstable/pod1"));
        assert!(parsed.privileged);
    }

    #[test]
    fn malformed_requests_are_refused_by_field() {
        let long = "x".repeat(5000);
        let host_network = |config: &mut cri::PodSandboxConfig| {
            let options = cri::NamespaceOption { network: 2, ..Default::default() };
            config.linux.get_or_insert_default().security_context.get_or_insert_default().namespace_options =
                Some(options);
        };
        let table: Vec<(&str, Change)> = vec![
            ("config.metadata", Box::new(|config| config.metadata = None)),
            ("config.metadata.name", metadata(|metadata| metadata.name.clear())),
            ("config.metadata.name", metadata(|metadata| metadata.name = "a\0b".into())),
            ("config.metadata.name", metadata(|metadata| metadata.name = "x".repeat(5000))),
            ("config.metadata.namespace", metadata(|metadata| metadata.namespace = "a\n".into())),
            ("config.metadata.uid", metadata(|metadata| metadata.uid = "\u{7f}".into())),
            ("config.hostname", Box::new(|config| config.hostname = "a".repeat(65))),
            ("config.hostname", Box::new(|config| config.hostname = "a_b".into())),
            ("config.hostname", Box::new(|config| config.hostname = "-a".into())),
            ("config.hostname", Box::new(|config| config.hostname = "a..b".into())),
            ("config.hostname", Box::new(|config| config.hostname = "a\0".into())),
            (
                "config.hostname",
                Box::new(move |config| {
                    config.hostname = "a".into();
                    host_network(config);
                }),
            ),
            ("config.log_directory", Box::new(|config| config.log_directory = "logs".into())),
            ("config.log_directory", Box::new(|config| config.log_directory = "/a/../b".into())),
            ("config.log_directory", Box::new(|config| config.log_directory = "/a\0".into())),
            ("config.labels[k]", Box::new(move |config| drop(config.labels.insert("k".into(), long.clone())))),
            ("config.labels[k]", Box::new(|config| drop(config.labels.insert("k".into(), "\0".into())))),
            ("config.labels[]", Box::new(|config| drop(config.labels.insert(String::new(), "v".into())))),
            ("config.annotations[k]", Box::new(|config| drop(config.annotations.insert("k".into(), "\0".into())))),
            (
                "config.annotations[kubernetes.io/ingress-bandwidth]",
                Box::new(|config| {
                    drop(config.annotations.insert("kubernetes.io/ingress-bandwidth".into(), "fast".into()));
                }),
            ),
            (
                "config.port_mappings[0].container_port",
                Box::new(|config| config.port_mappings.push(cri::PortMapping::default())),
            ),
            (
                "config.dns_config.servers[0]",
                Box::new(|config| {
                    config.dns_config = Some(cri::DnsConfig { servers: vec!["a\nb".into()], ..Default::default() });
                }),
            ),
            ("config.linux.cgroup_parent", linux(|linux| linux.cgroup_parent = "kubepods".into())),
            ("config.linux.cgroup_parent", linux(|linux| linux.cgroup_parent = "/a/../b".into())),
            ("config.linux.cgroup_parent", linux(|linux| linux.cgroup_parent = "/a\0".into())),
            ("config.linux.sysctls[a]", linux(|linux| drop(linux.sysctls.insert("a".into(), "\0".into())))),
            (
                "config.linux.resources.cpu_shares",
                linux(|linux| linux.resources.get_or_insert_default().cpu_shares = -1),
            ),
            ("config.linux.overhead.cpu_period", linux(|linux| linux.overhead.get_or_insert_default().cpu_period = 1)),
            ("config.linux.security_context.run_as_user", security(|security| security.run_as_user = id(-1))),
            (
                "config.linux.security_context.run_as_user",
                security(|security| security.run_as_user = id(i64::from(u32::MAX))),
            ),
            ("config.linux.security_context.run_as_group", security(|security| security.run_as_group = id(5))),
            (
                "config.linux.security_context.supplemental_groups[1]",
                security(|security| security.supplemental_groups = vec![0, 1 << 32]),
            ),
            (
                "config.linux.security_context.supplemental_groups_policy",
                security(|security| security.supplemental_groups_policy = 2),
            ),
            (
                "config.linux.security_context.seccomp.profile_type",
                security(|security| {
                    security.seccomp = Some(cri::SecurityProfile { profile_type: 9, ..Default::default() });
                }),
            ),
            (
                "config.linux.security_context.namespace_options.network",
                security(|security| {
                    security.namespace_options = Some(cri::NamespaceOption { network: 1, ..Default::default() });
                }),
            ),
        ];
        for (name, change) in table {
            let refusal = parse(&change).err().unwrap_or_else(|| panic!("{name} was accepted"));
            assert_eq!(refusal.kind(), sandbox::Kind::InvalidInput, "{refusal}");
            assert!(refusal.to_string().starts_with(&format!("{name}: ")), "{name}, not {refusal}");
        }
    }

    #[test]
    fn no_config_and_an_unknown_handler() {
        let none = pod_config(&cri::RunPodSandboxRequest::default()).unwrap_err().to_string();
        assert!(none.starts_with("config: "), "{none}");
        for handler in ["kata", "runc", "Husk", "\0"] {
            let request = cri::RunPodSandboxRequest { runtime_handler: handler.into(), ..samples::run_pod_sandbox() };
            let unknown = pod_config(&request).unwrap_err().to_string();
            assert!(unknown.starts_with("runtime_handler: there is no runtime handler"), "{unknown}");
        }
        let named = cri::RunPodSandboxRequest { runtime_handler: "husk".into(), ..samples::run_pod_sandbox() };
        assert_eq!(pod_config(&named).unwrap().runtime_handler, "husk");
    }

    #[test]
    fn a_slice_names_both_drivers() {
        for parent in ["/kubepods.slice/kubepods-pod1.slice", "kubepods.slice", "/a.slice/"] {
            let refusal = parse(&*linux(|linux| linux.cgroup_parent = parent.into())).unwrap_err();
            assert_eq!(refusal.kind(), sandbox::Kind::WrongState);
            let text = refusal.to_string();
            assert!(text.contains("systemd") && text.contains("cgroupfs"), "{text}");
        }
    }

    #[test]
    fn networks_of_a_node() {
        let request = |cidr: &str| cri::UpdateRuntimeConfigRequest {
            runtime_config: Some(cri::RuntimeConfig {
                network_config: Some(cri::NetworkConfig { pod_cidr: cidr.into() }),
            }),
        };
        for good in ["", "10.244.1.0/24", "10.244.1.0/24,fd00::/64"] {
            assert_eq!(pod_cidrs(&request(good)), Ok(()), "{good}");
        }
        for wrong in ["10.244.1.0", "10.244.1.0/33", "a/8", "fd00::/129"] {
            assert!(pod_cidrs(&request(wrong)).is_err(), "{wrong}");
        }
        assert!(pod_cidrs(&cri::UpdateRuntimeConfigRequest::default()).is_err());
    }
}
