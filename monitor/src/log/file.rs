// SPDX-License-Identifier: Apache-2.0
//! The open log file of a container: whole lines, or nothing of a line.

use std::os::fd::OwnedFd;

use rustix::fs::{SeekFrom, ftruncate, seek};
use rustix::io::{Errno, write};

/// A log file that was opened for appending by the launch child, which alone touches its path.
#[derive(Debug)]
pub struct LogFile {
    fd: OwnedFd,
    /// A line that was cut short could not be taken back: a newline has to come before anything else.
    torn: bool,
}

impl LogFile {
    /// Takes over an open file. Writes go to its end when it was opened with `O_APPEND`.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd, torn: false }
    }

    /// The descriptor, for the handover.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Appends whole lines and returns how many bytes of them are in the file as whole lines. When the disk is full or
    /// broken, the rest is not there, not even in part.
    pub fn append(&mut self, lines: &[u8]) -> usize {
        if self.torn {
            if write_all(&self.fd, b"\n") == 0 {
                return 0;
            }
            self.torn = false;
        }
        let written = write_all(&self.fd, lines);
        if written == lines.len() {
            return written;
        }
        let whole = lines[..written].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        if written > whole {
            self.torn = !self.take_back((written - whole) as u64);
        }
        whole
    }

    /// Cuts off the last bytes that were written. The monitor is the file's only writer, and after a write the offset
    /// stands at its end, also with `O_APPEND`.
    fn take_back(&self, bytes: u64) -> bool {
        let Ok(end) = seek(&self.fd, SeekFrom::Current(0)) else {
            return false;
        };
        let Some(end) = end.checked_sub(bytes) else {
            return false;
        };
        ftruncate(&self.fd, end).is_ok() && seek(&self.fd, SeekFrom::Start(end)).is_ok()
    }
}

/// Writes what can be written, and returns how much that was. No error is kept: full disk, quota, size limit and a
/// broken device all mean that the rest is dropped, and the next read tries again.
fn write_all(fd: &OwnedFd, bytes: &[u8]) -> usize {
    let mut done = 0;
    while done < bytes.len() {
        match write(fd, &bytes[done..]) {
            Ok(0) => break,
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

    use super::*;

    #[test]
    fn a_short_write_leaves_whole_lines_only() {
        // A memory file that may not grow takes the first page of a longer write.
        let memory = memfd_create("log", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&memory, 4096).unwrap();
        fcntl_add_seals(&memory, SealFlags::GROW).unwrap();
        let copy = memory.as_fd().try_clone_to_owned().unwrap();
        let mut file = LogFile::new(memory);
        let line = [b'x'; 999].iter().chain(b"\n").copied().collect::<Vec<_>>();
        assert_eq!(file.append(&line.repeat(5)), 4000);
        let text = fs::read(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&copy))).unwrap();
        assert_eq!(text, line.repeat(4));
    }

    #[test]
    fn nothing_fits_on_a_full_device() {
        let full = fs::OpenOptions::new().append(true).open("/dev/full").unwrap();
        let mut file = LogFile::new(full.into());
        assert_eq!(file.append(b"one line\n"), 0);
        assert_eq!(file.append(b"another\n"), 0);
    }

    #[test]
    fn a_line_that_cannot_be_taken_back_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "a torn li").unwrap();
        let open = fs::OpenOptions::new().append(true).open(&path).unwrap();
        let mut file = LogFile { fd: open.into(), torn: true };
        assert_eq!(file.append(b"whole\n"), 6);
        assert_eq!(file.append(b"next\n"), 5);
        assert_eq!(fs::read_to_string(&path).unwrap(), "a torn li\nwhole\nnext\n");
    }
}
