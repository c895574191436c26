// SPDX-License-Identifier: Apache-2.0
//! Capabilities by kernel number (`capability.h`), for OCI's enumeration and for names.

use oci_spec::runtime::{Capabilities, Capability};

/// OCI's capabilities in the order of the kernel's numbers.
const BY_NUMBER: [(Capability, &str); 41] = [
    (Capability::Chown, "CAP_CHOWN"),
    (Capability::DacOverride, "CAP_DAC_OVERRIDE"),
    (Capability::DacReadSearch, "CAP_DAC_READ_SEARCH"),
    (Capability::Fowner, "CAP_FOWNER"),
    (Capability::Fsetid, "CAP_FSETID"),
    (Capability::Kill, "CAP_KILL"),
    (Capability::Setgid, "CAP_SETGID"),
    (Capability::Setuid, "CAP_SETUID"),
    (Capability::Setpcap, "CAP_SETPCAP"),
    (Capability::LinuxImmutable, "CAP_LINUX_IMMUTABLE"),
    (Capability::NetBindService, "CAP_NET_BIND_SERVICE"),
    (Capability::NetBroadcast, "CAP_NET_BROADCAST"),
    (Capability::NetAdmin, "CAP_NET_ADMIN"),
    (Capability::NetRaw, "CAP_NET_RAW"),
    (Capability::IpcLock, "CAP_IPC_LOCK"),
    (Capability::IpcOwner, "CAP_IPC_OWNER"),
    (Capability::SysModule, "CAP_SYS_MODULE"),
    (Capability::SysRawio, "CAP_SYS_RAWIO"),
    (Capability::SysChroot, "CAP_SYS_CHROOT"),
    (Capability::SysPtrace, "CAP_SYS_PTRACE"),
    (Capability::SysPacct, "CAP_SYS_PACCT"),
    (Capability::SysAdmin, "CAP_SYS_ADMIN"),
    (Capability::SysBoot, "CAP_SYS_BOOT"),
    (Capability::SysNice, "CAP_SYS_NICE"),
    (Capability::SysResource, "CAP_SYS_RESOURCE"),
    (Capability::SysTime, "CAP_SYS_TIME"),
    (Capability::SysTtyConfig, "CAP_SYS_TTY_CONFIG"),
    (Capability::Mknod, "CAP_MKNOD"),
    (Capability::Lease, "CAP_LEASE"),
    (Capability::AuditWrite, "CAP_AUDIT_WRITE"),
    (Capability::AuditControl, "CAP_AUDIT_CONTROL"),
    (Capability::Setfcap, "CAP_SETFCAP"),
    (Capability::MacOverride, "CAP_MAC_OVERRIDE"),
    (Capability::MacAdmin, "CAP_MAC_ADMIN"),
    (Capability::Syslog, "CAP_SYSLOG"),
    (Capability::WakeAlarm, "CAP_WAKE_ALARM"),
    (Capability::BlockSuspend, "CAP_BLOCK_SUSPEND"),
    (Capability::AuditRead, "CAP_AUDIT_READ"),
    (Capability::Perfmon, "CAP_PERFMON"),
    (Capability::Bpf, "CAP_BPF"),
    (Capability::CheckpointRestore, "CAP_CHECKPOINT_RESTORE"),
];

/// The bit of a capability in the kernel's sets.
pub fn capability_bit(name: &str) -> Option<u64> {
    BY_NUMBER.iter().position(|(_, known)| *known == name).map(|number| 1 << number)
}

/// The name of the capability with this number, `CAP_…`.
pub fn capability_name(number: u32) -> Option<&'static str> {
    BY_NUMBER.get(usize::try_from(number).ok()?).map(|(_, name)| *name)
}

/// The kernel's bits of an OCI set.
pub(crate) fn bits(set: Option<&Capabilities>) -> u64 {
    let Some(set) = set else { return 0 };
    BY_NUMBER.iter().enumerate().filter(|(_, (known, _))| set.contains(known)).map(|(number, _)| 1 << number).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for (name, number) in [("CAP_CHOWN", 0), ("CAP_SYS_ADMIN", 21), ("CAP_CHECKPOINT_RESTORE", 40)] {
            assert_eq!(capability_bit(name), Some(1 << number), "{name}");
            assert_eq!(capability_name(number), Some(name));
        }
        assert_eq!(capability_bit("CAP_NOPE"), None);
        assert_eq!(capability_name(41), None);
    }

    #[test]
    fn the_enumeration_and_the_names_are_in_step() {
        for (capability, name) in BY_NUMBER {
            let set: Capabilities = serde_json::from_value(serde_json::json!([name])).unwrap();
            assert!(set.contains(&capability), "{name}");
            assert_eq!(Some(bits(Some(&set))), capability_bit(name), "{name}");
        }
    }
}
