// SPDX-License-Identifier: Apache-2.0
//! User, groups and capabilities.
//!
//! What the runtime itself does not have it cannot give: the sets are cut to what it has (a node may withhold, say,
//! CAP_SYS_RESOURCE), and `husk check` tells what that is.

use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets as ThreadSets};
use wire::{CapabilitySets, Process};

use crate::failure::{Because, Result, refuse};

/// Whom to become.
#[derive(Debug)]
pub(super) struct Identity<'a> {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Set even when empty (CVE-2022-2989 and its kin).
    pub(super) groups: &'a [u32],
    pub(super) capabilities: CapabilitySets,
}

/// Becomes the user of `process`, with its groups and capabilities.
pub(super) fn take(process: &Process) -> Result<()> {
    assume(&Identity {
        uid: process.uid,
        gid: process.gid,
        groups: &process.groups,
        capabilities: process.capabilities,
    })
}

/// A user id; the highest number means "unchanged" to the kernel and is none.
pub(super) fn uid(number: u32) -> Result<Uid> {
    if number == u32::MAX { Err(refuse("4294967295 is no user id")) } else { Ok(Uid::from_raw(number)) }
}

fn gid(number: u32) -> Result<Gid> {
    if number == u32::MAX { Err(refuse("4294967295 is no group id")) } else { Ok(Gid::from_raw(number)) }
}

pub(super) fn assume(identity: &Identity<'_>) -> Result<()> {
    let (user, group) = (uid(identity.uid)?, gid(identity.gid)?);
    let groups = identity.groups.iter().map(|number| gid(*number)).collect::<Result<Vec<_>>>()?;
    let wanted = identity.capabilities;

    let before = rustix::thread::capabilities(None).because(|| "capget".to_owned())?;
    limit_bounding_set(wanted.bounding)?;
    // Without this the kernel would empty the permitted set when the user changes.
    rustix::thread::set_keep_capabilities(true).because(|| "prctl(PR_SET_KEEPCAPS, 1)".to_owned())?;
    rustix::thread::set_thread_groups(&groups).because(|| format!("setgroups({:?})", identity.groups))?;
    rustix::thread::set_thread_res_gid(group, group, group).because(|| format!("setresgid({})", identity.gid))?;
    rustix::thread::set_thread_res_uid(user, user, user).because(|| format!("setresuid({})", identity.uid))?;
    rustix::thread::set_keep_capabilities(false).because(|| "prctl(PR_SET_KEEPCAPS, 0)".to_owned())?;
    set_capabilities(wanted, before.permitted)
}

/// Drops every capability that is not in `wanted` from the bounding set.
fn limit_bounding_set(wanted: u64) -> Result<()> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) if wanted & (1 << number) == 0 => {
                rustix::thread::remove_capability_from_bounding_set(capability)
                    .because(|| format!("prctl(PR_CAPBSET_DROP, {number})"))?;
            }
            Ok(_) => {}
            // The first number that this kernel does not know.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno).because(|| format!("prctl(PR_CAPBSET_READ, {number})")),
        }
    }
    Ok(())
}

fn set_capabilities(wanted: CapabilitySets, ours: CapabilitySet) -> Result<()> {
    let permitted = CapabilitySet::from_bits_retain(wanted.permitted) & ours;
    let sets = ThreadSets {
        permitted,
        effective: CapabilitySet::from_bits_retain(wanted.effective) & permitted,
        inheritable: CapabilitySet::from_bits_retain(wanted.inheritable) & ours,
    };
    rustix::thread::set_capabilities(None, sets).because(|| {
        format!("capset(P={:x}, E={:x}, I={:x})", wanted.permitted, wanted.effective, wanted.inheritable)
    })?;
    rustix::thread::clear_ambient_capability_set().because(|| "prctl(PR_CAP_AMBIENT_CLEAR_ALL)".to_owned())?;
    let ambient = CapabilitySet::from_bits_retain(wanted.ambient) & sets.permitted & sets.inheritable;
    for number in (0..u64::BITS).filter(|number| ambient.bits() & (1 << number) != 0) {
        rustix::thread::configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(1 << number), true)
            .because(|| format!("prctl(PR_CAP_AMBIENT_RAISE, {number})"))?;
    }
    Ok(())
}
