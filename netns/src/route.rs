// SPDX-License-Identifier: Apache-2.0
//! One synchronous rtnetlink(7) socket: the kernel answers a request before the send returns, so an
//! event loop would only cost time.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::error::Error;
use crate::limits;

/// The index of `lo` in every network namespace (LOOPBACK_IFINDEX in the kernel).
const LOOPBACK_INDEX: u32 = 1;

/// A socket of the namespace in which it was opened.
pub(crate) struct RouteSocket {
    socket: Socket,
    sequence: u32,
}

/// How one read of the answer to a dump ended.
enum Dump {
    Complete(Vec<RouteNetlinkMessage>),
    /// The list changed while the kernel wrote it (NLM_F_DUMP_INTR): it may miss entries.
    Interrupted,
}

impl RouteSocket {
    /// Opens a socket in the namespace that this thread is in.
    pub(crate) fn open() -> Result<Self, Error> {
        let failed = |e| Error::call("socket(AF_NETLINK, NETLINK_ROUTE)", e);
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(failed)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Brings `lo` up; the kernel then adds 127.0.0.1/8 and ::1/128 by itself.
    pub(crate) fn bring_loopback_up(&mut self) -> Result<(), Error> {
        let mut link = LinkMessage::default();
        link.header.index = LOOPBACK_INDEX;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.send(RouteNetlinkMessage::SetLink(link), NLM_F_ACK)?;
        self.acknowledgement("RTM_SETLINK lo up")
    }

    /// All links of the namespace.
    pub(crate) fn links(&mut self) -> Result<Vec<LinkMessage>, Error> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = self.dump("RTM_GETLINK", &request)?;
        Ok(answers
            .into_iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewLink(link) => Some(link),
                _ => None,
            })
            .collect())
    }

    /// All addresses of the namespace, of both families.
    pub(crate) fn addresses(&mut self) -> Result<Vec<AddressMessage>, Error> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.dump("RTM_GETADDR", &request)?;
        Ok(answers
            .into_iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewAddress(address) => Some(address),
                _ => None,
            })
            .collect())
    }

    fn send(&mut self, payload: RouteNetlinkMessage, flags: u16) -> Result<(), Error> {
        self.sequence += 1;
        let mut message = NetlinkMessage::from(payload);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(|e| Error::call("send(AF_NETLINK)", e))?;
        Ok(())
    }

    fn receive(&self, request: &'static str) -> Result<Vec<NetlinkMessage<RouteNetlinkMessage>>, Error> {
        let (datagram, _) = self.socket.recv_from_full().map_err(|e| Error::call("recvfrom(AF_NETLINK)", e))?;
        let mut messages = Vec::new();
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(|e| unusable(request, e))?;
            // Messages are aligned to four bytes; the last one may lack its padding.
            let length = (message.header.length as usize).next_multiple_of(4);
            if length == 0 {
                return Err(unusable(request, "a message of length 0"));
            }
            rest = rest.get(length..).unwrap_or_default();
            if message.header.sequence_number == self.sequence {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    fn acknowledgement(&mut self, request: &'static str) -> Result<(), Error> {
        loop {
            for message in self.receive(request)? {
                if let NetlinkPayload::Error(answer) = message.payload {
                    return match answer.code {
                        None => Ok(()),
                        Some(_) => Err(Error::call(request, answer.to_io())),
                    };
                }
            }
        }
    }

    fn dump(
        &mut self,
        request: &'static str,
        message: &RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        for _ in 0..limits::DUMP_ATTEMPTS {
            self.send(message.clone(), NLM_F_DUMP)?;
            if let Dump::Complete(answers) = self.read_dump(request)? {
                return Ok(answers);
            }
        }
        Err(unusable(request, "the list changes faster than it can be read"))
    }

    fn read_dump(&mut self, request: &'static str) -> Result<Dump, Error> {
        let mut answers = Vec::new();
        let mut interrupted = false;
        loop {
            for message in self.receive(request)? {
                interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    NetlinkPayload::Error(answer) if answer.code.is_some() => {
                        return Err(Error::call(request, answer.to_io()));
                    }
                    NetlinkPayload::Done(_) if interrupted => return Ok(Dump::Interrupted),
                    NetlinkPayload::Done(_) => return Ok(Dump::Complete(answers)),
                    _ => {}
                }
            }
            if answers.len() > limits::DUMP_MESSAGES {
                return Err(unusable(request, "more entries than a pod can have"));
            }
        }
    }
}

fn unusable(request: &'static str, why: impl ToString) -> Error {
    Error::Netlink { request, why: why.to_string() }
}
