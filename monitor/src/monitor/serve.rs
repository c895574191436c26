// SPDX-License-Identifier: Apache-2.0
//! Connections: accepting, reading, answering.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use wire::{Event as PodEvent, Failure, FailureKind, Frame, PROTOCOL_VERSION, Reply, Welcome};

use crate::BUILD;
use crate::clock::Moment;
use crate::connection::{Connection, Incoming, Outgoing};
use crate::container::ReplyTo;
use crate::event::{Event, Interest, Key};
use crate::limits::{CONNECTIONS, FRAMES_PER_WAKE, RECHECK};
use crate::monitor::Monitor;

/// What to do with a connection after one of its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    HangUp,
}

impl Monitor {
    /// Takes everybody in who waits, as long as there is room, and turns the others away at once.
    pub(super) fn accept(&mut self) {
        loop {
            match sys::seqpacket::accept(self.listener.as_fd()) {
                Ok(socket) => self.admit(socket),
                Err(error) => match error.errno() {
                    Errno::AGAIN => return,
                    Errno::INTR | Errno::CONNABORTED => {}
                    _ => {
                        // No descriptor or no memory left. The listener would wake the loop again and again.
                        self.poll.remove(&self.listener);
                        self.accept_again = Some(Moment::now().after(RECHECK));
                        return;
                    }
                },
            }
        }
    }

    fn admit(&mut self, socket: OwnedFd) {
        let is_root = rustix::net::sockopt::socket_peercred(&socket).is_ok_and(|peer| peer.uid.is_root());
        if !is_root || self.connections.len() >= CONNECTIONS {
            return;
        }
        let key = self.new_key();
        if self.poll.add(&socket, Event::Connection(key), Interest::Read).is_ok() {
            self.connections.push(Connection::new(key, socket));
        }
    }

    fn connection(&mut self, key: Key) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.key == key)
    }

    /// Sends what waits and does what is asked.
    pub(super) fn serve(&mut self, key: Key) {
        if self.connection(key).is_some_and(|connection| connection.flush().is_err()) {
            self.hang_up(key);
        }
        for _ in 0..FRAMES_PER_WAKE {
            let Some(connection) = self.connection(key) else {
                return;
            };
            let then = match connection.receive() {
                Incoming::Nothing => break,
                Incoming::End => Then::HangUp,
                Incoming::Foreign { sequence } => {
                    let text = format!("this monitor speaks protocol {PROTOCOL_VERSION}; re-execute it first");
                    let failure = Failure::new(FailureKind::Unsupported, text);
                    self.reply(ReplyTo { connection: key, sequence }, Reply::Failed(failure));
                    Then::GoOn
                }
                Incoming::Frame(frame, fds) => self.frame(key, frame, fds),
            };
            if then == Then::HangUp {
                self.hang_up(key);
            }
        }
        self.watch_queue(key);
    }

    fn frame(&mut self, key: Key, frame: Frame, fds: Vec<OwnedFd>) -> Then {
        let Some(connection) = self.connection(key) else {
            return Then::GoOn;
        };
        match (frame, connection.protocol) {
            (Frame::Hello { protocol, .. }, None) => {
                connection.protocol = Some(protocol);
                self.welcome(key);
            }
            // The frozen core: the first frame of a connection is the greeting.
            (_, None) | (Frame::Hello { .. }, Some(_)) => return Then::HangUp,
            (Frame::Kill, _) => self.begin_close(None),
            (Frame::Reexec, _) => self.re_execute(key, fds),
            (Frame::Request { sequence, request }, _) => {
                self.request(ReplyTo { connection: key, sequence }, request, fds);
            }
            (Frame::Welcome(_) | Frame::Refused(_) | Frame::Reply { .. } | Frame::Event(_) | Frame::Spilled, _) => {
                return Then::HangUp;
            }
        }
        Then::GoOn
    }

    /// Says who it is.
    pub(super) fn welcome(&mut self, key: Key) {
        let welcome = Welcome { protocol: PROTOCOL_VERSION, pod: self.pod, build: BUILD.to_owned() };
        self.send(key, &Frame::Welcome(welcome), Vec::new());
    }

    /// Answers a request. Nobody may be there to hear it.
    pub(super) fn reply(&mut self, to: ReplyTo, reply: Reply) {
        self.reply_with(to, reply, Vec::new());
    }

    /// Answers a request with descriptors beside the reply.
    pub(super) fn reply_with(&mut self, to: ReplyTo, reply: Reply, fds: Vec<OwnedFd>) {
        self.send(to.connection, &Frame::Reply { sequence: to.sequence, reply }, fds);
    }

    /// Tells everybody who understands it.
    pub(super) fn broadcast(&mut self, event: PodEvent) {
        let keys: Vec<Key> = self.connections.iter().filter(|one| one.speaks_ours()).map(|one| one.key).collect();
        let frame = Frame::Event(event);
        for key in keys {
            self.send(key, &frame, Vec::new());
        }
    }

    /// Sends a frame on one connection; one that cannot take it is closed.
    pub(super) fn send(&mut self, key: Key, frame: &Frame, fds: Vec<OwnedFd>) {
        let Some(connection) = self.connection(key) else {
            return;
        };
        let outgoing = Outgoing::new(frame, fds).or_else(|error| match frame {
            // Only a long reply needs a memory file. Its place is taken by one that needs none.
            Frame::Reply { sequence, .. } => {
                let failure = Failure {
                    kind: FailureKind::Exhausted,
                    step: None,
                    errno: Some(error.errno().raw_os_error()),
                    detail: Some("the reply is too long for a datagram, and no memory file can be made for it".into()),
                };
                Outgoing::new(&Frame::Reply { sequence: *sequence, reply: Reply::Failed(failure) }, Vec::new())
            }
            _ => Err(error),
        });
        let sent = outgoing.is_ok_and(|outgoing| connection.send(outgoing).is_ok());
        if sent {
            self.watch_queue(key);
        } else {
            self.hang_up(key);
        }
    }

    /// Waits for room as long as frames are queued.
    fn watch_queue(&mut self, key: Key) {
        let Some(connection) = self.connections.iter_mut().find(|connection| connection.key == key) else {
            return;
        };
        let interest = if connection.queue.is_empty() { Interest::Read } else { Interest::ReadWrite };
        if interest == connection.interest {
            return;
        }
        connection.interest = interest;
        if self.poll.change(&connection.socket, Event::Connection(key), interest).is_err() {
            self.hang_up(key);
        }
    }

    /// Closes a connection. What it asked for goes on; the replies are dropped.
    fn hang_up(&mut self, key: Key) {
        self.connections.retain(|connection| connection.key != key);
    }
}
