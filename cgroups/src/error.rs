// SPDX-License-Identifier: Apache-2.0
//! What can go wrong, each as one sentence, and the kind that decides what a caller does about it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;

use crate::limits;

/// Why text is no [`crate::CgroupPath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFlaw {
    /// It does not begin with a slash.
    #[error("is relative; begin it with a slash")]
    Relative,
    /// It is the root of the hierarchy, which belongs to the machine.
    #[error("is the root, which belongs to the machine; name a cgroup below it")]
    Root,
    /// Two slashes follow each other, or one ends the path.
    #[error("has an empty part; use single slashes and none at the end")]
    EmptyPart,
    /// A part is `.` or `..`.
    #[error("has a part that is . or ..; write it out")]
    DotPart,
    /// A name holds a slash, and so is more than one part.
    #[error("has a slash inside a name; give one part only")]
    SlashInName,
    /// It holds a NUL, a newline or another control character, which the kernel refuses or hides.
    #[error("has a control character; use printable ones")]
    ControlCharacter,
    /// It is longer than the kernel or this crate accepts.
    #[error("is too long; at most 32 parts of 255 bytes and 2048 bytes in all fit")]
    TooLong,
}

/// What was tried on a file or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `openat2`.
    Open,
    /// `read` or `getdents64`.
    Read,
    /// `mkdirat`.
    Create,
    /// `unlinkat` with `AT_REMOVEDIR`.
    Remove,
    /// `poll`.
    Wait,
    /// `statx` or `fstatfs`.
    Inspect,
    /// `pidfd_open` or `pidfd_send_signal` for a process of this cgroup.
    Kill,
    /// `eventfd2`, or the registration of one.
    Watch,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Create => "create the cgroup",
            Self::Remove => "remove the cgroup",
            Self::Wait => "wait for",
            Self::Inspect => "inspect",
            Self::Kill => "kill a process of",
            Self::Watch => "watch",
        })
    }
}

/// What a caller decides on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The cgroup does not exist.
    NotFound,
    /// A path, a name or a value is wrong; the same call fails again.
    InvalidInput,
    /// This machine's hierarchies or its kernel cannot do it.
    Unsupported,
    /// Processes or children are in the way; the same call may succeed later.
    Busy,
    /// The deadline passed.
    Timeout,
    /// A limit of the machine is reached: descriptors, memory, the number of cgroups.
    Exhausted,
    /// The operation was refused because it would reach beyond the cgroup.
    Unsafe,
    /// Everything else.
    Internal,
}

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Text is no cgroup path.
    #[error("the cgroup path {path:?} {flaw}")]
    Path {
        /// The text, shortened.
        path: String,
        /// What is wrong with it.
        flaw: PathFlaw,
    },
    /// A limit has a value that cannot be written on any machine.
    #[error("{field} is {value:?}; give {wanted}")]
    Value {
        /// The field of [`crate::Limits`].
        field: &'static str,
        /// The value, shortened.
        value: String,
        /// What would be right.
        wanted: &'static str,
    },
    /// A key of `unified` is no setting of a controller.
    #[error("{key:?} is no setting of a cgroup controller; give a file name such as memory.high")]
    Key {
        /// The key, shortened.
        key: String,
    },
    /// A system call on a file or directory failed.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: Action,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        cause: Errno,
    },
    /// The kernel refused a value.
    #[error("cannot write {value:?} to {}: {cause}", path.display())]
    Write {
        /// The interface file.
        path: PathBuf,
        /// The value, shortened.
        value: String,
        /// The kernel's answer.
        cause: Errno,
    },
    /// An interface file does not hold what the kernel documents.
    #[error("{} holds {text:?}, which is not what the kernel documents", path.display())]
    Content {
        /// The interface file.
        path: PathBuf,
        /// Its content, shortened.
        text: String,
    },
    /// No cgroup hierarchy is mounted at all.
    #[error("no cgroup hierarchy is mounted; mount cgroup2 at /sys/fs/cgroup")]
    NothingMounted,
    /// Another mount lies over the place where a hierarchy is mounted.
    #[error("the cgroup mount at {} is hidden by another mount; unmount that one", path.display())]
    Hidden {
        /// The mount point.
        path: PathBuf,
    },
    /// The cgroup does not exist, or no longer.
    #[error("the cgroup {} does not exist; create it first", path.display())]
    NoCgroup {
        /// Its first directory.
        path: PathBuf,
    },
    /// No hierarchy gives this cgroup the controller that a limit needs.
    #[error("the cgroup {} has no {controller} controller; mount it (v1) or enable it in the parents' cgroup.subtree_control (v2)", path.display())]
    NoController {
        /// The controller, or the setting by name.
        controller: String,
        /// The cgroup's first directory.
        path: PathBuf,
    },
    /// A level above the cgroup would not pass on a controller that a limit needs.
    #[error("cannot enable the {controller} controller below {}: {cause}; move the processes of that cgroup into a child of it", path.display())]
    NotEnabled {
        /// The kernel's name of it.
        controller: &'static str,
        /// The level that refused.
        path: PathBuf,
        /// The kernel's answer; EBUSY when that level holds processes.
        cause: Errno,
    },
    /// The kernel does not account swap.
    #[error("the cgroup {} has no swap limit; boot with swapaccount=1 or leave the swap limit out", path.display())]
    NoSwapAccounting {
        /// The directory of the memory controller.
        path: PathBuf,
    },
    /// Device rules on v2 need an eBPF program.
    #[error("the cgroup {} is v2 and cannot restrict devices in this version; leave the device rules out", path.display())]
    NoDeviceRules {
        /// The cgroup's first directory.
        path: PathBuf,
    },
    /// A memory limit lies below what the processes use now.
    #[error("the memory limit of {limit_bytes} bytes for {} is below the {usage_bytes} in use; give more or stop something first", path.display())]
    BelowUsage {
        /// The directory of the memory controller.
        path: PathBuf,
        /// The limit that was asked for.
        limit_bytes: u64,
        /// What is in use.
        usage_bytes: u64,
    },
    /// A directory is the root of a mount where a cgroup of ours was expected.
    #[error("{} is the root of a cgroup mount; name a cgroup below it", path.display())]
    MountRoot {
        /// The directory.
        path: PathBuf,
    },
    /// Exec cgroups need the unified hierarchy.
    #[error("there is no unified hierarchy for a cgroup below {}; mount cgroup2 at /sys/fs/cgroup/unified", path.display())]
    NoUnified {
        /// The cgroup's first directory.
        path: PathBuf,
    },
    /// Processes or children are still there at the deadline.
    #[error("the cgroup {} is still in use after {} ms by {}; a process in state D ends only with its I/O", path.display(), waited.as_millis(), PidList(pids))]
    StillBusy {
        /// The first directory that remains.
        path: PathBuf,
        /// The first processes that remain; empty when only child cgroups do.
        pids: Vec<Pid>,
        /// How long it was tried.
        waited: Duration,
    },
    /// Not every process stopped before the deadline; the cgroup was thawed again.
    #[error("the cgroup {} did not freeze within {} ms and was thawed again; a process in state D does not freeze", path.display(), waited.as_millis())]
    NotFrozen {
        /// The directory that was frozen.
        path: PathBuf,
        /// How long it was tried.
        waited: Duration,
    },
    /// Processes fork faster than they can be killed.
    #[error("the processes of {} fork faster than they are killed; mount the freezer or limit pids", path.display())]
    ForksTooFast {
        /// The cgroup's first directory.
        path: PathBuf,
    },
    /// A limit could not be set, and an old value could not be written back.
    #[error("{cause}; and restoring the old limits failed too: {restore}")]
    NotRestored {
        /// Why the limit could not be set.
        cause: Box<Error>,
        /// Why the old value could not be written back.
        restore: Box<Error>,
    },
    /// Several directories of one cgroup failed, each in its own way.
    #[error("{first}; and {} more of the same cgroup failed, the last: {last}", count - 1)]
    Several {
        /// The first failure.
        first: Box<Error>,
        /// The last failure.
        last: Box<Error>,
        /// How many there were.
        count: usize,
    },
}

impl Error {
    /// What a caller decides on.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Path { .. } | Self::Value { .. } | Self::Key { .. } => Kind::InvalidInput,
            Self::Io { cause, .. } | Self::Write { cause, .. } => kind_of(*cause),
            Self::NoCgroup { .. } => Kind::NotFound,
            Self::NothingMounted
            | Self::Hidden { .. }
            | Self::NoController { .. }
            | Self::NotEnabled { .. }
            | Self::NoSwapAccounting { .. }
            | Self::NoDeviceRules { .. }
            | Self::NoUnified { .. } => Kind::Unsupported,
            Self::BelowUsage { .. } | Self::ForksTooFast { .. } => Kind::Busy,
            Self::StillBusy { .. } | Self::NotFrozen { .. } => Kind::Timeout,
            Self::MountRoot { .. } => Kind::Unsafe,
            Self::Content { .. } => Kind::Internal,
            Self::NotRestored { cause, .. } => cause.kind(),
            Self::Several { first, .. } => first.kind(),
        }
    }

    /// One error for all of `errors`, or none.
    pub(crate) fn collect(mut errors: Vec<Error>) -> Result<(), Error> {
        let count = errors.len();
        match (errors.pop(), errors.is_empty()) {
            (None, _) => Ok(()),
            (Some(only), true) => Err(only),
            (Some(last), false) => {
                Err(Self::Several { first: Box::new(errors.swap_remove(0)), last: Box::new(last), count })
            }
        }
    }
}

fn kind_of(cause: Errno) -> Kind {
    match cause {
        Errno::NOENT | Errno::NODEV => Kind::NotFound,
        Errno::INVAL | Errno::RANGE | Errno::NAMETOOLONG => Kind::InvalidInput,
        Errno::NOSYS | Errno::OPNOTSUPP | Errno::ROFS => Kind::Unsupported,
        Errno::BUSY | Errno::AGAIN => Kind::Busy,
        Errno::NOMEM | Errno::NOSPC | Errno::MFILE | Errno::NFILE => Kind::Exhausted,
        Errno::XDEV | Errno::LOOP => Kind::Unsafe,
        _ => Kind::Internal,
    }
}

/// `text` cut to what an error may repeat.
pub(crate) fn shortened(text: &str) -> String {
    if text.len() <= limits::MAX_ECHO_BYTES {
        return text.to_owned();
    }
    let end = (0..=limits::MAX_ECHO_BYTES).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

struct PidList<'a>(&'a [Pid]);

impl fmt::Display for PidList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("child cgroups");
        }
        f.write_str("pid")?;
        for pid in self.0 {
            write!(f, " {}", pid.as_raw_nonzero())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_errors_become_one_sentence() {
        let error = |name: &str| Error::NoCgroup { path: name.into() };
        assert!(Error::collect(vec![]).is_ok());
        let one = Error::collect(vec![error("/a")]).unwrap_err();
        assert_eq!(one.to_string(), "the cgroup /a does not exist; create it first");
        let three = Error::collect(vec![error("/a"), error("/b"), error("/c")]).unwrap_err();
        assert_eq!(three.kind(), Kind::NotFound);
        assert_eq!(
            three.to_string(),
            "the cgroup /a does not exist; create it first; and 2 more of the same cgroup failed, \
             the last: the cgroup /c does not exist; create it first"
        );
    }

    #[test]
    fn a_long_value_is_cut_at_a_character() {
        assert_eq!(shortened("abc"), "abc");
        let long = "é".repeat(100);
        let cut = shortened(&long);
        assert!(cut.len() <= limits::MAX_ECHO_BYTES + '…'.len_utf8());
        assert!(cut.ends_with('…'));
    }

    #[test]
    fn the_remaining_processes_are_named() {
        let pids = vec![Pid::from_raw(7).unwrap(), Pid::from_raw(11).unwrap()];
        let waited = Duration::from_millis(250);
        let busy = Error::StillBusy { path: "/c".into(), pids, waited };
        assert!(busy.to_string().starts_with("the cgroup /c is still in use after 250 ms by pid 7 11;"));
        assert_eq!(busy.kind(), Kind::Timeout);
        let empty = Error::StillBusy { path: "/c".into(), pids: vec![], waited };
        assert!(empty.to_string().contains("by child cgroups"));
    }
}
