// SPDX-License-Identifier: Apache-2.0
//! Identity and confinement of a container.

use proto::cri;
use sandbox::config::{CapabilityChange, IdentityRequest, PidMode, PodConfig, SecurityRequest};

use super::{Field, Profile, Refusal, capabilities, mounts, namespaces, strings, users};

/// Reads `LinuxContainerSecurityContext` of a container in a pod.
pub(super) fn security(
    field: &Field<'_>,
    asked: &cri::LinuxContainerSecurityContext,
    pod: &PodConfig,
) -> Result<SecurityRequest, Refusal> {
    if asked.privileged && !pod.privileged {
        return Err(field.then("privileged").invalid("the pod sandbox was not made for privileged containers"));
    }
    checked_only(field, asked)?;
    let options = field.then("namespace_options");
    Ok(SecurityRequest {
        privileged: asked.privileged,
        identity: identity(field, asked)?,
        supplemental_groups: users::groups(&field.then("supplemental_groups"), &asked.supplemental_groups)?,
        readonly_rootfs: asked.readonly_rootfs,
        no_new_privs: asked.no_new_privs,
        masked_paths: paths(&field.then("masked_paths"), &asked.masked_paths)?,
        readonly_paths: paths(&field.then("readonly_paths"), &asked.readonly_paths)?,
        capabilities: match &asked.capabilities {
            Some(change) => capabilities::capability_change(&field.then("capabilities"), change)?,
            None => CapabilityChange::default(),
        },
        pid: namespaces::of_container(&options, asked.namespace_options.as_ref(), pod.pid)?,
    })
}

/// What a container without a security context gets: its pod's pid namespace and nothing else.
pub(super) fn no_security(pid: PidMode) -> SecurityRequest {
    SecurityRequest {
        privileged: false,
        identity: None,
        supplemental_groups: Vec::new(),
        readonly_rootfs: false,
        no_new_privs: false,
        masked_paths: Vec::new(),
        readonly_paths: Vec::new(),
        capabilities: CapabilityChange::default(),
        pid,
    }
}

/// Fields that have no place in the domain type yet: right or wrong, they are refused by name when they ask for
/// something.
fn checked_only(field: &Field<'_>, asked: &cri::LinuxContainerSecurityContext) -> Result<(), Refusal> {
    users::groups_policy(&field.then("supplemental_groups_policy"), asked.supplemental_groups_policy)?;
    seccomp(field, asked)?;
    apparmor(field, asked)?;
    Ok(())
}

/// Which seccomp profile is asked for.
#[expect(deprecated, reason = "old clients send the profile's path, and the CRI keeps it")]
pub(crate) fn seccomp(field: &Field<'_>, asked: &cri::LinuxContainerSecurityContext) -> Result<Profile, Refusal> {
    let old = field.then("seccomp_profile_path");
    Profile::read(&field.then("seccomp"), asked.seccomp.as_ref(), &old, &asked.seccomp_profile_path)
}

/// Which AppArmor profile is asked for.
#[expect(deprecated, reason = "old clients send the profile's name, and the CRI keeps it")]
pub(crate) fn apparmor(field: &Field<'_>, asked: &cri::LinuxContainerSecurityContext) -> Result<Profile, Refusal> {
    let old = field.then("apparmor_profile");
    Profile::read(&field.then("apparmor"), asked.apparmor.as_ref(), &old, &asked.apparmor_profile)
}

fn identity(field: &Field<'_>, asked: &cri::LinuxContainerSecurityContext) -> Result<Option<IdentityRequest>, Refusal> {
    let uid = users::optional_id(&field.then("run_as_user"), asked.run_as_user.as_ref())?;
    let group = field.then("run_as_group");
    let gid = users::optional_id(&group, asked.run_as_group.as_ref())?;
    let username = strings::name_or_empty(&field.then("run_as_username"), &asked.run_as_username)?;
    match (uid, gid) {
        (Some(uid), gid) => Ok(Some(IdentityRequest { uid, gid })),
        // CRI: "run_as_group should only be specified when run_as_user or run_as_username is specified; otherwise,
        // the runtime MUST error", even if the image sets a user.
        (None, Some(_)) if username.is_empty() => {
            Err(group.invalid("it needs run_as_user or run_as_username beside it"))
        }
        (None, _) => Ok(None),
    }
}

fn paths(field: &Field<'_>, paths: &[String]) -> Result<Vec<String>, Refusal> {
    let check = |(index, path): (usize, &String)| {
        let entry = field.at(index);
        strings::absolute_path(&entry, path)?;
        mounts::inside(&entry, path)
    };
    paths.iter().enumerate().map(check).collect()
}
