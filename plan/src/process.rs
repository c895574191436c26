// SPDX-License-Identifier: Apache-2.0
//! The process half of a plan, which start and exec share.

use oci_spec::runtime::{PosixRlimitType, Process as OciProcess};
use wire::{ByteVec, CapabilitySets, Process, Rlimit};

use crate::capability::bits;
use crate::error::Error;

/// Compiles the process part of an OCI config (runtime-spec, "config.md#process").
///
/// `env` replaces the config's environment: an OCI config is JSON and cannot hold the bytes that the CRI allows.
///
/// # Errors
/// When a part is missing or is not carried out by this version.
pub fn process(oci: &OciProcess, env: &[Vec<u8>]) -> Result<Process, Error> {
    let args = oci.args().clone().filter(|args| !args.is_empty()).ok_or(Error::Missing("process.args"))?;
    let refused = [
        ("process.apparmorProfile", oci.apparmor_profile().as_deref()),
        ("process.selinuxLabel", oci.selinux_label().as_deref()),
        ("process.commandLine", oci.command_line().as_deref()),
        ("process.user.username", oci.user().username().as_deref()),
    ];
    if let Some((part, Some(value))) = refused.into_iter().find(|(_, value)| value.is_some_and(|text| !text.is_empty()))
    {
        return Err(Error::unsupported(part, value));
    }
    let cwd = crate::compile::absolute(oci.cwd(), "process.cwd")?;
    let capabilities = oci.capabilities().as_ref();
    let rlimits = oci.rlimits().iter().flatten().map(|limit| Rlimit {
        resource: resource_number(limit.typ()),
        soft: limit.soft(),
        hard: limit.hard(),
    });
    Ok(Process {
        args,
        env: env.iter().cloned().map(ByteVec::from).collect(),
        cwd,
        make_cwd: true,
        uid: oci.user().uid(),
        gid: oci.user().gid(),
        groups: oci.user().additional_gids().clone().unwrap_or_default(),
        umask: oci.user().umask().unwrap_or(0o022),
        capabilities: CapabilitySets {
            bounding: bits(capabilities.and_then(|sets| sets.bounding().as_ref())),
            effective: bits(capabilities.and_then(|sets| sets.effective().as_ref())),
            permitted: bits(capabilities.and_then(|sets| sets.permitted().as_ref())),
            inheritable: bits(capabilities.and_then(|sets| sets.inheritable().as_ref())),
            ambient: bits(capabilities.and_then(|sets| sets.ambient().as_ref())),
        },
        no_new_privs: oci.no_new_privileges().unwrap_or(false),
        oom_score_adj: oci.oom_score_adj(),
        rlimits: rlimits.collect(),
        terminal: oci.terminal().unwrap_or(false),
    })
}

/// The kernel's number of a limit (`resource.h`, the generic table that x86 and Arm share).
fn resource_number(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => 0,
        PosixRlimitType::RlimitFsize => 1,
        PosixRlimitType::RlimitData => 2,
        PosixRlimitType::RlimitStack => 3,
        PosixRlimitType::RlimitCore => 4,
        PosixRlimitType::RlimitRss => 5,
        PosixRlimitType::RlimitNproc => 6,
        PosixRlimitType::RlimitNofile => 7,
        PosixRlimitType::RlimitMemlock => 8,
        PosixRlimitType::RlimitAs => 9,
        PosixRlimitType::RlimitLocks => 10,
        PosixRlimitType::RlimitSigpending => 11,
        PosixRlimitType::RlimitMsgqueue => 12,
        PosixRlimitType::RlimitNice => 13,
        PosixRlimitType::RlimitRtprio => 14,
        PosixRlimitType::RlimitRttime => 15,
    }
}
