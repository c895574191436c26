// SPDX-License-Identifier: Apache-2.0
//! Sealed memory files: programs without a path, and messages that are too long for a datagram.

use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// What a memory file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemfdUse {
    /// It will be executed.
    Program,
    /// It will only be read.
    Data,
}

/// What makes the content of a memory file final.
const FINAL: SealFlags = SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// Makes a memory file that holds `bytes` and can never be changed again. `name` shows up in `/proc`.
///
/// # Errors
/// What `memfd_create(2)` and `write(2)` fail with; `EACCES` for a program when `vm.memfd_noexec=2` forbids it.
pub fn memfd_sealed(name: &CStr, bytes: &[u8], purpose: MemfdUse) -> Result<OwnedFd> {
    let base = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let exact = match purpose {
        MemfdUse::Program => MemfdFlags::EXEC,
        MemfdUse::Data => MemfdFlags::NOEXEC_SEAL,
    };
    // KERNEL(6.3): an older kernel knows neither flag and makes every memory file executable.
    let fd = match rustix::fs::memfd_create(name, base | exact) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, base),
        other => other,
    }
    .map_err(|errno| Error::new(format!("memfd_create({name:?}, {purpose:?})"), errno))?;
    let mut file = File::from(fd);
    file.write_all(bytes).map_err(|error| {
        let number = error.raw_os_error().unwrap_or(libc::EIO);
        Error::new(format!("write({name:?}, {} bytes)", bytes.len()), Errno::from_raw_os_error(number))
    })?;
    rustix::fs::fcntl_add_seals(&file, FINAL)
        .map_err(|errno| Error::new(format!("fcntl({name:?}, F_ADD_SEALS)"), errno))?;
    Ok(file.into())
}

/// Reads a whole sealed memory file from its start, whatever its offset is.
///
/// # Errors
/// `EMSGSIZE` when it is longer than `max_bytes`; `EINVAL` when it is no memory file or its content could still change.
pub fn memfd_read(fd: BorrowedFd<'_>, max_bytes: usize) -> Result<Vec<u8>> {
    let number = fd.as_raw_fd();
    let seals =
        rustix::fs::fcntl_get_seals(fd).map_err(|errno| Error::new(format!("fcntl({number}, F_GET_SEALS)"), errno))?;
    if !seals.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE) {
        return Err(Error::new(format!("fcntl({number}, F_GET_SEALS) = {seals:?}, not final"), Errno::INVAL));
    }
    let stat = rustix::fs::fstat(fd).map_err(|errno| Error::new(format!("fstat({number})"), errno))?;
    let length = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
    if length > max_bytes {
        return Err(Error::new(format!("fstat({number}) = {length} bytes, {max_bytes} allowed"), Errno::MSGSIZE));
    }
    let mut bytes = vec![0; length];
    let mut done = 0;
    while done < length {
        match rustix::io::pread(fd, &mut bytes[done..], done as u64) {
            // The seals keep the length, so an early end is a kernel that broke its word.
            Ok(0) => {
                return Err(Error::new(format!("pread64({number}, {length})"), Errno::IO));
            }
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::new(format!("pread64({number}, {length})"), errno)),
        }
    }
    Ok(bytes)
}
