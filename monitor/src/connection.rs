// SPDX-License-Identifier: Apache-2.0
//! One connection of a daemon: frames in, a bounded queue of frames out.
//!
//! Nothing that a daemon does or leaves undone may touch the pod: a frame that is none of ours, a queue that is full
//! and a broken socket all end the connection and nothing else.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::{MemfdUse, memfd_read, memfd_sealed, seqpacket};
use wire::limits::{FRAME_BYTES, FRAME_FDS, INLINE_BYTES};
use wire::{Frame, PROTOCOL_VERSION};

use crate::event::{Interest, Key};
use crate::limits::QUEUED_FRAMES;

/// The first byte of a request and of a spilled frame (the table in `wire`'s `frame.rs`).
const KIND_REQUEST: u8 = 16;
const KIND_SPILLED: u8 = 31;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Its name.
    pub(crate) key: Key,
    /// Its socket, non-blocking.
    pub(crate) socket: OwnedFd,
    /// The protocol that the daemon speaks; `None` until it has said hello.
    pub(crate) protocol: Option<u16>,
    /// What could not be sent yet.
    pub(crate) queue: VecDeque<Outgoing>,
    /// What the poll waits for on its behalf.
    pub(crate) interest: Interest,
}

/// A frame on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The datagram.
    pub(crate) bytes: Vec<u8>,
    /// The descriptors beside it.
    pub(crate) fds: Vec<OwnedFd>,
}

/// What came in.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A frame and its descriptors.
    Frame(Frame, Vec<OwnedFd>),
    /// A request in a protocol of another version, which has only its sequence in common with ours.
    Foreign {
        /// The sequence.
        sequence: u32,
    },
    /// Nothing for now.
    Nothing,
    /// The other side is gone, or sent what is no frame.
    End,
}

/// Why a connection is of no more use: the reader is gone or does not read.
#[derive(Debug)]
pub(crate) struct CutOff;

impl Outgoing {
    /// Encodes a frame; a long one goes into a sealed memory file.
    ///
    /// # Errors
    /// When the memory file cannot be made.
    pub(crate) fn new(frame: &Frame, fds: Vec<OwnedFd>) -> sys::Result<Self> {
        let bytes = frame.to_bytes();
        if bytes.len() <= INLINE_BYTES {
            return Ok(Self { bytes, fds });
        }
        let spilled = memfd_sealed(c"husk-frame", &bytes, MemfdUse::Data)?;
        let fds = std::iter::once(spilled).chain(fds).collect();
        Ok(Self { bytes: Frame::Spilled.to_bytes(), fds })
    }
}

impl Connection {
    /// A connection that has just been accepted.
    pub(crate) fn new(key: Key, socket: OwnedFd) -> Self {
        Self { key, socket, protocol: None, queue: VecDeque::new(), interest: Interest::Read }
    }

    /// Whether requests, replies and events mean the same to both sides.
    pub(crate) fn speaks_ours(&self) -> bool {
        self.protocol == Some(PROTOCOL_VERSION)
    }

    /// Reads the next frame.
    pub(crate) fn receive(&self) -> Incoming {
        let (bytes, fds) = match seqpacket::receive(self.socket.as_fd(), INLINE_BYTES) {
            Ok(Some(datagram)) => datagram,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Incoming::Nothing,
            Ok(None) | Err(_) => return Incoming::End,
        };
        self.decode(bytes, fds).unwrap_or(Incoming::End)
    }

    fn decode(&self, mut bytes: Vec<u8>, mut fds: Vec<OwnedFd>) -> Option<Incoming> {
        if fds.len() > FRAME_FDS {
            return None;
        }
        if bytes == [KIND_SPILLED] {
            if fds.is_empty() {
                return None;
            }
            let file = fds.remove(0);
            bytes = memfd_read(file.as_fd(), FRAME_BYTES).ok()?;
        }
        if self.protocol.is_some_and(|protocol| protocol != PROTOCOL_VERSION) && bytes.first() == Some(&KIND_REQUEST) {
            let sequence = bytes.get(1..5)?.try_into().ok()?;
            return Some(Incoming::Foreign { sequence: u32::from_le_bytes(sequence) });
        }
        let frame = Frame::from_bytes(&bytes).ok()?;
        Some(Incoming::Frame(frame, fds))
    }

    /// Sends a frame, or queues it behind others.
    ///
    /// # Errors
    /// When the reader is gone or has let too many frames pile up.
    pub(crate) fn send(&mut self, frame: Outgoing) -> Result<(), CutOff> {
        if self.queue.len() >= QUEUED_FRAMES {
            return Err(CutOff);
        }
        self.queue.push_back(frame);
        self.flush()
    }

    /// Sends what is queued, as far as it goes.
    ///
    /// # Errors
    /// When the reader is gone.
    pub(crate) fn flush(&mut self) -> Result<(), CutOff> {
        while let Some(frame) = self.queue.front() {
            let fds: Vec<BorrowedFd<'_>> = frame.fds.iter().map(AsFd::as_fd).collect();
            match seqpacket::send(self.socket.as_fd(), &frame.bytes, &fds) {
                Ok(()) => {
                    self.queue.pop_front();
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(CutOff),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wire::{Blob, ByteVec, ExecEnd, Executed, ExitStatus, Reply, Request};

    use super::*;

    fn connected() -> (OwnedFd, Connection) {
        let (theirs, ours) = seqpacket::pair().unwrap();
        rustix::io::ioctl_fionbio(&ours, true).unwrap();
        (theirs, Connection::new(Key(1), ours))
    }

    fn request() -> Frame {
        Frame::Request { sequence: 7, request: Request::Inspect }
    }

    #[test]
    fn frames_come_in_whole_also_spilled_ones() {
        let (theirs, connection) = connected();
        assert!(matches!(connection.receive(), Incoming::Nothing));
        seqpacket::send(theirs.as_fd(), &request().to_bytes(), &[]).unwrap();
        assert!(matches!(connection.receive(), Incoming::Frame(frame, _) if frame == request()));
        let file = memfd_sealed(c"frame", &request().to_bytes(), MemfdUse::Data).unwrap();
        let other = memfd_sealed(c"other", b"", MemfdUse::Data).unwrap();
        let fds = [file.as_fd(), other.as_fd()];
        seqpacket::send(theirs.as_fd(), &Frame::Spilled.to_bytes(), &fds).unwrap();
        assert!(matches!(connection.receive(), Incoming::Frame(frame, fds) if frame == request() && fds.len() == 1));
        drop(theirs);
        assert!(matches!(connection.receive(), Incoming::End));
    }

    #[test]
    fn what_is_no_frame_ends_the_connection() {
        let unsealed = rustix::fs::memfd_create("frame", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let nested = memfd_sealed(c"frame", &Frame::Spilled.to_bytes(), MemfdUse::Data).unwrap();
        let garbage = memfd_sealed(c"frame", b"\x10garbage", MemfdUse::Data).unwrap();
        let spilled = Frame::Spilled.to_bytes();
        let long = vec![16; INLINE_BYTES + 1];
        let cases: [(&[u8], &[BorrowedFd<'_>]); 7] = [
            (b"\x63", &[]),
            (b"\x10\x01\x02", &[]),
            (&spilled, &[]),
            (&spilled, &[unsealed.as_fd()]),
            (&spilled, &[garbage.as_fd()]),
            (&long, &[]),
            (b"\x03", &[nested.as_fd(); 5]),
        ];
        for (bytes, fds) in cases {
            let (theirs, connection) = connected();
            seqpacket::send(theirs.as_fd(), bytes, fds).unwrap();
            assert!(matches!(connection.receive(), Incoming::End), "{:?}", &bytes[..1]);
        }
        // A spilled frame inside a spilled frame is a frame of a kind that nobody acts on.
        let (theirs, connection) = connected();
        seqpacket::send(theirs.as_fd(), &spilled, &[nested.as_fd()]).unwrap();
        assert!(matches!(connection.receive(), Incoming::Frame(Frame::Spilled, _)));
    }

    #[test]
    fn another_protocol_shares_the_sequence_only() {
        let (theirs, mut connection) = connected();
        connection.protocol = Some(PROTOCOL_VERSION + 1);
        seqpacket::send(theirs.as_fd(), b"\x10\x05\x01\x00\x00whatever comes", &[]).unwrap();
        assert!(matches!(connection.receive(), Incoming::Foreign { sequence: 261 }));
        seqpacket::send(theirs.as_fd(), &Frame::Kill.to_bytes(), &[]).unwrap();
        assert!(matches!(connection.receive(), Incoming::Frame(Frame::Kill, _)));
        seqpacket::send(theirs.as_fd(), b"\x10\x05", &[]).unwrap();
        assert!(matches!(connection.receive(), Incoming::End));
    }

    #[test]
    fn a_reader_that_does_not_read_is_cut_off_and_order_is_kept() {
        let (theirs, mut connection) = connected();
        let reply = |sequence| {
            let bytes = ByteVec::from(vec![1; 40_000]);
            let executed = Executed {
                end: ExecEnd::Exited(ExitStatus::Code(0)),
                stdout: Blob::Inline(bytes),
                stderr: Blob::Attached,
            };
            Frame::Reply { sequence, reply: Reply::Executed(executed) }
        };
        let mut sent = 0;
        while connection.send(Outgoing::new(&reply(sent), Vec::new()).unwrap()).is_ok() {
            sent += 1;
        }
        assert!(connection.queue.len() == QUEUED_FRAMES && sent as usize > QUEUED_FRAMES);
        for sequence in 0..sent {
            let (bytes, _) = seqpacket::receive(theirs.as_fd(), INLINE_BYTES).unwrap().unwrap();
            assert_eq!(Frame::from_bytes(&bytes), Ok(reply(sequence)));
            connection.flush().unwrap();
        }
        drop(theirs);
        assert!(connection.send(Outgoing::new(&reply(0), Vec::new()).unwrap()).is_err());
    }

    #[test]
    fn a_long_frame_is_spilled_in_front_of_its_descriptors() {
        let frame = Frame::Refused("x".repeat(INLINE_BYTES));
        let beside = memfd_sealed(c"beside", b"beside", MemfdUse::Data).unwrap();
        let outgoing = Outgoing::new(&frame, vec![beside]).unwrap();
        assert_eq!(outgoing.bytes, Frame::Spilled.to_bytes());
        let spilled = memfd_read(outgoing.fds[0].as_fd(), FRAME_BYTES).unwrap();
        assert_eq!(Frame::from_bytes(&spilled), Ok(frame));
        assert_eq!(memfd_read(outgoing.fds[1].as_fd(), 100).unwrap(), b"beside");
    }
}
