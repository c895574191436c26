// SPDX-License-Identifier: Apache-2.0
//! What the daemon and a pod's monitor say to each other: frames, messages and the launch plan.
//!
//! The crate is sans-IO: it turns values into bytes and bytes into values, and owns no socket. The daemon and the
//! monitor speak over `SOCK_SEQPACKET`, so one datagram is one [`Frame`].
//!
//! ```text
//!  daemon                                       monitor
//!    │── Hello {core, protocol, build} ───────────▶│   frozen core: a layout that never changes,
//!    │◀── Welcome {core, protocol, pod, build} ────│   so that any daemon can re-execute or kill
//!    │── Reexec + fd of a newer program ──────────▶│   any monitor of any version
//!    │◀── Welcome (from the new program) ──────────│
//!    │── Kill ────────────────────────────────────▶│
//!    │                                             │
//!    │── Request {sequence, …} + fds ─────────────▶│   the versioned rest: CBOR with numbered fields,
//!    │◀── Reply {sequence, …} + fds ───────────────│   spoken only when both sides have the same
//!    │◀── Event {…} ───────────────────────────────│   protocol version
//! ```
//!
//! What it must not know: pods' policy, the CRI, OCI types, how a step is carried out.

mod exit;
mod failure;
mod frame;
mod id;
pub mod limits;
mod message;
mod plan;

pub use exit::{Exit, ExitStatus};
pub use failure::{Failure, FailureKind};
pub use frame::{Frame, FrameError, PROTOCOL_VERSION, Welcome};
pub use id::{Id, IdError};
pub use message::{
    Blob, CgroupJoin, ContainerInventory, ContainerPhase, Event, Exec, ExecEnd, Executed, Inventory, Log, OpenSandbox,
    PausePhase, PidNamespace, Reply, Request, Start, Stdin,
};
pub use minicbor::bytes::ByteVec;
pub use plan::{
    Access, CapabilitySets, CgroupMount, DeviceNode, MissingSource, Namespaces, NodeKind, Plan, Process, Rlimit, Step,
};
