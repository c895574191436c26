// SPDX-License-Identifier: Apache-2.0
//! What this version does not do yet: refused by name, never ignored.
//!
//! A row is a field, when it asks for something, and what to do instead. A field that gets honoured loses its row, and
//! nothing else has to change. What a request may say without any effect is not here: `windows`, and a pod's
//! `run_as_user`, `readonly_rootfs`, groups and seccomp RuntimeDefault, which are about its pause process only (a
//! program of husk's own that nobody can see into).

use proto::cri;
use proto::cri::{MountPropagation, NamespaceMode, SupplementalGroupsPolicy};
use tonic::{Code, Status};

use super::parse::{Field, Profile, Refusal, apparmor, seccomp};
use super::status;

/// What of the node decides whether a field asks for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selinux {
    /// The kernel has no policy loaded, so that there is nothing to relabel.
    Off,
    /// A policy is loaded.
    On,
}

struct Row<T> {
    field: &'static str,
    why: &'static str,
    asks: fn(&T, Selinux) -> bool,
}

/// Refuses a pod that asks for what this version does not do.
pub(crate) fn pod(config: Option<&cri::PodSandboxConfig>, selinux: Selinux) -> Result<(), Refusal> {
    config.map_or(Ok(()), |config| first(&POD, config, selinux))
}

/// Refuses a container that asks for what this version does not do.
pub(crate) fn container(config: Option<&cri::ContainerConfig>, selinux: Selinux) -> Result<(), Refusal> {
    config.map_or(Ok(()), |config| first(&CONTAINER, config, selinux))
}

/// The answer of an RPC that this version does not have.
pub(crate) fn rpc(name: &'static str) -> Status {
    status::of(Code::Unimplemented, &format!("{name} is not supported by this version of husk"))
}

fn first<T>(rows: &[Row<T>], config: &T, selinux: Selinux) -> Result<(), Refusal> {
    match rows.iter().find(|row| (row.asks)(config, selinux)) {
        Some(row) => Err(Refusal::Unsupported { field: row.field.to_owned(), why: row.why }),
        None => Ok(()),
    }
}

const POD: [Row<cri::PodSandboxConfig>; 5] = [
    Row {
        field: "config.linux.sysctls",
        why: "sysctls of a pod are not set yet; leave it empty",
        asks: |config, _| config.linux.as_ref().is_some_and(|linux| !linux.sysctls.is_empty()),
    },
    Row {
        field: "config.linux.security_context.namespace_options.userns_options",
        why: "user namespaces are not made yet; leave it out or ask for NODE",
        asks: |config, _| of_pod(config).is_some_and(|context| userns(context.namespace_options.as_ref())),
    },
    Row {
        field: "config.linux.security_context.selinux_options",
        why: "SELinux labels are not applied yet; leave it out",
        asks: |config, _| of_pod(config).is_some_and(|context| labels(context.selinux_options.as_ref())),
    },
    Row {
        field: "config.linux.security_context.seccomp",
        why: "pause is not confined by a file of the node; ask for RuntimeDefault or Unconfined",
        asks: |config, _| of_pod(config).is_some_and(|context| pod_seccomp(context) == Ok(Profile::Localhost)),
    },
    Row {
        field: "config.linux.security_context.apparmor",
        why: "AppArmor profiles are not applied yet; leave it out or ask for Unconfined",
        asks: |config, _| of_pod(config).is_some_and(|context| confines(pod_apparmor(context))),
    },
];

const CONTAINER: [Row<cri::ContainerConfig>; 20] = [
    Row {
        field: "config.devices",
        why: "devices of the node are not handed in yet; leave it empty",
        asks: |config, _| !config.devices.is_empty(),
    },
    Row {
        field: "config.CDI_devices",
        why: "CDI specifications are not applied yet; leave it empty",
        asks: |config, _| !config.cdi_devices.is_empty(),
    },
    Row {
        field: "config.mounts[].propagation",
        why: "mounts are private so far; ask for PROPAGATION_PRIVATE",
        asks: |config, _| any_mount(config, |mount| mount.propagation != MountPropagation::PropagationPrivate as i32),
    },
    Row {
        field: "config.mounts[].recursive_read_only",
        why: "mounts below a read-only mount are left as they are so far; ask for `readonly` alone",
        asks: |config, _| any_mount(config, |mount| mount.recursive_read_only),
    },
    Row {
        field: "config.mounts[].image",
        why: "images are not mounted as volumes yet; use a host_path",
        asks: |config, _| any_mount(config, |mount| mount.image.is_some()),
    },
    Row {
        field: "config.mounts[].image_sub_path",
        why: "images are not mounted as volumes yet; leave it empty",
        asks: |config, _| any_mount(config, |mount| !mount.image_sub_path.is_empty()),
    },
    Row {
        field: "config.mounts[].mount_options",
        why: "options of a bind mount are not applied yet; leave it empty",
        asks: |config, _| any_mount(config, |mount| !mount.mount_options.is_empty()),
    },
    Row {
        field: "config.mounts[].uidMappings",
        why: "id-mapped mounts are not made yet; leave it empty",
        asks: |config, _| any_mount(config, |mount| !mount.uid_mappings.is_empty()),
    },
    Row {
        field: "config.mounts[].gidMappings",
        why: "id-mapped mounts are not made yet; leave it empty",
        asks: |config, _| any_mount(config, |mount| !mount.gid_mappings.is_empty()),
    },
    Row {
        field: "config.mounts[].selinux_relabel",
        why: "volumes are not relabelled yet, and this node has an SELinux policy; relabel it by hand",
        asks: |config, selinux| selinux == Selinux::On && any_mount(config, |mount| mount.selinux_relabel),
    },
    Row {
        field: "config.linux.resources.hugepage_limits",
        why: "huge pages are not limited yet; ask for limits of 0",
        asks: |config, _| of_resources(config).is_some_and(|r| r.hugepage_limits.iter().any(|limit| limit.limit != 0)),
    },
    Row {
        field: "config.linux.resources.unified",
        why: "cgroup v2 files are not written by name yet; leave it empty",
        asks: |config, _| of_resources(config).is_some_and(|r| !r.unified.is_empty()),
    },
    Row {
        field: "config.linux.security_context.namespace_options.pid",
        why: "another container's pid namespace (TARGET) is not joined yet; ask for POD, CONTAINER or NODE",
        asks: |config, _| {
            let options = of_container(config).and_then(|context| context.namespace_options.as_ref());
            options.is_some_and(|options| options.pid == NamespaceMode::Target as i32)
        },
    },
    Row {
        field: "config.linux.security_context.namespace_options.userns_options",
        why: "user namespaces are not made yet; leave it out or ask for NODE",
        asks: |config, _| of_container(config).is_some_and(|context| userns(context.namespace_options.as_ref())),
    },
    Row {
        field: "config.linux.security_context.run_as_username",
        why: "user names of a request are not looked up yet; use run_as_user",
        asks: |config, _| of_container(config).is_some_and(|context| !context.run_as_username.is_empty()),
    },
    Row {
        field: "config.linux.security_context.supplemental_groups_policy",
        why: "the image's groups are always merged so far; ask for Merge",
        asks: |config, _| {
            let strict = SupplementalGroupsPolicy::Strict as i32;
            of_container(config).is_some_and(|context| context.supplemental_groups_policy == strict)
        },
    },
    Row {
        field: "config.linux.security_context.capabilities.add_ambient_capabilities",
        why: "ambient capabilities are not set yet; leave it empty",
        asks: |config, _| {
            let asked = of_container(config).and_then(|context| context.capabilities.as_ref());
            asked.is_some_and(|capabilities| !capabilities.add_ambient_capabilities.is_empty())
        },
    },
    Row {
        field: "config.linux.security_context.seccomp",
        why: "system calls are not filtered yet; leave it out or ask for Unconfined",
        asks: |config, _| confined(config, seccomp),
    },
    Row {
        field: "config.linux.security_context.apparmor",
        why: "AppArmor profiles are not applied yet; leave it out or ask for Unconfined",
        asks: |config, _| confined(config, apparmor),
    },
    Row {
        field: "config.linux.security_context.selinux_options",
        why: "SELinux labels are not applied yet; leave it out",
        asks: |config, _| of_container(config).is_some_and(|context| labels(context.selinux_options.as_ref())),
    },
];

fn of_pod(config: &cri::PodSandboxConfig) -> Option<&cri::LinuxSandboxSecurityContext> {
    config.linux.as_ref().and_then(|linux| linux.security_context.as_ref())
}

fn of_container(config: &cri::ContainerConfig) -> Option<&cri::LinuxContainerSecurityContext> {
    config.linux.as_ref().and_then(|linux| linux.security_context.as_ref())
}

fn of_resources(config: &cri::ContainerConfig) -> Option<&cri::LinuxContainerResources> {
    config.linux.as_ref().and_then(|linux| linux.resources.as_ref())
}

fn any_mount(config: &cri::ContainerConfig, asks: fn(&cri::Mount) -> bool) -> bool {
    config.mounts.iter().any(asks)
}

fn userns(options: Option<&cri::NamespaceOption>) -> bool {
    let userns = options.and_then(|options| options.userns_options.as_ref());
    userns.is_some_and(|userns| userns.mode == NamespaceMode::Pod as i32)
}

fn labels(options: Option<&cri::SeLinuxOption>) -> bool {
    options.is_some_and(|options| *options != cri::SeLinuxOption::default())
}

#[expect(deprecated, reason = "old clients send the profile's path, and the CRI keeps it")]
fn pod_seccomp(context: &cri::LinuxSandboxSecurityContext) -> Result<Profile, Refusal> {
    let field = Field::of_request("seccomp");
    Profile::read(&field, context.seccomp.as_ref(), &field, &context.seccomp_profile_path)
}

fn pod_apparmor(context: &cri::LinuxSandboxSecurityContext) -> Result<Profile, Refusal> {
    let field = Field::of_request("apparmor");
    Profile::read(&field, context.apparmor.as_ref(), &field, "")
}

fn confines(profile: Result<Profile, Refusal>) -> bool {
    matches!(profile, Ok(Profile::RuntimeDefault | Profile::Localhost))
}

type Reader = fn(&Field<'_>, &cri::LinuxContainerSecurityContext) -> Result<Profile, Refusal>;

/// Whether a container is to be confined by a profile: privileged ones never are, whatever else they ask for.
fn confined(config: &cri::ContainerConfig, read: Reader) -> bool {
    let context = of_container(config).filter(|context| !context.privileged);
    context.is_some_and(|context| confines(read(&Field::of_request("security_context"), context)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::parse::samples;

    fn profile(profile_type: i32) -> Option<cri::SecurityProfile> {
        Some(cri::SecurityProfile {
            profile_type,
            localhost_ref: if profile_type == 2 { "/p".into() } else { String::new() },
        })
    }

    fn userns_of_pod() -> Option<cri::NamespaceOption> {
        Some(cri::NamespaceOption { userns_options: Some(cri::UserNamespace::default()), ..Default::default() })
    }

    fn some_label() -> Option<cri::SeLinuxOption> {
        Some(cri::SeLinuxOption { level: "s0".into(), ..Default::default() })
    }

    /// A row's field, and a change that trips it.
    type Change<T> = (&'static str, fn(&mut T));

    /// Every row has one change to a right request that trips it, and no row is without one.
    fn check<T: Clone>(rows: &[Row<T>], right: &T, changes: &[Change<T>]) {
        assert!(first(rows, right, Selinux::On).is_ok(), "the sample itself is refused");
        for (field, change) in changes {
            let mut config = right.clone();
            change(&mut config);
            let refusal = first(rows, &config, Selinux::On).err().unwrap_or_else(|| panic!("{field} is accepted"));
            assert_eq!(refusal.kind(), sandbox::Kind::Unsupported);
            let text = refusal.to_string();
            assert!(text.starts_with(&format!("{field} is not supported by this version of husk: ")), "{text}");
        }
        for row in rows {
            assert!(changes.iter().any(|(field, _)| *field == row.field), "{} has no test", row.field);
        }
    }

    fn context(config: &mut cri::ContainerConfig) -> &mut cri::LinuxContainerSecurityContext {
        config.linux.get_or_insert_default().security_context.get_or_insert_default()
    }

    fn pod_context(config: &mut cri::PodSandboxConfig) -> &mut cri::LinuxSandboxSecurityContext {
        config.linux.get_or_insert_default().security_context.get_or_insert_default()
    }

    fn mount(config: &mut cri::ContainerConfig) -> &mut cri::Mount {
        config.mounts.push(cri::Mount { container_path: "/a".into(), host_path: "/b".into(), ..Default::default() });
        config.mounts.last_mut().unwrap()
    }

    #[test]
    #[expect(deprecated, reason = "the deprecated field is one that is tested")]
    fn every_row_of_a_pod() {
        let right = samples::run_pod_sandbox().config.unwrap();
        check(
            &POD,
            &right,
            &[
                ("config.linux.sysctls", |c| {
                    drop(c.linux.get_or_insert_default().sysctls.insert("a".into(), "b".into()))
                }),
                ("config.linux.security_context.namespace_options.userns_options", |c| {
                    pod_context(c).namespace_options = userns_of_pod()
                }),
                ("config.linux.security_context.selinux_options", |c| pod_context(c).selinux_options = some_label()),
                ("config.linux.security_context.seccomp", |c| pod_context(c).seccomp = profile(2)),
                ("config.linux.security_context.seccomp", |c| {
                    pod_context(c).seccomp_profile_path = "localhost//p".into()
                }),
                ("config.linux.security_context.apparmor", |c| pod_context(c).apparmor = profile(0)),
                ("config.linux.security_context.apparmor", |c| pod_context(c).apparmor = profile(2)),
            ],
        );
    }

    #[test]
    #[expect(deprecated, reason = "the deprecated fields are ones that are tested")]
    fn every_row_of_a_container() {
        check(
            &CONTAINER,
            &samples::container_config(),
            &[
                ("config.devices", |c| c.devices.push(cri::Device::default())),
                ("config.CDI_devices", |c| c.cdi_devices.push(cri::CdiDevice::default())),
                ("config.mounts[].propagation", |c| mount(c).propagation = 1),
                ("config.mounts[].propagation", |c| mount(c).propagation = 2),
                ("config.mounts[].recursive_read_only", |c| mount(c).recursive_read_only = true),
                ("config.mounts[].image", |c| mount(c).image = Some(cri::ImageSpec::default())),
                ("config.mounts[].image_sub_path", |c| mount(c).image_sub_path = "a".into()),
                ("config.mounts[].mount_options", |c| mount(c).mount_options.push("noexec".into())),
                ("config.mounts[].uidMappings", |c| mount(c).uid_mappings.push(cri::IdMapping::default())),
                ("config.mounts[].gidMappings", |c| mount(c).gid_mappings.push(cri::IdMapping::default())),
                ("config.mounts[].selinux_relabel", |c| mount(c).selinux_relabel = true),
                ("config.linux.resources.hugepage_limits", |c| {
                    let limits = &mut c.linux.get_or_insert_default().resources.get_or_insert_default().hugepage_limits;
                    limits.push(cri::HugepageLimit { page_size: "2MB".into(), limit: 1 });
                }),
                ("config.linux.resources.unified", |c| {
                    let resources = c.linux.get_or_insert_default().resources.get_or_insert_default();
                    drop(resources.unified.insert("memory.high".into(), "1".into()));
                }),
                ("config.linux.security_context.namespace_options.pid", |c| {
                    context(c).namespace_options = Some(cri::NamespaceOption { pid: 3, ..Default::default() });
                }),
                ("config.linux.security_context.namespace_options.userns_options", |c| {
                    context(c).namespace_options = userns_of_pod()
                }),
                ("config.linux.security_context.run_as_username", |c| context(c).run_as_username = "www".into()),
                ("config.linux.security_context.supplemental_groups_policy", |c| {
                    context(c).supplemental_groups_policy = 1
                }),
                ("config.linux.security_context.capabilities.add_ambient_capabilities", |c| {
                    context(c).capabilities.get_or_insert_default().add_ambient_capabilities.push("CHOWN".into());
                }),
                ("config.linux.security_context.seccomp", |c| context(c).seccomp = profile(0)),
                ("config.linux.security_context.seccomp", |c| context(c).seccomp = profile(2)),
                ("config.linux.security_context.seccomp", |c| {
                    context(c).seccomp_profile_path = "runtime/default".into()
                }),
                ("config.linux.security_context.apparmor", |c| context(c).apparmor = profile(0)),
                ("config.linux.security_context.apparmor", |c| context(c).apparmor_profile = "localhost/p".into()),
                ("config.linux.security_context.selinux_options", |c| context(c).selinux_options = some_label()),
            ],
        );
    }

    #[test]
    fn what_has_no_effect_is_accepted() {
        let mut pod_config = samples::run_pod_sandbox().config.unwrap();
        pod_config.windows = Some(cri::WindowsPodSandboxConfig::default());
        pod_context(&mut pod_config).seccomp = profile(0);
        pod_context(&mut pod_config).readonly_rootfs = true;
        pod_context(&mut pod_config).selinux_options = Some(cri::SeLinuxOption::default());
        assert_eq!(pod(Some(&pod_config), Selinux::Off), Ok(()));

        let mut config = samples::container_config();
        config.windows = Some(cri::WindowsContainerConfig::default());
        mount(&mut config).selinux_relabel = true;
        context(&mut config).seccomp = profile(1);
        context(&mut config).apparmor = profile(1);
        assert_eq!(container(Some(&config), Selinux::Off), Ok(()));

        context(&mut config).privileged = true;
        context(&mut config).seccomp = profile(0);
        context(&mut config).apparmor = profile(2);
        assert_eq!(container(Some(&config), Selinux::Off), Ok(()));
        assert!(rpc("Exec").message().starts_with("Exec is not supported by this version of husk"));
    }
}
