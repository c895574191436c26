// SPDX-License-Identifier: Apache-2.0
//! What one monitor program hands to the next one, as data.
//!
//! The other program may be older or newer. So the encoding is a map of numbered fields: a field that the reader does
//! not know is skipped, one that is not there has a default, and a number is never used for something else. What
//! another version may phrase differently (failures) is a byte string of its own that may fail to decode by itself.
//! Descriptors are numbers, which stay what they are through an execve.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use wire::{CgroupJoin, Exit, Id, PidNamespace};

/// The number of a descriptor that comes through the execve.
pub(crate) type FdNumber = u32;

/// Everything that a monitor is.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Handover {
    /// The pod.
    #[n(0)]
    pub(crate) pod: Id,
    /// The listening socket.
    #[n(1)]
    pub(crate) listener: FdNumber,
    /// The directory of exit records.
    #[n(2)]
    pub(crate) records: FdNumber,
    /// The next name that is free.
    #[cbor(n(3), default)]
    pub(crate) next_key: u32,
    /// The connections.
    #[cbor(n(4), default)]
    pub(crate) connections: Vec<HandedConnection>,
    /// Pause.
    #[cbor(n(5), default)]
    pub(crate) pause: HandedPause,
    /// The containers.
    #[cbor(n(6), default)]
    pub(crate) containers: Vec<HandedContainer>,
    /// The execs.
    #[cbor(n(7), default)]
    pub(crate) execs: Vec<HandedExec>,
    /// What ended execs left running.
    #[cbor(n(8), default)]
    pub(crate) leftovers: Vec<HandedLeftover>,
}

/// A connection.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HandedConnection {
    #[cbor(n(0), default)]
    pub(crate) key: u32,
    #[cbor(n(1), default)]
    pub(crate) socket: FdNumber,
    #[n(2)]
    pub(crate) protocol: Option<u16>,
    #[cbor(n(3), default)]
    pub(crate) queue: Vec<HandedFrame>,
}

/// A frame that could not be sent yet.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HandedFrame {
    #[n(0)]
    pub(crate) bytes: ByteVec,
    #[cbor(n(1), default)]
    pub(crate) fds: Vec<FdNumber>,
}

/// Who waits for a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HandedReply {
    #[cbor(n(0), default)]
    pub(crate) connection: u32,
    #[cbor(n(1), default)]
    pub(crate) sequence: u32,
}

/// A launch under way.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HandedLaunch {
    #[cbor(n(0), default)]
    pub(crate) pid: u32,
    #[cbor(n(1), default)]
    pub(crate) pidfd: FdNumber,
    #[n(2)]
    pub(crate) channel: Option<FdNumber>,
    #[cbor(n(3), default)]
    pub(crate) steps: Vec<String>,
    #[n(4)]
    pub(crate) step: Option<u16>,
    #[cbor(n(5), default)]
    pub(crate) ready: bool,
    #[cbor(n(6), default)]
    pub(crate) killed: bool,
    /// A [`wire::Failure`].
    #[n(7)]
    pub(crate) failure: Option<ByteVec>,
    #[n(8)]
    pub(crate) log: Option<FdNumber>,
    #[n(9)]
    pub(crate) console: Option<FdNumber>,
    #[cbor(n(10), default)]
    pub(crate) deadline_ns: u64,
    #[cbor(n(11), default)]
    pub(crate) reply: HandedReply,
}

/// A process that runs.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HandedProcess {
    #[cbor(n(0), default)]
    pub(crate) pid: u32,
    #[cbor(n(1), default)]
    pub(crate) pidfd: FdNumber,
    #[cbor(n(2), default)]
    pub(crate) started_at_ns: u64,
}

/// A process that has ended, but whose end was not told yet.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HandedEnding {
    #[n(0)]
    pub(crate) exit: Exit,
    #[cbor(n(1), default)]
    pub(crate) pid: u32,
    #[cbor(n(2), default)]
    pub(crate) until_ns: u64,
}

/// A process that has ended.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HandedExit {
    #[n(0)]
    pub(crate) exit: Exit,
    /// When to try again to write the record.
    #[n(1)]
    pub(crate) record_ns: Option<u64>,
}

/// Pause; the field that is there says where it is in its life.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HandedPause {
    #[n(0)]
    pub(crate) starting: Option<HandedLaunch>,
    #[n(1)]
    pub(crate) running: Option<HandedProcess>,
    #[n(2)]
    pub(crate) ending: Option<HandedEnding>,
    #[n(3)]
    pub(crate) exited: Option<HandedExit>,
    #[cbor(n(4), default)]
    pub(crate) cgroup: HandedCgroup,
}

/// A cgroup.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HandedCgroup {
    #[n(0)]
    pub(crate) unified: Option<String>,
    #[cbor(n(1), default)]
    pub(crate) v1: Vec<String>,
}

/// One stream of a log.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HandedLogStream {
    #[n(0)]
    pub(crate) carry: ByteVec,
    #[cbor(n(1), default)]
    pub(crate) inside_line: bool,
    #[cbor(n(2), default)]
    pub(crate) open: bool,
}

/// A container; of the fields 20 to 24 the one that is there says where it is in its life.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HandedContainer {
    #[cbor(n(0), default)]
    pub(crate) key: u32,
    #[n(1)]
    pub(crate) id: Id,
    #[cbor(n(2), default)]
    pub(crate) cgroup: HandedCgroup,
    #[n(3)]
    pub(crate) pid_namespace: Option<PidNamespace>,
    #[cbor(n(4), default)]
    pub(crate) request: u64,
    #[cbor(n(5), default)]
    pub(crate) oom_kills_before: u64,
    #[n(6)]
    pub(crate) log_directory: Option<String>,
    #[n(7)]
    pub(crate) log_file: Option<String>,
    #[n(8)]
    pub(crate) log: Option<FdNumber>,
    #[n(9)]
    pub(crate) stdout_log: Option<HandedLogStream>,
    #[n(10)]
    pub(crate) stderr_log: Option<HandedLogStream>,
    #[cbor(n(11), default)]
    pub(crate) dropped_bytes: u64,
    #[n(12)]
    pub(crate) stdin: Option<FdNumber>,
    #[n(13)]
    pub(crate) stdout: Option<FdNumber>,
    #[n(14)]
    pub(crate) stderr: Option<FdNumber>,
    #[cbor(n(15), default)]
    pub(crate) terminal: bool,
    #[n(16)]
    pub(crate) reopening: Option<HandedLaunch>,
    #[n(20)]
    pub(crate) starting: Option<HandedLaunch>,
    #[n(21)]
    pub(crate) running: Option<HandedProcess>,
    #[n(22)]
    pub(crate) ending: Option<HandedEnding>,
    #[n(23)]
    pub(crate) exited: Option<HandedExit>,
    /// A [`wire::Failure`].
    #[n(24)]
    pub(crate) failed: Option<ByteVec>,
}

/// One captured stream.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HandedCapture {
    #[n(0)]
    pub(crate) pipe: Option<FdNumber>,
    #[n(1)]
    pub(crate) memory: Option<ByteVec>,
    #[n(2)]
    pub(crate) file: Option<FdNumber>,
    #[cbor(n(3), default)]
    pub(crate) kept: u64,
    #[n(4)]
    pub(crate) lost: Option<i32>,
}

/// An exec.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HandedExec {
    #[cbor(n(0), default)]
    pub(crate) key: u32,
    #[cbor(n(1), default)]
    pub(crate) container: u32,
    #[cbor(n(2), default)]
    pub(crate) reply: HandedReply,
    #[cbor(n(3), default)]
    pub(crate) pid: u32,
    #[cbor(n(4), default)]
    pub(crate) stdout: HandedCapture,
    #[cbor(n(5), default)]
    pub(crate) stderr: HandedCapture,
    /// The directory of its sub-cgroup.
    #[n(6)]
    pub(crate) cgroup: Option<String>,
    #[n(7)]
    pub(crate) deadline_ns: Option<u64>,
    #[n(8)]
    pub(crate) launching: Option<HandedLaunch>,
    /// The main process, once its program runs.
    #[n(9)]
    pub(crate) pidfd: Option<FdNumber>,
    /// Its time was up, and when it is answered in any case.
    #[n(10)]
    pub(crate) killed_until_ns: Option<u64>,
    #[cbor(n(11), default)]
    pub(crate) reaped: bool,
}

/// The sub-cgroup of an ended exec.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HandedLeftover {
    #[cbor(n(0), default)]
    pub(crate) key: u32,
    #[cbor(n(1), default)]
    pub(crate) container: u32,
    #[cbor(n(2), default)]
    pub(crate) cgroup: String,
}

impl Handover {
    /// The bytes for the next program.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to a Vec cannot fail")
    }

    /// Reads what the program before wrote. Bytes behind it are a later version's and are skipped.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, minicbor::decode::Error> {
        minicbor::decode(bytes)
    }
}

impl From<&CgroupJoin> for HandedCgroup {
    fn from(join: &CgroupJoin) -> Self {
        Self { unified: join.unified.clone(), v1: join.v1.clone() }
    }
}

impl From<HandedCgroup> for CgroupJoin {
    fn from(handed: HandedCgroup) -> Self {
        Self { unified: handed.unified, v1: handed.v1 }
    }
}

#[cfg(test)]
mod tests {
    use minicbor::Encoder;
    use wire::ExitStatus;

    use super::*;

    fn exit() -> Exit {
        Exit { status: ExitStatus::Signal(9), started_at_ns: 5, finished_at_ns: 6, oom_kills: 1, oom_killed: true }
    }

    fn launch() -> HandedLaunch {
        HandedLaunch {
            pid: 4,
            pidfd: 5,
            channel: Some(6),
            steps: vec!["one".into(), "two".into()],
            step: Some(1),
            ready: true,
            killed: true,
            failure: Some(vec![1, 2].into()),
            log: Some(7),
            console: Some(8),
            deadline_ns: u64::MAX,
            reply: HandedReply { connection: 1, sequence: u32::MAX },
        }
    }

    fn container() -> HandedContainer {
        let stream = HandedLogStream { carry: vec![b'x'; 16_384].into(), inside_line: true, open: true };
        HandedContainer {
            key: 2,
            id: Id::from_bytes([9; 32]),
            cgroup: HandedCgroup { unified: Some("/u".into()), v1: vec!["/a".into(), "/b".into()] },
            pid_namespace: Some(PidNamespace::Pod),
            request: 1 << 60,
            oom_kills_before: 3,
            log_directory: Some("/var/log/pods/p".into()),
            log_file: Some("c/0.log".into()),
            log: Some(10),
            stdout_log: Some(stream.clone()),
            stderr_log: Some(stream),
            dropped_bytes: 77,
            stdin: Some(11),
            stdout: Some(12),
            stderr: Some(13),
            terminal: true,
            reopening: Some(launch()),
            starting: Some(launch()),
            running: Some(HandedProcess { pid: 1, pidfd: 2, started_at_ns: 3 }),
            ending: Some(HandedEnding { exit: exit(), pid: 8, until_ns: 9 }),
            exited: Some(HandedExit { exit: exit(), record_ns: Some(4) }),
            failed: Some(vec![3].into()),
        }
    }

    fn full() -> Handover {
        let capture = HandedCapture {
            pipe: Some(30),
            memory: Some(vec![1; 100].into()),
            file: Some(31),
            kept: 100,
            lost: Some(24),
        };
        Handover {
            pod: Id::from_bytes([1; 32]),
            listener: 3,
            records: 4,
            next_key: 99,
            connections: vec![HandedConnection {
                key: 1,
                socket: 20,
                protocol: Some(1),
                queue: vec![HandedFrame { bytes: vec![31].into(), fds: vec![21, 22] }],
            }],
            pause: HandedPause {
                starting: Some(launch()),
                running: Some(HandedProcess { pid: 7, pidfd: 23, started_at_ns: 1 }),
                ending: Some(HandedEnding { exit: exit(), pid: 8, until_ns: 9 }),
                exited: Some(HandedExit { exit: exit(), record_ns: None }),
                cgroup: HandedCgroup::default(),
            },
            containers: vec![container()],
            execs: vec![HandedExec {
                key: 3,
                container: 2,
                reply: HandedReply { connection: 1, sequence: 7 },
                pid: 44,
                stdout: capture.clone(),
                stderr: capture,
                cgroup: Some("/u/exec-3".into()),
                deadline_ns: Some(1),
                launching: Some(launch()),
                pidfd: Some(40),
                killed_until_ns: Some(2),
                reaped: true,
            }],
            leftovers: vec![HandedLeftover { key: 5, container: 2, cgroup: "/u/exec-1".into() }],
        }
    }

    #[test]
    fn everything_comes_back() {
        assert_eq!(Handover::from_bytes(&full().to_bytes()).unwrap(), full());
    }

    #[test]
    fn the_least_that_there_can_be() {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes);
        encoder.map(3).unwrap();
        encoder.u8(0).unwrap().bytes(&[1; 32]).unwrap();
        encoder.u8(1).unwrap().u8(3).unwrap();
        encoder.u8(2).unwrap().u8(4).unwrap();
        let read = Handover::from_bytes(&bytes).unwrap();
        let expected = Handover {
            next_key: 0,
            connections: Vec::new(),
            pause: HandedPause::default(),
            containers: Vec::new(),
            execs: Vec::new(),
            leftovers: Vec::new(),
            ..full()
        };
        assert_eq!(read, expected);
    }

    /// A map as a later version might write it: the same entries, and unknown ones before, between and after.
    fn grown(bytes: &[u8]) -> Vec<u8> {
        let mut decoder = minicbor::Decoder::new(bytes);
        let entries = decoder.map().unwrap().unwrap();
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out);
        encoder.map(entries + 3).unwrap();
        encoder.u16(500).unwrap().map(1).unwrap().str("new").unwrap().array(2).unwrap().u8(1).unwrap().null().unwrap();
        for entry in 0..entries {
            encoder.u64(decoder.u64().unwrap()).unwrap();
            let start = decoder.position();
            decoder.skip().unwrap();
            encoder.writer_mut().extend_from_slice(&bytes[start..decoder.position()]);
            if entry == 1 {
                encoder.u16(501).unwrap().bytes(b"more").unwrap();
            }
        }
        encoder.u16(502).unwrap().bool(true).unwrap();
        out
    }

    #[test]
    fn unknown_fields_are_skipped_at_every_level() {
        assert_eq!(Handover::from_bytes(&grown(&full().to_bytes())).unwrap(), full());
        let bytes = minicbor::to_vec(container()).unwrap();
        assert_eq!(minicbor::decode::<HandedContainer>(&grown(&bytes)).unwrap(), container());
        let bytes = minicbor::to_vec(launch()).unwrap();
        assert_eq!(minicbor::decode::<HandedLaunch>(&grown(&bytes)).unwrap(), launch());
    }

    #[test]
    fn cut_bytes_are_an_error_and_never_a_panic() {
        let bytes = full().to_bytes();
        for end in (0..bytes.len()).step_by(101) {
            assert!(Handover::from_bytes(&bytes[..end]).is_err(), "{end}");
        }
    }
}
