// SPDX-License-Identifier: Apache-2.0
//! Datagrams with descriptors, and sealed memory files, against the real kernel.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd};

use husk_sys::{MemfdUse, inherited_fd, memfd_read, memfd_sealed, seqpacket};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};

#[test]
fn a_datagram_keeps_its_bounds_and_its_descriptors() {
    let (left, right) = seqpacket::pair().unwrap();
    let file = tempfile::tempfile().unwrap();
    (&file).write_all(b"through the socket").unwrap();
    seqpacket::send(left.as_fd(), b"first", &[file.as_fd(), left.as_fd()]).unwrap();
    seqpacket::send(left.as_fd(), b"second", &[]).unwrap();

    let (bytes, fds) = seqpacket::receive(right.as_fd(), 100).unwrap().unwrap();
    assert_eq!((bytes.as_slice(), fds.len()), (b"first".as_slice(), 2));
    for fd in &fds {
        assert_eq!(rustix::io::fcntl_getfd(fd).unwrap(), FdFlags::CLOEXEC);
    }
    let mut copy = File::from(fds.into_iter().next().unwrap());
    copy.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    copy.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through the socket");

    assert_eq!(seqpacket::receive(right.as_fd(), 100).unwrap().unwrap().0, b"second");
    drop(left);
    assert!(seqpacket::receive(right.as_fd(), 100).unwrap().is_none());
    let error = seqpacket::send(right.as_fd(), b"x", &[]).unwrap_err();
    assert_eq!(error.errno(), Errno::PIPE);
}

#[test]
fn what_does_not_fit_is_refused() {
    let (left, right) = seqpacket::pair().unwrap();
    seqpacket::send(left.as_fd(), &[7; 101], &[]).unwrap();
    seqpacket::send(left.as_fd(), &[8; 100], &[]).unwrap();
    assert_eq!(seqpacket::receive(right.as_fd(), 100).unwrap_err().errno(), Errno::MSGSIZE);
    assert_eq!(seqpacket::receive(right.as_fd(), 100).unwrap().unwrap().0, [8; 100]);

    assert_eq!(seqpacket::send(left.as_fd(), b"", &[]).unwrap_err().errno(), Errno::INVAL);
    assert_eq!(seqpacket::send(left.as_fd(), b"x", &[left.as_fd(); 9]).unwrap_err().errno(), Errno::MSGSIZE);
    seqpacket::send(left.as_fd(), b"x", &[left.as_fd(); 8]).unwrap();
    assert_eq!(seqpacket::receive(right.as_fd(), 100).unwrap().unwrap().1.len(), 8);

    let error = seqpacket::send(left.as_fd(), &vec![0; 16 << 20], &[]).unwrap_err();
    assert_eq!(error.errno(), Errno::MSGSIZE);
    assert!(error.to_string().starts_with(&format!("sendmsg({}, 16777216 bytes, 0 fds): ", left.as_raw_fd())));
}

#[test]
fn a_socket_is_found_through_its_directory_however_long_the_path_is() {
    let base = tempfile::tempdir().unwrap();
    let deep = base.path().join("d".repeat(200));
    std::fs::create_dir(&deep).unwrap();
    let dir = rustix::fs::open(&deep, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();

    assert_eq!(seqpacket::connect(dir.as_fd(), "monitor.sock").unwrap_err().errno(), Errno::NOENT);
    let listener = seqpacket::listen(dir.as_fd(), "monitor.sock").unwrap();
    let stat = rustix::fs::stat(deep.join("monitor.sock")).unwrap();
    assert_eq!(stat.st_mode & 0o7777, 0o600);
    assert_eq!(seqpacket::listen(dir.as_fd(), "monitor.sock").unwrap_err().errno(), Errno::ADDRINUSE);
    assert_eq!(seqpacket::accept(listener.as_fd()).unwrap_err().errno(), Errno::AGAIN);

    let client = seqpacket::connect(dir.as_fd(), "monitor.sock").unwrap();
    let server = seqpacket::accept(listener.as_fd()).unwrap();
    assert_eq!(seqpacket::receive(server.as_fd(), 10).unwrap_err().errno(), Errno::AGAIN);
    seqpacket::send(client.as_fd(), b"hello", &[]).unwrap();
    assert_eq!(seqpacket::receive(server.as_fd(), 10).unwrap().unwrap().0, b"hello");

    drop(listener);
    assert_eq!(seqpacket::connect(dir.as_fd(), "monitor.sock").unwrap_err().errno(), Errno::CONNREFUSED);
    for name in ["", ".", "..", "a/b"] {
        assert_eq!(seqpacket::listen(dir.as_fd(), name).unwrap_err().errno(), Errno::INVAL, "{name:?}");
    }
}

#[test]
fn a_memory_file_is_final() {
    let bytes: Vec<u8> = (0..300_000_u32).map(|i| i as u8).collect();
    let fd = memfd_sealed(c"husk-test", &bytes, MemfdUse::Data).unwrap();
    assert_eq!(memfd_read(fd.as_fd(), bytes.len()).unwrap(), bytes);
    assert_eq!(memfd_read(fd.as_fd(), bytes.len()).unwrap(), bytes, "the offset does not matter");
    assert_eq!(memfd_read(fd.as_fd(), bytes.len() - 1).unwrap_err().errno(), Errno::MSGSIZE);
    assert_eq!(rustix::io::pwrite(&fd, b"x", 0), Err(Errno::PERM));
    assert_eq!(rustix::fs::ftruncate(&fd, 0), Err(Errno::PERM));
    assert_eq!(rustix::fs::fstat(&fd).unwrap().st_mode & 0o111, 0, "data can't be executed");

    let open = rustix::fs::memfd_create(c"husk-test", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
    assert_eq!(memfd_read(open.as_fd(), 10).unwrap_err().errno(), Errno::INVAL);
    let file = tempfile::tempfile().unwrap();
    assert_eq!(memfd_read(file.as_fd(), 10).unwrap_err().errno(), Errno::INVAL);
    assert!(memfd_read(memfd_sealed(c"e", b"", MemfdUse::Data).unwrap().as_fd(), 0).unwrap().is_empty());
}

#[test]
fn only_a_descriptor_without_owner_is_inherited() {
    let owned = tempfile::tempfile().unwrap();
    assert_eq!(inherited_fd(owned.as_raw_fd()).unwrap_err().errno(), Errno::BUSY);
    assert_eq!(inherited_fd(1).unwrap_err().errno(), Errno::BADF);
    assert_eq!(inherited_fd(-1).unwrap_err().errno(), Errno::BADF);
    assert_eq!(inherited_fd(1_000_000).unwrap_err().errno(), Errno::BADF);

    // As an execve would leave it: open, not close-on-exec, and owned by nobody.
    let number = std::os::fd::IntoRawFd::into_raw_fd(rustix::io::dup(&owned).unwrap());
    let taken = inherited_fd(number).unwrap();
    assert_eq!(taken.as_raw_fd(), number);
    assert_eq!(rustix::io::fcntl_getfd(&taken).unwrap(), FdFlags::CLOEXEC);
    assert_eq!(inherited_fd(number).unwrap_err().errno(), Errno::BUSY);
}
