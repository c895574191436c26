// SPDX-License-Identifier: Apache-2.0
//! A daemon, as far as a monitor can tell.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sys::{MemfdUse, memfd_read, memfd_sealed, seqpacket};
use wire::limits::{FRAME_BYTES, INLINE_BYTES};
use wire::{Blob, Event, Exit, Frame, Id, PROTOCOL_VERSION, Reply, Request, Welcome};

/// Longer than anything that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a monitor.
pub(crate) struct Client {
    pub(crate) socket: OwnedFd,
    sequence: u32,
    replies: VecDeque<(u32, Reply, Vec<OwnedFd>)>,
    events: VecDeque<Event>,
    welcomes: VecDeque<Welcome>,
    refusals: VecDeque<String>,
}

impl Client {
    /// Connects without a word.
    pub(crate) fn connect(directory: &Path) -> Self {
        let directory = std::fs::File::open(directory).unwrap();
        Self {
            socket: seqpacket::connect(directory.as_fd(), "monitor.sock").unwrap(),
            sequence: 0,
            replies: VecDeque::new(),
            events: VecDeque::new(),
            welcomes: VecDeque::new(),
            refusals: VecDeque::new(),
        }
    }

    /// Connects and greets.
    pub(crate) fn greet(directory: &Path) -> Self {
        let mut client = Self::connect(directory);
        client.hello(PROTOCOL_VERSION);
        client.welcome();
        client
    }

    pub(crate) fn hello(&self, protocol: u16) {
        self.send_frame(&Frame::Hello { protocol, build: "test".into() }, &[]);
    }

    pub(crate) fn send_frame(&self, frame: &Frame, fds: &[BorrowedFd<'_>]) {
        let bytes = frame.to_bytes();
        if bytes.len() <= INLINE_BYTES {
            return seqpacket::send(self.socket.as_fd(), &bytes, fds).unwrap();
        }
        let spilled = memfd_sealed(c"frame", &bytes, MemfdUse::Data).unwrap();
        let fds: Vec<BorrowedFd<'_>> = std::iter::once(spilled.as_fd()).chain(fds.iter().copied()).collect();
        seqpacket::send(self.socket.as_fd(), &Frame::Spilled.to_bytes(), &fds).unwrap();
    }

    /// Sends a request and returns its sequence.
    pub(crate) fn ask(&mut self, request: Request) -> u32 {
        self.ask_with(request, &[])
    }

    pub(crate) fn ask_with(&mut self, request: Request, fds: &[BorrowedFd<'_>]) -> u32 {
        self.sequence += 1;
        self.send_frame(&Frame::Request { sequence: self.sequence, request }, fds);
        self.sequence
    }

    /// Sends a request and waits for its reply.
    pub(crate) fn call(&mut self, request: Request) -> Reply {
        let sequence = self.ask(request);
        self.reply(sequence).0
    }

    /// Waits for the reply to a request.
    pub(crate) fn reply(&mut self, sequence: u32) -> (Reply, Vec<OwnedFd>) {
        loop {
            if let Some(at) = self.replies.iter().position(|reply| reply.0 == sequence) {
                let (_, reply, fds) = self.replies.remove(at).unwrap();
                return (reply, fds);
            }
            self.read_one();
        }
    }

    /// Whether the reply to a request is among what was read so far.
    pub(crate) fn came(&self, sequence: u32) -> bool {
        self.replies.iter().any(|reply| reply.0 == sequence)
    }

    /// Waits for the next event.
    pub(crate) fn event(&mut self) -> Event {
        while self.events.is_empty() {
            self.read_one();
        }
        self.events.pop_front().unwrap()
    }

    /// Waits for the end of a container; events of others are kept.
    pub(crate) fn exit_of(&mut self, id: Id) -> Exit {
        loop {
            let is_it = |event: &Event| matches!(event, Event::ContainerExited { container, .. } if *container == id);
            if let Some(at) = self.events.iter().position(is_it) {
                match self.events.remove(at) {
                    Some(Event::ContainerExited { exit, .. }) => return exit,
                    other => panic!("{other:?}"),
                }
            }
            self.read_one();
        }
    }

    /// Waits a little for the end of a container.
    pub(crate) fn exit_within(&mut self, id: Id, time: Duration) -> Option<Exit> {
        let is_it = |event: &Event| matches!(event, Event::ContainerExited { container, .. } if *container == id);
        if !self.events.iter().any(is_it) && self.is_readable(time) {
            self.read_one();
        }
        self.events.iter().any(is_it).then(|| self.exit_of(id))
    }

    pub(crate) fn welcome(&mut self) -> Welcome {
        while self.welcomes.is_empty() {
            self.read_one();
        }
        self.welcomes.pop_front().unwrap()
    }

    pub(crate) fn refusal(&mut self) -> String {
        while self.refusals.is_empty() {
            self.read_one();
        }
        self.refusals.pop_front().unwrap()
    }

    /// Waits until the monitor closes the connection.
    pub(crate) fn ended(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            assert!(self.is_readable(until.saturating_duration_since(Instant::now())), "the connection is still open");
            match seqpacket::receive(self.socket.as_fd(), INLINE_BYTES) {
                Ok(None) => return,
                Ok(Some(_)) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn is_readable(&self, time: Duration) -> bool {
        let timeout = Timespec::try_from(time).unwrap();
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut fds, Some(&timeout)).unwrap() > 0
    }

    fn read_one(&mut self) {
        assert!(self.is_readable(PATIENCE), "the monitor says nothing");
        let datagram = seqpacket::receive(self.socket.as_fd(), INLINE_BYTES).unwrap();
        let (mut bytes, mut fds) = datagram.expect("the monitor has closed the connection");
        if bytes == Frame::Spilled.to_bytes() {
            bytes = memfd_read(fds.remove(0).as_fd(), FRAME_BYTES).unwrap();
        }
        match Frame::from_bytes(&bytes).unwrap() {
            Frame::Reply { sequence, reply } => self.replies.push_back((sequence, reply, fds)),
            Frame::Event(event) => self.events.push_back(event),
            Frame::Welcome(welcome) => self.welcomes.push_back(welcome),
            Frame::Refused(text) => self.refusals.push_back(text),
            other => panic!("{other:?} from a monitor"),
        }
    }
}

/// The bytes of a blob, taking its descriptor from the reply's.
pub(crate) fn bytes(blob: Blob, fds: &mut VecDeque<OwnedFd>) -> Vec<u8> {
    match blob {
        Blob::Inline(bytes) => bytes.into(),
        Blob::Attached => memfd_read(fds.pop_front().unwrap().as_fd(), 64 << 20).unwrap(),
    }
}
