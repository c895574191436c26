// SPDX-License-Identifier: Apache-2.0
//! The daemon's end of the conversation with one monitor.
//!
//! One task reads; anybody may ask. An answer finds its asker by the sequence number, events go to the pod. When the
//! connection ends everybody who waits is told, and the pod decides what that means.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use wire::{Frame, Reply, Request, Welcome};

use crate::limits;

/// The name of the socket in the pod's live directory.
pub(crate) const SOCKET: &str = "monitor.sock";

/// Why a monitor gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The connection is gone.
    #[error("the connection ended")]
    Lost,
    /// It did not answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The request could not be sent.
    #[error("{0}")]
    Send(String),
}

/// What a monitor says unasked.
#[derive(Debug)]
pub(crate) enum Notice {
    /// Something happened in the pod.
    Event(wire::Event),
    /// The connection ended.
    Lost,
}

/// An answer and the descriptors beside it.
pub(crate) type Answer = (Reply, Vec<OwnedFd>);

/// A connection to a monitor.
#[derive(Debug)]
pub(crate) struct MonitorClient {
    socket: AsyncFd<OwnedFd>,
    next: AtomicU32,
    waiting: Mutex<Waiting>,
    /// Which program it is; changes when it re-executes itself.
    greeting: watch::Sender<Result<Welcome, String>>,
    requests: Semaphore,
}

#[derive(Debug, Default)]
struct Waiting {
    lost: bool,
    askers: HashMap<u32, oneshot::Sender<Answer>>,
}

impl MonitorClient {
    /// Connects to the monitor whose socket is in `live_dir`, greets it and starts to read. What it says unasked
    /// comes out of the receiver, [`Notice::Lost`] last.
    ///
    /// # Errors
    /// When nobody listens, or somebody who is no monitor.
    pub(crate) async fn connect(live_dir: &Path) -> io::Result<(Arc<Self>, Welcome, mpsc::Receiver<Notice>)> {
        let dir = rustix::fs::open(live_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let socket = sys::seqpacket::connect(dir.as_fd(), SOCKET).map_err(to_io)?;
        let client = Arc::new(Self {
            socket: watched(socket)?,
            next: AtomicU32::new(1),
            waiting: Mutex::default(),
            greeting: watch::Sender::new(Err("it has not greeted yet".to_owned())),
            requests: Semaphore::new(limits::MONITOR_REQUESTS),
        });
        let hello = Frame::Hello { protocol: wire::PROTOCOL_VERSION, build: env!("CARGO_PKG_VERSION").to_owned() };
        let greeted = async {
            client.send(&hello, &[]).await?;
            client.receive().await
        };
        let frame = tokio::time::timeout(limits::MONITOR_ANSWER, greeted)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let Some((Frame::Welcome(welcome), _)) = frame else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer does not greet as a monitor"));
        };
        client.greet(Ok(welcome.clone()));
        let (notices, receiver) = mpsc::channel(limits::MONITOR_REQUESTS);
        tokio::spawn(Arc::clone(&client).read(notices));
        Ok((client, welcome, receiver))
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn call(
        &self,
        request: Request,
        fds: &[BorrowedFd<'_>],
        deadline: Duration,
    ) -> Result<Answer, CallError> {
        let asked = async {
            let _permit = self.requests.acquire().await.map_err(|_| CallError::Lost)?;
            let sequence = self.next.fetch_add(1, Ordering::Relaxed);
            let (sender, receiver) = oneshot::channel();
            {
                let mut waiting = self.waiting();
                if waiting.lost {
                    return Err(CallError::Lost);
                }
                waiting.askers.insert(sequence, sender);
            }
            let _forget = Forget { client: self, sequence };
            self.send(&Frame::Request { sequence, request }, fds)
                .await
                .map_err(|error| CallError::Send(error.to_string()))?;
            receiver.await.map_err(|_| CallError::Lost)
        };
        tokio::time::timeout(deadline, asked).await.map_err(|_| CallError::Timeout(deadline))?
    }

    /// Has the monitor end the pod and itself, whatever its version and state.
    pub(crate) async fn kill(&self) {
        // One that cannot be told is gone or will be: its connection has ended.
        let _ = self.send(&Frame::Kill, &[]).await;
    }

    fn greet(&self, greeting: Result<Welcome, String>) {
        drop(self.greeting.send_replace(greeting));
    }

    /// The build that it greeted with; empty before.
    pub(crate) fn build(&self) -> String {
        self.greeting.borrow().as_ref().map(|welcome| welcome.build.clone()).unwrap_or_default()
    }

    /// Replaces the monitor's program and waits until the new one has greeted.
    ///
    /// # Errors
    /// The reason in words; the monitor goes on as it was.
    pub(crate) async fn reexecute(&self, program: BorrowedFd<'_>) -> Result<(), String> {
        let mut greeting = self.greeting.subscribe();
        self.send(&Frame::Reexec, &[program]).await.map_err(|error| error.to_string())?;
        tokio::time::timeout(limits::MONITOR_ANSWER, greeting.changed())
            .await
            .map_err(|_| format!("no greeting within {:?}", limits::MONITOR_ANSWER))?
            .map_err(|error| error.to_string())?;
        let greeted = greeting.borrow().clone();
        greeted.map(|_| ())
    }

    /// Whether the connection has ended.
    pub(crate) fn is_lost(&self) -> bool {
        self.waiting().lost
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        // Nothing panics while it is held; a poisoned table is still right.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, frame: &Frame, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = frame.to_bytes();
        let spilled;
        let mut all: Vec<BorrowedFd<'_>> = Vec::with_capacity(fds.len() + 1);
        let bytes = if bytes.len() > wire::limits::INLINE_BYTES {
            spilled = sys::memfd_sealed(c"husk-frame", &bytes, sys::MemfdUse::Data).map_err(to_io)?;
            all.push(spilled.as_fd());
            Frame::Spilled.to_bytes()
        } else {
            bytes
        };
        all.extend_from_slice(fds);
        loop {
            let mut ready = self.socket.writable().await?;
            match ready.try_io(|socket| sys::seqpacket::send(socket.as_fd(), &bytes, &all).map_err(to_io)) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    async fn receive(&self) -> io::Result<Option<(Frame, Vec<OwnedFd>)>> {
        let datagram = loop {
            let mut ready = self.socket.readable().await?;
            match ready
                .try_io(|socket| sys::seqpacket::receive(socket.as_fd(), wire::limits::INLINE_BYTES).map_err(to_io))
            {
                Ok(result) => break result?,
                Err(_would_block) => {}
            }
        };
        let Some((bytes, mut fds)) = datagram else { return Ok(None) };
        let invalid = |error: wire::FrameError| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut frame = Frame::from_bytes(&bytes).map_err(invalid)?;
        if frame == Frame::Spilled {
            if fds.is_empty() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a spilled frame came without its memfd"));
            }
            let body = fds.remove(0);
            let bytes = sys::memfd_read(body.as_fd(), wire::limits::FRAME_BYTES).map_err(to_io)?;
            frame = Frame::from_bytes(&bytes).map_err(invalid)?;
        }
        Ok(Some((frame, fds)))
    }

    async fn read(self: Arc<Self>, notices: mpsc::Sender<Notice>) {
        loop {
            let notice = match self.receive().await {
                Ok(Some((Frame::Reply { sequence, reply }, fds))) => {
                    let asker = self.waiting().askers.remove(&sequence);
                    if let Some(asker) = asker {
                        // An asker that has gone away needs no answer.
                        let _ = asker.send((reply, fds));
                    }
                    continue;
                }
                Ok(Some((Frame::Event(event), _))) => Notice::Event(event),
                Ok(Some((Frame::Welcome(welcome), _))) => {
                    self.greet(Ok(welcome.clone()));
                    continue;
                }
                Ok(Some((Frame::Refused(why), _))) => {
                    self.greet(Err(why));
                    continue;
                }
                Ok(Some((frame, _))) => {
                    tracing::warn!(?frame, "end the connection to a monitor that sends what only a daemon may");
                    break;
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "end the connection to a monitor");
                    break;
                }
            };
            if notices.send(notice).await.is_err() {
                break;
            }
        }
        {
            let mut waiting = self.waiting();
            waiting.lost = true;
            waiting.askers.clear();
        }
        self.greet(Err("the connection ended".to_owned()));
        // Nobody listens any more when the pod is being removed.
        let _ = notices.send(Notice::Lost).await;
    }
}

/// Takes the asker out of the table when it stops waiting, whyever.
struct Forget<'a> {
    client: &'a MonitorClient,
    sequence: u32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.client.waiting().askers.remove(&self.sequence);
    }
}

/// Has the runtime watch a socket.
#[expect(
    deprecated,
    reason = "an OwnedFd is one descriptor for as long as it lives, which is all that `register` asks"
)]
fn watched(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(socket)
}

/// A system call's error with its number, so that tokio sees `EAGAIN`, and with its text when it is another one.
fn to_io(error: sys::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::from(io::ErrorKind::WouldBlock),
        kind => io::Error::new(kind, error.to_string()),
    }
}
