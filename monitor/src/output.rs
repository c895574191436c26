// SPDX-License-Identifier: Apache-2.0
//! Reading what containers and execs write, never more than a bounded amount at a time.

use std::os::fd::AsFd;

use rustix::io::{Errno, ioctl_fionread, read};

use crate::limits::{READ_BYTES, READS_PER_WAKE};

/// The read buffer of the process.
pub(crate) type ReadBuffer = [u8; READ_BYTES];

/// How a reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// There may be more; others come first.
    More,
    /// There is nothing more for now.
    Empty,
    /// There will be nothing more: every writer has closed it.
    Ended,
}

/// Reads from a non-blocking pipe or terminal, at most [`READS_PER_WAKE`] times.
pub(crate) fn read_some(fd: impl AsFd, buffer: &mut ReadBuffer, mut take: impl FnMut(&[u8])) -> Reading {
    for _ in 0..READS_PER_WAKE {
        match read(&fd, &mut buffer[..]) {
            Ok(0) => return Reading::Ended,
            Ok(bytes) => take(&buffer[..bytes]),
            Err(Errno::AGAIN) => return Reading::Empty,
            Err(Errno::INTR) => {}
            // EIO is how the master side of a terminal tells that no one has the other side open.
            Err(_) => return Reading::Ended,
        }
    }
    Reading::More
}

/// Reads what is in a non-blocking pipe or terminal now. What is written meanwhile by somebody who never stops does
/// not count, so this ends.
pub(crate) fn read_rest(fd: impl AsFd, buffer: &mut ReadBuffer, mut take: impl FnMut(&[u8])) {
    // A terminal hides a part of what waits behind its line discipline, so one read is always tried.
    let mut left = ioctl_fionread(&fd).unwrap_or(0).max(1);
    while left > 0 {
        match read(&fd, &mut buffer[..]) {
            Ok(0) => return,
            Ok(bytes) => {
                take(&buffer[..bytes]);
                left = left.saturating_sub(bytes as u64);
            }
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{OFlags, fcntl_setfl};
    use rustix::io::write;
    use rustix::pipe::pipe;

    use super::*;

    #[test]
    fn some_and_rest_and_end() {
        let (reader, writer) = pipe().unwrap();
        fcntl_setfl(&reader, OFlags::NONBLOCK).unwrap();
        let mut buffer = [0; READ_BYTES];
        let mut seen = Vec::new();
        assert_eq!(read_some(&reader, &mut buffer, |data| seen.extend_from_slice(data)), Reading::Empty);
        write(&writer, &[7; 50_000]).unwrap();
        assert_eq!(read_some(&reader, &mut buffer, |data| seen.extend_from_slice(data)), Reading::Empty);
        assert_eq!(seen, [7; 50_000]);
        write(&writer, &[8; 40_000]).unwrap();
        let mut rest = 0;
        read_rest(&reader, &mut buffer, |data| {
            rest += data.len();
            // A writer that goes on for ever.
            write(&writer, &[9; 1000]).unwrap();
        });
        assert!((40_000..60_000).contains(&rest), "{rest}");
        drop(writer);
        assert_eq!(read_some(&reader, &mut buffer, |_| {}), Reading::Ended);
    }

    #[test]
    fn a_flood_gives_way() {
        let (reader, writer) = pipe().unwrap();
        fcntl_setfl(&reader, OFlags::NONBLOCK).unwrap();
        write(&writer, &[1; 1]).unwrap();
        let mut buffer = [0; READ_BYTES];
        let mut reads = 0;
        let flooded = read_some(&reader, &mut buffer, |_| {
            reads += 1;
            write(&writer, &[1; 1]).unwrap();
        });
        assert_eq!((flooded, reads), (Reading::More, READS_PER_WAKE));
    }
}
