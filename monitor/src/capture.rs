// SPDX-License-Identifier: Apache-2.0
//! The output of an exec: small in memory, larger in a memory file, cut at the protocol's limit.

use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::{Errno, write};
use wire::limits::EXEC_OUTPUT_BYTES;
use wire::{Blob, ByteVec};

use crate::limits::CAPTURE_MEMORY_BYTES;

/// What was kept of one output stream.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    /// The bytes, until they go to `file`.
    pub(crate) memory: Vec<u8>,
    /// All bytes, once they are many.
    pub(crate) file: Option<OwnedFd>,
    /// How many bytes are kept.
    pub(crate) kept: usize,
    /// Why bytes below the limit could not be kept.
    pub(crate) lost: Option<Errno>,
}

impl Capture {
    /// Keeps what the limit allows and discards the rest (CRI `ExecSyncResponse`: no error).
    pub(crate) fn push(&mut self, data: &[u8]) {
        let data = &data[..data.len().min(EXEC_OUTPUT_BYTES - self.kept)];
        if data.is_empty() || self.lost.is_some() {
            return;
        }
        if self.file.is_none() && self.kept + data.len() <= CAPTURE_MEMORY_BYTES {
            self.memory.extend_from_slice(data);
            self.kept += data.len();
            return;
        }
        match self.push_to_file(data) {
            Ok(()) => self.kept += data.len(),
            Err(errno) => self.lost = Some(errno),
        }
    }

    fn push_to_file(&mut self, data: &[u8]) -> Result<(), Errno> {
        if self.file.is_none() {
            let file = memory_file()?;
            write_all(&file, &std::mem::take(&mut self.memory))?;
            self.file = Some(file);
        }
        match &self.file {
            Some(file) => write_all(file, data),
            None => Ok(()),
        }
    }

    /// The bytes as the protocol carries them, with the descriptor that goes beside the message.
    ///
    /// # Errors
    /// When bytes below the limit were lost, or the memory file cannot be sealed.
    pub(crate) fn into_blob(self) -> Result<(Blob, Option<OwnedFd>), Errno> {
        if let Some(errno) = self.lost {
            return Err(errno);
        }
        if let Some(file) = &self.file {
            let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
            fcntl_add_seals(file, seals)?;
            return Ok((Blob::Attached, self.file));
        }
        Ok((Blob::Inline(ByteVec::from(self.memory)), None))
    }
}

fn memory_file() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // KERNEL(6.3): MFD_NOEXEC_SEAL; older kernels answer EINVAL.
    match memfd_create("husk-exec-output", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create("husk-exec-output", flags),
        other => other,
    }
}

fn write_all(file: &OwnedFd, mut data: &[u8]) -> Result<(), Errno> {
    while !data.is_empty() {
        match write(file, data) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(written) => data = &data[written..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    fn bytes(capture: Capture) -> Vec<u8> {
        match capture.into_blob().unwrap() {
            (Blob::Inline(bytes), None) => bytes.to_vec(),
            (Blob::Attached, Some(fd)) => {
                let file = File::from(fd);
                let mut out = vec![0; file.metadata().unwrap().len() as usize];
                file.read_exact_at(&mut out, 0).unwrap();
                assert!(file.write_at(b"x", 0).is_err(), "the file is not sealed");
                out
            }
            other => panic!("{other:?}"),
        }
    }

    fn check(chunk: usize, total: usize, in_file: bool) {
        let input: Vec<u8> = (0..total).map(|i| (i / 7) as u8).collect();
        let mut capture = Capture::default();
        for chunk in input.chunks(chunk) {
            capture.push(chunk);
        }
        assert_eq!(capture.file.is_some(), in_file, "{total}");
        let expected = &input[..total.min(EXEC_OUTPUT_BYTES)];
        assert!(bytes(capture) == expected, "{chunk} {total}");
    }

    #[test]
    fn sizes_around_the_limits() {
        check(1, 0, false);
        check(7, 100, false);
        check(1000, CAPTURE_MEMORY_BYTES, false);
        check(1000, CAPTURE_MEMORY_BYTES + 1, true);
        check(100_000, CAPTURE_MEMORY_BYTES + 1, true);
        check(65_536, EXEC_OUTPUT_BYTES, true);
        check(65_537, EXEC_OUTPUT_BYTES + 1, true);
        check(1_000_000, EXEC_OUTPUT_BYTES + 3_000_000, true);
    }

    #[test]
    fn lost_bytes_are_an_error_and_not_a_hole() {
        let mut capture = Capture { lost: Some(Errno::MFILE), ..Capture::default() };
        capture.push(b"x");
        assert_eq!(capture.into_blob().unwrap_err(), Errno::MFILE);
    }
}
