// SPDX-License-Identifier: Apache-2.0
//! The launch as data: what a child does between clone and exec, step by step.
//!
//! Paths are text: every one of them comes from the CRI, from an image's configuration or from the daemon, and those
//! are text. Host paths are opened exactly once; paths in the root are resolved inside it.

use std::fmt;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

/// How to get from a fresh child to the container's program.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Plan {
    /// What to do in order, before the process is made what it shall be. Empty for an exec.
    #[n(0)]
    pub steps: Vec<Step>,
    /// What the process shall be.
    #[n(1)]
    pub process: Process,
}

/// One step of a launch. Those before [`Step::EnterPod`] run in the host's mount namespace and only make *detached*
/// mounts; those after it run in a copy of the pod's template and attach them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Step {
    /// Make the root file system: a detached overlay of the image's layers and the container's upper directory.
    #[n(0)]
    Overlay {
        /// Layer directories on the host, topmost first.
        #[n(0)]
        lower: Vec<String>,
        /// The upper directory, on the host.
        #[n(1)]
        upper: String,
        /// The work directory, on the host, on the file system of `upper`.
        #[n(2)]
        work: String,
    },
    /// Open a host path once (its symbolic links followed) and keep a detached copy of the mount in a slot.
    #[n(1)]
    OpenSource {
        /// Where to keep it.
        #[n(0)]
        slot: u16,
        /// The host path.
        #[n(1)]
        path: String,
        /// What to do when it is not there.
        #[n(2)]
        missing: MissingSource,
    },
    /// Join the pod's namespaces and take a private copy of its template.
    #[n(2)]
    EnterPod {
        /// Which namespaces of pause to join, besides its mount namespace.
        #[n(0)]
        namespaces: Namespaces,
    },
    /// Make a cgroup namespace whose root is the container's own cgroup.
    #[n(3)]
    UnshareCgroup,
    /// Attach the root file system; from here on targets are resolved inside it.
    #[n(4)]
    AttachRoot,
    /// Mount a procfs of the process's own pid namespace.
    #[n(5)]
    Proc {
        /// Where, in the root.
        #[n(0)]
        target: String,
    },
    /// Mount a sysfs of the process's own network namespace.
    #[n(6)]
    Sysfs {
        /// Where, in the root.
        #[n(0)]
        target: String,
        /// Read-only, or not for a privileged container.
        #[n(1)]
        access: Access,
    },
    /// Mount the cgroup hierarchies as the cgroup namespace shows them.
    #[n(7)]
    Cgroups {
        /// Where, in the root.
        #[n(0)]
        target: String,
        /// The hierarchies. One with an empty `name` is mounted at the target itself; several go on a tmpfs there.
        #[n(1)]
        mounts: Vec<CgroupMount>,
        /// Read-only, or not for a privileged container.
        #[n(2)]
        access: Access,
    },
    /// Mount a POSIX message queue file system of the process's own ipc namespace.
    #[n(8)]
    Mqueue {
        /// Where, in the root.
        #[n(0)]
        target: String,
    },
    /// Mount a `/dev` that was built on a detached tmpfs: nodes, links, a devpts instance of its own and, for a
    /// terminal, `console`.
    #[n(9)]
    Dev {
        /// Where, in the root.
        #[n(0)]
        target: String,
        /// The nodes, by path below `/dev`.
        #[n(1)]
        nodes: Vec<DeviceNode>,
        /// Group of the terminals in `pts` (the `tty` group, 5 everywhere).
        #[n(2)]
        tty_gid: u32,
    },
    /// Mount the pod's shared memory.
    #[n(10)]
    Shm {
        /// Where, in the root.
        #[n(0)]
        target: String,
    },
    /// Mount a fresh tmpfs.
    #[n(11)]
    Tmpfs {
        /// Where, in the root.
        #[n(0)]
        target: String,
        /// Mount data (`size=65536k,mode=1777`).
        #[n(1)]
        data: String,
        /// Read-only or not.
        #[n(2)]
        access: Access,
    },
    /// Attach what a slot holds. The target is made when it is missing: a directory for a directory, else a file.
    #[n(12)]
    Attach {
        /// The slot that [`Step::OpenSource`] filled.
        #[n(0)]
        slot: u16,
        /// Where, in the root.
        #[n(1)]
        target: String,
        /// Read-only or not.
        #[n(2)]
        access: Access,
    },
    /// Hide a path: a file behind the host's `/dev/null`, a directory behind an empty one. A missing path is fine.
    #[n(13)]
    Mask {
        /// What, in the root.
        #[n(0)]
        target: String,
    },
    /// Make a path read-only by binding it over itself. A missing path is fine.
    #[n(14)]
    ReadonlyPath {
        /// What, in the root.
        #[n(0)]
        target: String,
    },
    /// Make the root file system itself read-only; mounts on it are not touched.
    #[n(15)]
    ReadonlyRoot,
    /// Make the root file system the root, and let go of the template.
    #[n(16)]
    Pivot,
}

/// What to do when a mount source is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum MissingSource {
    /// Fail: it is husk's own file.
    #[n(0)]
    Fail,
    /// Make a directory of mode 0755, as both peers do for a CRI mount.
    #[n(1)]
    MakeDirectory,
}

/// Whether something may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Access {
    /// Reading only.
    #[n(0)]
    ReadOnly,
    /// Reading and writing.
    #[n(1)]
    ReadWrite,
}

/// Which namespaces of the pod's pause process to join; what is `false` stays the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Namespaces {
    /// The network namespace.
    #[n(0)]
    pub network: bool,
    /// System V IPC and POSIX message queues.
    #[n(1)]
    pub ipc: bool,
    /// The host name.
    #[n(2)]
    pub uts: bool,
}

/// One cgroup hierarchy to mount.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CgroupMount {
    /// The directory below the target; empty for the target itself.
    #[n(0)]
    pub name: String,
    /// The mount options that name the hierarchy (`memory`, `cpu,cpuacct`, `name=systemd`); empty for version 2.
    #[n(1)]
    pub options: String,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeviceNode {
    /// The path below `/dev`.
    #[n(0)]
    pub name: String,
    /// Character or block.
    #[n(1)]
    pub kind: NodeKind,
    /// Major number.
    #[n(2)]
    pub major: u32,
    /// Minor number.
    #[n(3)]
    pub minor: u32,
    /// Permission bits.
    #[n(4)]
    pub mode: u32,
    /// Owner.
    #[n(5)]
    pub uid: u32,
    /// Group.
    #[n(6)]
    pub gid: u32,
}

/// Character or block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum NodeKind {
    /// A character device.
    #[n(0)]
    Character,
    /// A block device.
    #[n(1)]
    Block,
}

/// What the process shall be when it executes its program. Start and exec build it by the same code.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Process {
    /// The program and its arguments; never empty. A program without a slash is looked up in `PATH` of `env`.
    #[n(0)]
    pub args: Vec<String>,
    /// `NAME=value`, bytes, each name once.
    #[n(1)]
    pub env: Vec<ByteVec>,
    /// The working directory, absolute, in the root; made (root:root 0755) when missing and `make_cwd` is set.
    #[n(2)]
    pub cwd: String,
    /// Whether a missing working directory is made.
    #[n(3)]
    pub make_cwd: bool,
    /// User id.
    #[n(4)]
    pub uid: u32,
    /// Primary group id.
    #[n(5)]
    pub gid: u32,
    /// Supplementary groups, the primary one among them where the policy says so; set even when empty.
    #[n(6)]
    pub groups: Vec<u32>,
    /// File mode creation mask.
    #[n(7)]
    pub umask: u32,
    /// Capabilities.
    #[n(8)]
    pub capabilities: CapabilitySets,
    /// `PR_SET_NO_NEW_PRIVS`.
    #[n(9)]
    pub no_new_privs: bool,
    /// `oom_score_adj`; `None` leaves it as the child has it.
    #[n(10)]
    pub oom_score_adj: Option<i32>,
    /// Resource limits to set; the others are inherited.
    #[n(11)]
    pub rlimits: Vec<Rlimit>,
    /// A terminal is wanted: standard streams are a pty of the container's own devpts.
    #[n(12)]
    pub terminal: bool,
}

/// The five capability sets, a bit per capability number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct CapabilitySets {
    /// The bounding set.
    #[n(0)]
    pub bounding: u64,
    /// The effective set.
    #[n(1)]
    pub effective: u64,
    /// The permitted set.
    #[n(2)]
    pub permitted: u64,
    /// The inheritable set; empty unless ambient capabilities are asked for (CVE-2022-24769).
    #[n(3)]
    pub inheritable: u64,
    /// The ambient set.
    #[n(4)]
    pub ambient: u64,
}

/// One resource limit (`prlimit(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Rlimit {
    /// The kernel's number (`RLIMIT_NOFILE` is 7).
    #[n(0)]
    pub resource: u32,
    /// Soft limit; `u64::MAX` is none.
    #[n(1)]
    pub soft: u64,
    /// Hard limit; `u64::MAX` is none.
    #[n(2)]
    pub hard: u64,
}

impl fmt::Display for Step {
    /// Prints the step as errors and `--dry-run` name it: verb first, the thing, the place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlay { lower, upper, .. } => write!(f, "make overlay of {} layers over {upper}", lower.len()),
            Self::OpenSource { path, .. } => write!(f, "open mount source {path}"),
            Self::EnterPod { .. } => f.write_str("enter the pod's namespaces"),
            Self::UnshareCgroup => f.write_str("make cgroup namespace"),
            Self::AttachRoot => f.write_str("attach root file system"),
            Self::Proc { target } => write!(f, "mount proc at {target}"),
            Self::Sysfs { target, .. } => write!(f, "mount sysfs at {target}"),
            Self::Cgroups { target, .. } => write!(f, "mount cgroups at {target}"),
            Self::Mqueue { target } => write!(f, "mount mqueue at {target}"),
            Self::Dev { target, .. } => write!(f, "mount devices at {target}"),
            Self::Shm { target } => write!(f, "mount the pod's shared memory at {target}"),
            Self::Tmpfs { target, .. } => write!(f, "mount tmpfs at {target}"),
            Self::Attach { slot, target, access } => {
                let how = if *access == Access::ReadOnly { " read-only" } else { "" };
                write!(f, "attach source {slot} at {target}{how}")
            }
            Self::Mask { target } => write!(f, "mask {target}"),
            Self::ReadonlyPath { target } => write!(f, "make {target} read-only"),
            Self::ReadonlyRoot => f.write_str("make root file system read-only"),
            Self::Pivot => f.write_str("pivot to root file system"),
        }
    }
}
