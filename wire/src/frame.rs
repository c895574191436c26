// SPDX-License-Identifier: Apache-2.0
//! One datagram: the frozen core, and the envelope of everything else.
//!
//! The first byte is the kind. The layouts of kinds 1 to 5 are **frozen**: numbers are little-endian, and no later
//! version may change them, because a daemon must be able to greet, replace and kill a monitor of any age.
//!
//! ```text
//!  1 hello    "husk" core:u16 protocol:u16 build…          daemon → monitor, first frame of a connection
//!  2 welcome  "husk" core:u16 protocol:u16 pod:[u8;32] build…   monitor → daemon, also after a re-execution
//!  3 reexec   (fd 0: the program, a sealed memfd)          daemon → monitor
//!  4 refused  text…                                        monitor → daemon: the re-execution failed, it goes on as it was
//!  5 kill                                                  daemon → monitor: end the pod and yourself
//! 16 request  sequence:u32 CBOR                            daemon → monitor
//! 17 reply    sequence:u32 CBOR                            monitor → daemon
//! 18 event    CBOR                                         monitor → daemon
//! 31 spilled  (fd 0: a memfd with a whole frame of another kind; the other fds are that frame's)
//! ```

use minicbor::{Decode, Encode};

use crate::id::Id;
use crate::limits;
use crate::message::{Event, Reply, Request};

/// The version of the frozen core. It has never been anything else.
const CORE_VERSION: u16 = 1;

/// The version of requests, replies and events. Raise it when a side could no longer understand the other: the daemon
/// then re-executes the monitors that have another one before it asks them anything.
pub const PROTOCOL_VERSION: u16 = 1;

const MAGIC: &[u8; 4] = b"husk";

/// One datagram of the protocol; file descriptors travel beside it.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// The daemon's greeting.
    Hello {
        /// The protocol version that the daemon speaks.
        protocol: u16,
        /// The daemon's build, for logs.
        build: String,
    },
    /// The monitor's answer to [`Frame::Hello`], and its first word after a re-execution.
    Welcome(Welcome),
    /// Replace the monitor's program by the one in the attached memfd.
    Reexec,
    /// The re-execution was refused; the text says why.
    Refused(String),
    /// End the pod's processes and the monitor.
    Kill,
    /// Something to do.
    Request {
        /// Chosen by the daemon, repeated in the reply.
        sequence: u32,
        /// What to do.
        request: Request,
    },
    /// How it went.
    Reply {
        /// The sequence of the request.
        sequence: u32,
        /// How it went.
        reply: Reply,
    },
    /// Something that happened.
    Event(Event),
    /// The frame is in the first attached memfd.
    Spilled,
}

/// Who a monitor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The protocol version that it speaks.
    pub protocol: u16,
    /// The pod that it watches.
    pub pod: Id,
    /// Its build, for logs.
    pub build: String,
}

/// Why bytes are not a frame, a message or a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Nothing there.
    #[error("the frame is empty")]
    Empty,
    /// Longer than [`limits::FRAME_BYTES`].
    #[error("the frame has {bytes} bytes, and at most {max} are read", max = limits::FRAME_BYTES)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A kind that this version does not know.
    #[error("frame kind {0} is not known to this version of the protocol")]
    UnknownKind(u8),
    /// A frame of the frozen core that is cut short or not ours.
    #[error("the frame of kind {kind} does not have the layout of the frozen core")]
    BadCore {
        /// Its kind.
        kind: u8,
    },
    /// The CBOR inside does not decode.
    #[error("the message does not decode: {0}")]
    BadMessage(String),
    /// More bytes than the message needs.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
}

impl Frame {
    /// The bytes of the frame.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        match self {
            Self::Hello { protocol, build } => {
                out.push(1);
                push_version(&mut out, *protocol);
                push_build(&mut out, build);
            }
            Self::Welcome(welcome) => {
                out.push(2);
                push_version(&mut out, welcome.protocol);
                out.extend_from_slice(welcome.pod.as_bytes());
                push_build(&mut out, &welcome.build);
            }
            Self::Reexec => out.push(3),
            Self::Refused(text) => {
                out.push(4);
                out.extend_from_slice(text.as_bytes());
            }
            Self::Kill => out.push(5),
            Self::Request { sequence, request } => push_message(&mut out, 16, Some(*sequence), request),
            Self::Reply { sequence, reply } => push_message(&mut out, 17, Some(*sequence), reply),
            Self::Event(event) => push_message(&mut out, 18, None, event),
            Self::Spilled => out.push(31),
        }
        out
    }

    /// Reads one datagram.
    ///
    /// # Errors
    /// When the bytes are not exactly one frame of a kind that this version knows.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() > limits::FRAME_BYTES {
            return Err(FrameError::TooLong { bytes: bytes.len() });
        }
        let (&kind, body) = bytes.split_first().ok_or(FrameError::Empty)?;
        let bad = FrameError::BadCore { kind };
        match kind {
            1 => {
                let (protocol, rest) = take_version(body).ok_or(bad.clone())?;
                Ok(Self::Hello { protocol, build: take_build(rest).ok_or(bad)? })
            }
            2 => {
                let (protocol, rest) = take_version(body).ok_or(bad.clone())?;
                let (pod, rest) = rest.split_first_chunk::<32>().ok_or(bad.clone())?;
                let build = take_build(rest).ok_or(bad)?;
                Ok(Self::Welcome(Welcome { protocol, pod: Id::from_bytes(*pod), build }))
            }
            3 if body.is_empty() => Ok(Self::Reexec),
            4 => String::from_utf8(body.to_vec()).map(Self::Refused).map_err(|_| bad),
            5 if body.is_empty() => Ok(Self::Kill),
            16 => take_sequence(body, bad)
                .and_then(|(sequence, rest)| Ok(Self::Request { sequence, request: decode_exactly(rest)? })),
            17 => take_sequence(body, bad)
                .and_then(|(sequence, rest)| Ok(Self::Reply { sequence, reply: decode_exactly(rest)? })),
            18 => Ok(Self::Event(decode_exactly(body)?)),
            31 if body.is_empty() => Ok(Self::Spilled),
            3 | 5 | 31 => Err(bad),
            _ => Err(FrameError::UnknownKind(kind)),
        }
    }
}

fn push_version(out: &mut Vec<u8>, protocol: u16) {
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&CORE_VERSION.to_le_bytes());
    out.extend_from_slice(&protocol.to_le_bytes());
}

fn push_build(out: &mut Vec<u8>, build: &str) {
    let mut end = build.len().min(limits::BUILD_BYTES);
    while !build.is_char_boundary(end) {
        end -= 1;
    }
    out.extend_from_slice(&build.as_bytes()[..end]);
}

fn push_message(out: &mut Vec<u8>, kind: u8, sequence: Option<u32>, message: &impl Encode<()>) {
    out.push(kind);
    if let Some(sequence) = sequence {
        out.extend_from_slice(&sequence.to_le_bytes());
    }
    out.extend_from_slice(&encode(message));
}

/// A later core may append fields but never change these, so the core version itself is not compared.
fn take_version(body: &[u8]) -> Option<(u16, &[u8])> {
    let rest = body.strip_prefix(MAGIC)?;
    let (_core, rest) = rest.split_first_chunk::<2>()?;
    let (protocol, rest) = rest.split_first_chunk::<2>()?;
    Some((u16::from_le_bytes(*protocol), rest))
}

fn take_build(rest: &[u8]) -> Option<String> {
    (rest.len() <= limits::BUILD_BYTES).then(|| String::from_utf8_lossy(rest).replace(char::REPLACEMENT_CHARACTER, "?"))
}

fn take_sequence(body: &[u8], bad: FrameError) -> Result<(u32, &[u8]), FrameError> {
    let (sequence, rest) = body.split_first_chunk::<4>().ok_or(bad)?;
    Ok((u32::from_le_bytes(*sequence), rest))
}

pub(crate) fn encode(message: &impl Encode<()>) -> Vec<u8> {
    minicbor::to_vec(message).expect("writing to a Vec cannot fail, and every path in a message is UTF-8")
}

pub(crate) fn decode_exactly<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, FrameError> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let message = decoder.decode().map_err(|error| FrameError::BadMessage(error.to_string()))?;
    match bytes.len() - decoder.position() {
        0 => Ok(message),
        rest => Err(FrameError::Trailing(rest)),
    }
}
