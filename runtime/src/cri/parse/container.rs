// SPDX-License-Identifier: Apache-2.0
//! `ContainerConfig` of the CRI to [`ContainerConfig`] of the domain.

use proto::cri;
use sandbox::config::{ContainerConfig, ContainerKey, ImageRequest, PodConfig, Resources};

use super::{Field, Refusal, image, mounts, process, resources, security, signal, strings};

/// Reads what a container in a pod shall be. The `sandbox_config` beside it repeats what the pod was made from, so
/// the pod's own record is used.
pub(crate) fn container_config(
    config: Option<&cri::ContainerConfig>,
    pod: &PodConfig,
) -> Result<ContainerConfig, Refusal> {
    let field = Field::of_request("config");
    let config = field.required(config)?;
    let linux = config.linux.clone().unwrap_or_default();
    let linux_field = field.then("linux");
    mounts::devices(&field.then("devices"), &config.devices)?;
    for (index, device) in config.cdi_devices.iter().enumerate() {
        strings::name(&field.then("CDI_devices").at(index).then("name"), &device.name)?;
    }
    Ok(ContainerConfig {
        key: key(&field.then("metadata"), config.metadata.as_ref())?,
        image: image_request(&field.then("image"), config.image.as_ref())?,
        command: process::arguments(&field.then("command"), &config.command)?,
        args: process::arguments(&field.then("args"), &config.args)?,
        working_dir: process::working_dir(&field.then("working_dir"), &config.working_dir)?,
        envs: process::environment(&field.then("envs"), &config.envs)?,
        mounts: mounts::mounts(&field.then("mounts"), &config.mounts)?,
        labels: strings::labels(&field.then("labels"), &config.labels)?,
        annotations: strings::strings(&field.then("annotations"), &config.annotations)?,
        log_path: log_path(&field.then("log_path"), &config.log_path)?,
        stdin: process::stdin(config),
        tty: config.tty,
        resources: match &linux.resources {
            Some(asked) => resources::resources(&linux_field.then("resources"), asked)?,
            None => Resources::default(),
        },
        security: match &linux.security_context {
            Some(asked) => security::security(&linux_field.then("security_context"), asked, pod)?,
            None => security::no_security(pod.pid),
        },
        stop_signal: signal::stop_signal(&field.then("stop_signal"), config.stop_signal)?,
    })
}

fn key(field: &Field<'_>, metadata: Option<&cri::ContainerMetadata>) -> Result<ContainerKey, Refusal> {
    let metadata = field.required(metadata)?;
    Ok(ContainerKey { name: strings::name(&field.then("name"), &metadata.name)?, attempt: metadata.attempt })
}

fn image_request(field: &Field<'_>, spec: Option<&cri::ImageSpec>) -> Result<ImageRequest, Refusal> {
    let name = image::image_name(field, spec)?;
    let spec = field.required(spec)?;
    let user_specified = field.then("user_specified_image");
    Ok(ImageRequest {
        image: name,
        user_specified: strings::name_or_empty(&user_specified, &spec.user_specified_image)?,
        annotations: strings::strings(&field.then("annotations"), &spec.annotations)?,
    })
}

/// A path below the pod's log directory.
fn log_path(field: &Field<'_>, text: &str) -> Result<Option<String>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let path = strings::without_parent(field, strings::path(field, text)?)?;
    if path.starts_with('/') || path.ends_with('/') {
        return Err(field.invalid("it is not a file below the pod's log_directory"));
    }
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use sandbox::config::{IdentityRequest, PidMode, StdinRequest};

    use super::*;
    use crate::cri::parse::samples;

    type Change = Box<dyn Fn(&mut cri::ContainerConfig)>;

    fn parse(change: &dyn Fn(&mut cri::ContainerConfig)) -> Result<ContainerConfig, Refusal> {
        let mut config = samples::container_config();
        change(&mut config);
        container_config(Some(&config), &samples::pod_config())
    }

    fn security(change: impl Fn(&mut cri::LinuxContainerSecurityContext) + 'static) -> Change {
        Box::new(move |config| change(config.linux.get_or_insert_default().security_context.get_or_insert_default()))
    }

    fn id(value: i64) -> Option<cri::Int64Value> {
        Some(cri::Int64Value { value })
    }

    /// Every change spoils a right request, and the error names its field.
    fn check(table: Vec<(String, Change)>) {
        for (name, change) in table {
            let refusal = parse(&change).err().unwrap_or_else(|| panic!("{name} was accepted"));
            assert_eq!(refusal.kind(), sandbox::Kind::InvalidInput, "{refusal}");
            assert!(refusal.to_string().starts_with(&format!("{name}: ")), "{name}, not {refusal}");
        }
    }

    #[test]
    fn the_least_request() {
        let parsed = parse(&|_| ()).unwrap();
        assert_eq!((parsed.key.name.as_str(), parsed.image.image.as_str()), ("app", "busybox"));
        assert_eq!((parsed.working_dir, parsed.log_path, parsed.stop_signal), (None, None, None));
        assert_eq!((parsed.stdin, parsed.resources), (StdinRequest::Closed, Resources::default()));
        assert_eq!((parsed.security.pid, parsed.security.identity), (PidMode::Pod, None));
    }

    #[test]
    fn what_is_given_is_kept() {
        let parsed = parse(&|config| {
            config.envs = vec![cri::KeyValue { key: "A".into(), value: vec![0xff, b'='] }];
            config.log_path = "app/0.log".into();
            (config.stdin, config.stdin_once) = (true, true);
            config.stop_signal = cri::Signal::Sigquit as i32;
            let linux = config.linux.get_or_insert_default();
            linux.resources = Some(cri::LinuxContainerResources::default());
            let security = linux.security_context.get_or_insert_default();
            security.run_as_user = id(1000);
            security.run_as_group = id(3000);
            security.namespace_options = Some(cri::NamespaceOption { pid: 1, ..Default::default() });
            security.masked_paths = vec!["/proc/kcore".into()];
        })
        .unwrap();
        assert_eq!(parsed.envs[0].value, [0xff, b'=']);
        assert_eq!(parsed.log_path.as_deref(), Some("app/0.log"));
        assert_eq!((parsed.stdin, parsed.security.pid), (StdinRequest::Once, PidMode::Container));
        assert_eq!(parsed.stop_signal.map(sandbox::config::Signal::number), Some(3));
        assert_eq!(parsed.resources.oom_score_adj, Some(0));
        assert_eq!(parsed.security.identity, Some(IdentityRequest { uid: 1000, gid: Some(3000) }));
        assert_eq!(parsed.security.masked_paths, ["/proc/kcore"]);
    }

    #[test]
    fn malformed_requests_are_refused_by_field() {
        let table: Vec<(String, Change)> = vec![
            ("config.metadata".into(), Box::new(|config| config.metadata = None)),
            ("config.metadata.name".into(), Box::new(|config| config.metadata.as_mut().unwrap().name.clear())),
            ("config.metadata.name".into(), Box::new(|config| config.metadata.as_mut().unwrap().name = "\0".into())),
            ("config.image".into(), Box::new(|config| config.image = None)),
            ("config.image.image".into(), Box::new(|config| config.image.as_mut().unwrap().image.clear())),
            ("config.image.image".into(), Box::new(|config| config.image.as_mut().unwrap().image = "a\0".into())),
            (
                "config.image.runtime_handler".into(),
                Box::new(|config| config.image.as_mut().unwrap().runtime_handler = "kata".into()),
            ),
            ("config.command[1]".into(), Box::new(|config| config.command = vec!["a".into(), "\0".into()])),
            ("config.args[0]".into(), Box::new(|config| config.args = vec!["\0".into()])),
            ("config.working_dir".into(), Box::new(|config| config.working_dir = "tmp".into())),
            ("config.working_dir".into(), Box::new(|config| config.working_dir = "/\0".into())),
            ("config.envs[0].key".into(), Box::new(|config| config.envs = vec![cri::KeyValue::default()])),
            (
                "config.envs[0].key".into(),
                Box::new(|config| config.envs = vec![cri::KeyValue { key: "a=b".into(), value: vec![] }]),
            ),
            (
                "config.envs[0].value".into(),
                Box::new(|config| config.envs = vec![cri::KeyValue { key: "a".into(), value: vec![0] }]),
            ),
            ("config.mounts[0].container_path".into(), Box::new(|config| config.mounts = vec![cri::Mount::default()])),
            (
                "config.devices[0].container_path".into(),
                Box::new(|config| config.devices = vec![cri::Device::default()]),
            ),
            (
                "config.CDI_devices[0].name".into(),
                Box::new(|config| config.cdi_devices = vec![cri::CdiDevice::default()]),
            ),
            ("config.labels[k]".into(), Box::new(|config| drop(config.labels.insert("k".into(), "v".repeat(4096))))),
            (
                "config.annotations[k]".into(),
                Box::new(|config| drop(config.annotations.insert("k".into(), "\0".into()))),
            ),
            ("config.log_path".into(), Box::new(|config| config.log_path = "../0.log".into())),
            ("config.log_path".into(), Box::new(|config| config.log_path = "a/../../0.log".into())),
            ("config.log_path".into(), Box::new(|config| config.log_path = "/var/log/0.log".into())),
            ("config.log_path".into(), Box::new(|config| config.log_path = "a/".into())),
            ("config.log_path".into(), Box::new(|config| config.log_path = "a\0".into())),
            ("config.stop_signal".into(), Box::new(|config| config.stop_signal = 66)),
            (
                "config.linux.resources.cpu_quota".into(),
                Box::new(|config| {
                    config.linux.get_or_insert_default().resources.get_or_insert_default().cpu_quota = -5;
                }),
            ),
        ];
        check(table);
        let none = container_config(None, &samples::pod_config()).unwrap_err().to_string();
        assert!(none.starts_with("config: "), "{none}");
    }

    #[test]
    fn malformed_security_contexts_are_refused_by_field() {
        let context = |name: &str| format!("config.linux.security_context.{name}");
        let table: Vec<(String, Change)> = vec![
            (context("privileged"), security(|security| security.privileged = true)),
            (context("run_as_user"), security(|security| security.run_as_user = id(-1))),
            (context("run_as_user"), security(|security| security.run_as_user = id(i64::MAX))),
            (context("run_as_group"), security(|security| security.run_as_group = id(0))),
            (context("run_as_username"), security(|security| security.run_as_username = "a\n".into())),
            (context("supplemental_groups[0]"), security(|security| security.supplemental_groups = vec![-1])),
            (context("supplemental_groups_policy"), security(|security| security.supplemental_groups_policy = -1)),
            (
                context("capabilities.add_capabilities[0]"),
                security(|security| {
                    security.capabilities.get_or_insert_default().add_capabilities = vec!["SUPER".into()];
                }),
            ),
            (
                context("capabilities.drop_capabilities[0]"),
                security(|security| {
                    security.capabilities.get_or_insert_default().drop_capabilities = vec![String::new()];
                }),
            ),
            (
                context("capabilities.add_ambient_capabilities[0]"),
                security(|security| {
                    security.capabilities.get_or_insert_default().add_ambient_capabilities = vec!["x".into()];
                }),
            ),
            (
                context("namespace_options.pid"),
                security(|security| {
                    security.namespace_options = Some(cri::NamespaceOption { pid: 17, ..Default::default() });
                }),
            ),
            (context("masked_paths[0]"), security(|security| security.masked_paths = vec!["proc".into()])),
            (context("masked_paths[0]"), security(|security| security.masked_paths = vec!["/a/../b".into()])),
            (context("readonly_paths[0]"), security(|security| security.readonly_paths = vec!["/".into()])),
            (
                context("seccomp.profile_type"),
                security(|security| {
                    security.seccomp = Some(cri::SecurityProfile { profile_type: 5, ..Default::default() });
                }),
            ),
            (
                context("apparmor.localhost_ref"),
                security(|security| {
                    security.apparmor = Some(cri::SecurityProfile { profile_type: 2, ..Default::default() });
                }),
            ),
        ];
        check(table);
    }

    #[test]
    fn a_privileged_pod_may_have_privileged_containers() {
        let mut pod = samples::pod_config();
        pod.privileged = true;
        let mut config = samples::container_config();
        config.linux.get_or_insert_default().security_context.get_or_insert_default().privileged = true;
        assert!(container_config(Some(&config), &pod).unwrap().security.privileged);
    }
}
