// SPDX-License-Identifier: Apache-2.0
//! `SOCK_SEQPACKET` unix sockets: whole datagrams in order, with descriptors beside them.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::error::{Error, Result};
use crate::limits::{BACKLOG, DATAGRAM_FDS};

/// Makes two connected sockets, close-on-exec and blocking.
///
/// # Errors
/// What `socketpair(2)` lists.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|errno| Error::new("socketpair(AF_UNIX, SOCK_SEQPACKET)", errno))
}

/// Listens at `name` in the directory `dir`, mode 0600 from the start. The socket is close-on-exec and non-blocking.
///
/// # Errors
/// `EADDRINUSE` when the name is taken, also by a socket that nobody listens on any more; `EINVAL` for a name with a
/// slash; otherwise what `bind(2)` and `listen(2)` list.
pub fn listen(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let (socket, address) = prepare("bind", dir, name)?;
    let call = |what: &str| format!("{what}({}, \"{name}\")", dir.as_raw_fd());
    // The kernel takes the mode of the new file from the socket's own inode, so there is no moment with another one.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|errno| Error::new(call("fchmod"), errno))?;
    rustix::net::bind(&socket, &address).map_err(|errno| Error::new(call("bind"), errno))?;
    rustix::net::listen(&socket, BACKLOG).map_err(|errno| Error::new(call("listen"), errno))?;
    Ok(socket)
}

/// Connects to the socket at `name` in the directory `dir`. The result is close-on-exec and non-blocking.
///
/// # Errors
/// `EAGAIN` when too many wait to be accepted, `ECONNREFUSED` when nobody listens, `EINVAL` for a name with a slash;
/// otherwise what `connect(2)` lists.
pub fn connect(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let (socket, address) = prepare("connect", dir, name)?;
    rustix::net::connect(&socket, &address)
        .map_err(|errno| Error::new(format!("connect({}, \"{name}\")", dir.as_raw_fd()), errno))?;
    Ok(socket)
}

/// Accepts a connection, close-on-exec and non-blocking.
///
/// # Errors
/// `EAGAIN` when none waits; otherwise what `accept4(2)` lists.
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
        .map_err(|errno| Error::new(format!("accept4({})", listener.as_raw_fd()), errno))
}

/// Sends one datagram and, beside it, copies of descriptors. Blocks unless the socket is non-blocking; raises no SIGPIPE.
///
/// # Errors
/// `EMSGSIZE` when it is longer than the send buffer or has more descriptors than a datagram may carry, `EINVAL` when it
/// is empty (that would read as the end), `EPIPE` when the peer is gone, `EAGAIN`; otherwise what `sendmsg(2)` lists.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let fail =
        |errno| Error::new(format!("sendmsg({}, {} bytes, {} fds)", socket.as_raw_fd(), bytes.len(), fds.len()), errno);
    if bytes.is_empty() {
        return Err(fail(Errno::INVAL));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DATAGRAM_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if fds.len() > DATAGRAM_FDS || (!fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds))) {
        return Err(fail(Errno::MSGSIZE));
    }
    loop {
        match rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(fail(errno)),
        }
    }
}

/// Receives one datagram and the descriptors beside it, close-on-exec; `None` is the end. Blocks unless the socket is
/// non-blocking.
///
/// # Errors
/// `EMSGSIZE` when the datagram is longer than `max_bytes` or has more descriptors than one may carry (it is lost then,
/// and its descriptors are closed), `EAGAIN`; otherwise what `recvmsg(2)` lists.
pub fn receive(socket: BorrowedFd<'_>, max_bytes: usize) -> Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let fail = |errno| Error::new(format!("recvmsg({}, {max_bytes} bytes)", socket.as_raw_fd()), errno);
    // Ask for the length first: the reader holds one copy of just the right size, however large its bound is.
    let length = retry(|| {
        let (_, length) = rustix::net::recv(socket, &mut [] as &mut [u8], RecvFlags::PEEK | RecvFlags::TRUNC)?;
        Ok(length)
    })
    .map_err(fail)?;
    let mut bytes = vec![0; length.min(max_bytes)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DATAGRAM_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = retry(|| {
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })
    .map_err(fail)?;
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(fail(Errno::MSGSIZE));
    }
    if message.bytes == 0 {
        return Ok(None);
    }
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            fds.extend(rights);
        }
    }
    // The buffer has a little slack for alignment, in which one descriptor too many may have come.
    if fds.len() > DATAGRAM_FDS {
        return Err(fail(Errno::MSGSIZE));
    }
    bytes.truncate(message.bytes);
    Ok(Some((bytes, fds)))
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// A fresh socket, and the address that names `name` through the descriptor of its directory: the path of a unix socket
/// has 108 bytes, and a state directory may be longer.
fn prepare(call: &str, dir: BorrowedFd<'_>, name: &str) -> Result<(OwnedFd, SocketAddrUnix)> {
    let fail = |errno| Error::new(format!("{call}({}, \"{name}\")", dir.as_raw_fd()), errno);
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err(fail(Errno::INVAL));
    }
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd())).map_err(fail)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(fail)?;
    Ok((socket, address))
}
