// SPDX-License-Identifier: Apache-2.0
//! Evidence that the process has one thread.

use std::fs;
use std::marker::PhantomData;

use rustix::io::Errno;

use crate::error::{Error, Result};

/// Evidence, made once by a program's `main`, that this is the only thread of the process.
///
/// A clone without exec copies one thread and every lock: in a process with more threads the child could wait forever
/// for a lock whose owner was not copied. The token cannot leave its thread.
#[derive(Debug)]
pub struct SingleThreaded {
    _stays_on_its_thread: PhantomData<*const ()>,
}

impl SingleThreaded {
    /// Counts the threads of the process in `/proc/self/task`.
    ///
    /// # Errors
    /// `EBUSY` when there is more than one, and whatever reading the directory fails with.
    pub fn assert() -> Result<Self> {
        let entries = fs::read_dir("/proc/self/task").map_err(|error| {
            let number = error.raw_os_error().unwrap_or(libc::EIO);
            Error::new("openat(\"/proc/self/task\")", Errno::from_raw_os_error(number))
        })?;
        match entries.count() {
            1 => Ok(Self { _stays_on_its_thread: PhantomData }),
            threads => {
                Err(Error::new(format!("getdents64(\"/proc/self/task\") = {threads} threads, 1 allowed"), Errno::BUSY))
            }
        }
    }
}
