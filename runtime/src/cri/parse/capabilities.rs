// SPDX-License-Identifier: Apache-2.0
//! Capability names to numbers.

use proto::cri;
use sandbox::config::CapabilityChange;

use super::{Field, Refusal};

/// The names of the kernel's capabilities, each at its number (capabilities(7), include/uapi/linux/capability.h).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The changes that a container asks for. Names come with or without `CAP_`, in any case.
pub(super) fn capability_change(field: &Field<'_>, asked: &cri::Capability) -> Result<CapabilityChange, Refusal> {
    let (add_all, add) = set(&field.then("add_capabilities"), &asked.add_capabilities)?;
    let (drop_all, drop) = set(&field.then("drop_capabilities"), &asked.drop_capabilities)?;
    // Ambient ones are refused by name, but a wrong name is wrong in any version.
    set(&field.then("add_ambient_capabilities"), &asked.add_ambient_capabilities)?;
    Ok(CapabilityChange { add_all, add, drop_all, drop })
}

fn set(field: &Field<'_>, names: &[String]) -> Result<(bool, u64), Refusal> {
    let mut all = false;
    let mut bits = 0;
    for (index, name) in names.iter().enumerate() {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        match NAMES.iter().position(|known| *known == bare) {
            Some(number) => bits |= 1 << number,
            None if upper == "ALL" => all = true,
            None => {
                let shown: String = name.chars().take(40).collect();
                return Err(field.at(index).invalid(format!("Linux has no capability {shown:?}")));
            }
        }
    }
    Ok((all, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(names: &[&str]) -> Result<(bool, u64), Refusal> {
        set(&Field::of_request("c"), &names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn names_in_all_their_forms() {
        assert_eq!(parse(&[]), Ok((false, 0)));
        assert_eq!(parse(&["NET_ADMIN", "cap_net_admin", "Net_Raw"]), Ok((false, 1 << 12 | 1 << 13)));
        assert_eq!(parse(&["all", "CHOWN", "CHECKPOINT_RESTORE"]), Ok((true, 1 << 40 | 1)));
        for name in ["", "CAP_", "CAP_ALL", "NET-ADMIN", "CAP_CAP_CHOWN", "ROOT", "41", "CHOWN\0"] {
            assert!(parse(&["CHOWN", name]).unwrap_err().to_string().starts_with("c[1]: "), "{name:?}");
        }
    }

    #[test]
    fn numbers_are_the_kernels() {
        for (name, number) in [("SETPCAP", 8), ("SYS_ADMIN", 21), ("SYSLOG", 34), ("AUDIT_READ", 37), ("BPF", 39)] {
            assert_eq!(parse(&[name]), Ok((false, 1 << number)), "{name}");
        }
    }
}
