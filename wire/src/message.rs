// SPDX-License-Identifier: Apache-2.0
//! Requests, replies and events of the versioned part of the protocol.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::exit::{Exit, ExitStatus};
use crate::failure::Failure;
use crate::id::Id;
use crate::plan::{Plan, Process};

/// What the daemon asks of a monitor. Every request has exactly one reply.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// Start pause. Attached: the program of pause (a sealed memfd), then the network namespace if it is the pod's own.
    #[n(0)]
    OpenSandbox(#[n(0)] OpenSandbox),
    /// Start a container.
    #[n(1)]
    Start(#[n(0)] Box<Start>),
    /// Send a signal to a container's main process.
    #[n(2)]
    Signal {
        /// Which container.
        #[n(0)]
        container: Id,
        /// The kernel's signal number.
        #[n(1)]
        signal: u8,
    },
    /// End every process of a container: its whole cgroup, its execs among them. Also ends a launch that hangs.
    #[n(3)]
    Kill {
        /// Which container.
        #[n(0)]
        container: Id,
    },
    /// Run a program in a container and tell how it ended.
    #[n(4)]
    Exec(#[n(0)] Box<Exec>),
    /// Open a container's log file anew (CRI `ReopenContainerLog`).
    #[n(5)]
    ReopenLog {
        /// Which container.
        #[n(0)]
        container: Id,
    },
    /// Tell everything you know.
    #[n(6)]
    Inspect,
    /// Forget a container that has ended; its exit record is removed.
    #[n(7)]
    Forget {
        /// Which container.
        #[n(0)]
        container: Id,
    },
    /// End every process of the pod, pause too, reply, and end yourself.
    #[n(8)]
    CloseSandbox,
}

/// How a request went.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    /// It is done.
    #[n(0)]
    Done,
    /// It was not done, or only in part.
    #[n(1)]
    Failed(#[n(0)] Failure),
    /// Pause runs.
    #[n(2)]
    SandboxOpened {
        /// Its process id, in the monitor's pid namespace.
        #[n(0)]
        pause_pid: u32,
    },
    /// The container's program runs.
    #[n(3)]
    Started {
        /// Its process id, in the monitor's pid namespace.
        #[n(0)]
        pid: u32,
        /// When its program was executed, in nanoseconds since the epoch.
        #[n(1)]
        started_at_ns: u64,
    },
    /// The exec ended.
    #[n(4)]
    Executed(#[n(0)] Executed),
    /// What the monitor knows.
    #[n(5)]
    Inspected(#[n(0)] Inventory),
}

/// What happened in the pod without being asked for. Sent on every connection; a reader that does not read is cut off.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    /// A container's main process ended, its log is complete, and the record is on disk.
    #[n(0)]
    ContainerExited {
        /// Which container.
        #[n(0)]
        container: Id,
        /// How.
        #[n(1)]
        exit: Exit,
    },
    /// Pause ended: the sandbox is no more.
    #[n(1)]
    PauseExited {
        /// How.
        #[n(0)]
        exit: Exit,
    },
}

/// How to start pause.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OpenSandbox {
    /// Whether the second attached descriptor is the pod's network namespace; else pause has the host's.
    #[n(0)]
    pub own_network: bool,
    /// Whether the pod has an ipc namespace of its own.
    #[n(1)]
    pub own_ipc: bool,
    /// The host name of the pod's own uts namespace; `None` for the host's namespace.
    #[n(2)]
    pub hostname: Option<String>,
    /// Size of the pod's `/dev/shm` in bytes.
    #[n(3)]
    pub shm_bytes: u64,
    /// Where pause lives.
    #[n(4)]
    pub cgroup: CgroupJoin,
    /// Pause's `oom_score_adj`; what the process may not set is left as it is.
    #[n(5)]
    pub oom_score_adj: i32,
}

/// The cgroup of a container or of pause, as absolute directories of this machine's hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct CgroupJoin {
    /// The directory in the version 2 hierarchy, joined by `CLONE_INTO_CGROUP`.
    #[n(0)]
    pub unified: Option<String>,
    /// The directories in version 1 hierarchies, joined by writing to `tasks`.
    #[n(1)]
    pub v1: Vec<String>,
}

/// How to start a container.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Start {
    /// Its id.
    #[n(0)]
    pub container: Id,
    /// The launch.
    #[n(1)]
    pub plan: Plan,
    /// Its cgroup.
    #[n(2)]
    pub cgroup: CgroupJoin,
    /// Its pid namespace.
    #[n(3)]
    pub pid_namespace: PidNamespace,
    /// Its standard input.
    #[n(4)]
    pub stdin: Stdin,
    /// Its log file; `None` discards output.
    #[n(5)]
    pub log: Option<Log>,
    /// How long the launch may take, in milliseconds, before it is ended and the step that it hangs in is named.
    #[n(6)]
    pub deadline_ms: u64,
}

/// Which pid namespace a process gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PidNamespace {
    /// One of its own (CRI `CONTAINER`).
    #[n(0)]
    Own,
    /// Pause's (CRI `POD`).
    #[n(1)]
    Pod,
    /// The host's (CRI `NODE`).
    #[n(2)]
    Host,
}

/// Standard input of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Stdin {
    /// `/dev/null`.
    #[n(0)]
    Null,
    /// A pipe whose other end the monitor holds open, so that reads block until somebody attaches.
    #[n(1)]
    Pipe,
}

/// A container's log file.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Log {
    /// The pod's log directory, absolute, on the host.
    #[n(0)]
    pub directory: String,
    /// The file, relative to the directory, resolved beneath it without following symbolic links.
    #[n(1)]
    pub file: String,
}

/// How to run a program in a container.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Exec {
    /// In which container.
    #[n(0)]
    pub container: Id,
    /// What to run.
    #[n(1)]
    pub process: Process,
    /// How long it may run, in milliseconds; `None` for no limit.
    #[n(2)]
    pub timeout_ms: Option<u64>,
}

/// How an exec ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Executed {
    /// How it ended.
    #[n(0)]
    pub end: ExecEnd,
    /// What it wrote to standard output, at most [`crate::limits::EXEC_OUTPUT_BYTES`].
    #[n(1)]
    pub stdout: Blob,
    /// What it wrote to standard error, at most [`crate::limits::EXEC_OUTPUT_BYTES`].
    #[n(2)]
    pub stderr: Blob,
}

/// How an exec ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ExecEnd {
    /// Its main process ended.
    #[n(0)]
    Exited(#[n(0)] ExitStatus),
    /// Its time was up; everything that it started is killed.
    #[n(1)]
    TimedOut,
}

/// Bytes that travel in the message, or in a memfd beside it when they are many.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Blob {
    /// Here they are.
    #[n(0)]
    Inline(#[n(0)] ByteVec),
    /// They are in the next attached descriptor, from its start to its end.
    #[n(1)]
    Attached,
}

/// Everything that a monitor knows.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Inventory {
    /// The monitor's own process id, in its own pid namespace.
    #[n(0)]
    pub monitor_pid: u32,
    /// Pause.
    #[n(1)]
    pub pause: PausePhase,
    /// The containers that were started and not forgotten.
    #[n(2)]
    pub containers: Vec<ContainerInventory>,
}

/// Where pause is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PausePhase {
    /// It was not asked for.
    #[n(0)]
    Absent,
    /// It runs.
    #[n(1)]
    Running {
        /// Its process id.
        #[n(0)]
        pid: u32,
    },
    /// It ended.
    #[n(2)]
    Exited(#[n(0)] Exit),
}

/// One container of an inventory.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ContainerInventory {
    /// Its id.
    #[n(0)]
    pub container: Id,
    /// Where it is in its life.
    #[n(1)]
    pub phase: ContainerPhase,
    /// Log bytes that could not be written and were dropped.
    #[n(2)]
    pub dropped_log_bytes: u64,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ContainerPhase {
    /// The launch is under way.
    #[n(0)]
    Starting,
    /// Its program runs.
    #[n(1)]
    Running {
        /// Its process id.
        #[n(0)]
        pid: u32,
        /// When its program was executed, in nanoseconds since the epoch.
        #[n(1)]
        started_at_ns: u64,
    },
    /// Its main process ended.
    #[n(2)]
    Exited(#[n(0)] Exit),
    /// The launch failed.
    #[n(3)]
    Failed(#[n(0)] Failure),
}
