// SPDX-License-Identifier: Apache-2.0
//! CRI logs: `<RFC3339Nano UTC> <stdout|stderr> <F|P> <content>\n`.
//!
//! ```text
//!  read of a pipe ──▶ LineSplitter ──pieces──▶ Batch ──one write──▶ LogFile
//!                     (carry ≤ 16 KiB)        (shared)             (cuts back what was torn)
//! ```
//!
//! Decoding the file gives exactly the bytes that the container wrote: the contents of `P` lines are joined up to the
//! next `F` line of the same stream, which ends with a newline. When the disk is full, whole lines are dropped and
//! counted, and the container never waits.

mod batch;
mod container_log;
mod file;
mod line;
mod timestamp;

pub use batch::{Batch, Tag};
pub use container_log::{ContainerLog, LogState, Stream};
pub use file::LogFile;
pub use line::{LineSplitter, Piece};
pub use timestamp::Timestamp;
