// SPDX-License-Identifier: Apache-2.0
//! A reader that hashes and counts what passes, and the way of our errors through `std::io::Error`.

use std::io::{self, Read};

use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::Error;

/// Passes bytes on, hashed, counted and bounded.
pub(crate) struct Metered<R, F> {
    inner: R,
    hasher: Hasher,
    bytes: u64,
    most: u64,
    observe: F,
}

impl<R: Read, F: Fn(u64)> Metered<R, F> {
    pub(crate) fn new(inner: R, algorithm: Algorithm, most: u64, observe: F) -> Metered<R, F> {
        Metered { inner, hasher: Hasher::new(algorithm), bytes: 0, most, observe }
    }

    /// Digest and number of the bytes that passed.
    pub(crate) fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.bytes)
    }
}

impl<R: Read, F: Fn(u64)> Read for Metered<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.bytes += read as u64;
        (self.observe)(read as u64);
        if self.bytes > self.most {
            let what = "the uncompressed size of a layer".to_owned();
            return Err(io::Error::other(Error::Limit { what, limit: format!("{} bytes", self.most) }));
        }
        Ok(read)
    }
}

/// Reads to the end.
pub(crate) fn drain<R: Read>(reader: &mut R) -> io::Result<()> {
    let mut buffer = vec![0; crate::limits::READ_BYTES];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// An error of ours that travelled through a reader comes out as it was; anything else is content that can't be decoded.
pub(crate) fn error_of(error: io::Error, what: &str) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Error::corrupt(what, "it ends too early"),
        Err(e) => Error::corrupt(what, crate::secret::printable(&e.to_string(), 200)),
    }
}
