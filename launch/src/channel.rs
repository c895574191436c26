// SPDX-License-Identifier: Apache-2.0
//! What a child tells its monitor while it becomes a program.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use sys::seqpacket;
use wire::Failure;

use crate::failure::{Because, Result, refuse};
use crate::limits::{FAILURE_TEXT_BYTES, REPORT_BYTES};

const PROGRESS: u8 = 1;
const LOG: u8 = 2;
const CONSOLE: u8 = 3;
const READY: u8 = 4;
const FAILED: u8 = 5;

/// The monitor's end of a launch: a non-blocking `SOCK_SEQPACKET` socket that becomes readable with every report.
#[derive(Debug)]
pub struct StartChannel {
    socket: OwnedFd,
}

/// What a child reports.
#[derive(Debug)]
pub enum Report {
    /// It is about to run the step with this index, which may block for long. The index after the last step stands for
    /// becoming the process: entering the working directory and reading the program.
    Progress(u16),
    /// The container's log file, open for appending.
    Log(OwnedFd),
    /// The master of the container's terminal.
    Console(OwnedFd),
    /// It is about to execute the program. Only [`Report::Closed`] may follow, or [`Report::Failed`] when the kernel
    /// refuses the program.
    Ready,
    /// It failed and exits with code 1.
    Failed(Failure),
    /// The channel has ended. After [`Report::Ready`]: the program runs. After [`Report::Failed`], or [`Report::Log`] of
    /// [`crate::open_log`]: nothing more. Otherwise: the child died, and its exit status tells how.
    Closed,
}

impl StartChannel {
    /// The descriptor to wait on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads the next report without blocking.
    ///
    /// # Errors
    /// `WouldBlock` when there is none yet, `InvalidData` when it is not one that this version knows.
    pub fn read(&self) -> io::Result<Report> {
        let Some((bytes, fds)) = seqpacket::receive(self.socket.as_fd(), REPORT_BYTES)? else {
            return Ok(Report::Closed);
        };
        decode(&bytes, fds).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the child's report is not one"))
    }
}

impl From<OwnedFd> for StartChannel {
    /// A channel that came through a re-execution of the monitor.
    fn from(socket: OwnedFd) -> Self {
        Self { socket }
    }
}

impl From<StartChannel> for OwnedFd {
    fn from(channel: StartChannel) -> Self {
        channel.socket
    }
}

impl AsFd for StartChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn decode(bytes: &[u8], fds: Vec<OwnedFd>) -> Option<Report> {
    let (&kind, body) = bytes.split_first()?;
    let mut fds = fds.into_iter();
    match kind {
        PROGRESS => Some(Report::Progress(u16::from_le_bytes(body.try_into().ok()?))),
        LOG => fds.next().map(Report::Log),
        CONSOLE => fds.next().map(Report::Console),
        READY => Some(Report::Ready),
        FAILED => minicbor::decode(body).ok().map(Report::Failed),
        _ => None,
    }
}

/// The child's end of a launch. A report that cannot be sent ends the launch: a child whose monitor is gone must not
/// become a program that nobody watches.
#[derive(Debug)]
pub(crate) struct Reporter {
    socket: OwnedFd,
}

impl Reporter {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn progress(&self, index: usize) -> Result<()> {
        let index = u16::try_from(index).map_err(|_| refuse("the plan has more than 65535 steps"))?;
        let [low, high] = index.to_le_bytes();
        self.send(&[PROGRESS, low, high], &[])
    }

    pub(crate) fn log(&self, file: BorrowedFd<'_>) -> Result<()> {
        self.send(&[LOG], &[file])
    }

    pub(crate) fn console(&self, master: BorrowedFd<'_>) -> Result<()> {
        self.send(&[CONSOLE], &[master])
    }

    pub(crate) fn ready(&self) -> Result<()> {
        self.send(&[READY], &[])
    }

    /// Reports a failure; when even that fails, the end of the channel without `Ready` tells enough.
    pub(crate) fn failed(&self, failure: Failure) {
        let failure = Failure { step: failure.step.map(shorten), detail: failure.detail.map(shorten), ..failure };
        let mut bytes = vec![FAILED];
        if minicbor::encode(&failure, &mut bytes).is_ok() {
            // The result is of no use: there is nobody left to tell.
            let _ = seqpacket::send(self.socket.as_fd(), &bytes, &[]);
        }
    }

    fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        match seqpacket::send(self.socket.as_fd(), bytes, fds) {
            Err(error) if error.errno() == Errno::PIPE => Err(refuse("the monitor is gone")),
            other => other.or_fail(),
        }
    }
}

fn shorten(mut text: String) -> String {
    if text.len() > FAILURE_TEXT_BYTES {
        let mut end = FAILURE_TEXT_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::FailureKind;

    fn channel() -> (StartChannel, Reporter) {
        let (ours, theirs) = seqpacket::pair().unwrap();
        rustix::io::ioctl_fionbio(&ours, true).unwrap();
        (StartChannel::from(ours), Reporter::new(theirs))
    }

    #[test]
    fn every_report_arrives() {
        let (channel, reporter) = channel();
        assert_eq!(channel.read().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        reporter.progress(513).unwrap();
        let file = tempfile::tempfile().unwrap();
        reporter.log(file.as_fd()).unwrap();
        reporter.console(file.as_fd()).unwrap();
        reporter.ready().unwrap();
        let long = Failure {
            kind: FailureKind::ProgramRefused,
            step: Some("ü".repeat(50_000)),
            errno: Some(13),
            detail: Some("x".repeat(50_000)),
        };
        reporter.failed(long);
        drop(reporter);

        assert!(matches!(channel.read().unwrap(), Report::Progress(513)));
        assert!(matches!(channel.read().unwrap(), Report::Log(_)));
        assert!(matches!(channel.read().unwrap(), Report::Console(_)));
        assert!(matches!(channel.read().unwrap(), Report::Ready));
        let Report::Failed(failure) = channel.read().unwrap() else { panic!("a failure was sent") };
        assert_eq!((failure.kind, failure.errno), (FailureKind::ProgramRefused, Some(13)));
        assert!(failure.step.unwrap().ends_with("ü…"));
        assert!(matches!(channel.read().unwrap(), Report::Closed));
    }

    #[test]
    fn nothing_is_reported_to_a_monitor_that_is_gone() {
        let (channel, reporter) = channel();
        drop(channel);
        assert_eq!(reporter.ready().unwrap_err().detail.unwrap(), "the monitor is gone");
    }

    #[test]
    fn other_bytes_are_no_report() {
        let (channel, reporter) = channel();
        for bytes in [&[0][..], &[PROGRESS], &[PROGRESS, 1, 2, 3], &[LOG], &[CONSOLE], &[FAILED, 0xff], &[77]] {
            seqpacket::send(reporter.fd(), bytes, &[]).unwrap();
            assert_eq!(channel.read().unwrap_err().kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
    }
}
