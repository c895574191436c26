// SPDX-License-Identifier: Apache-2.0
//! From a layer's bytes to a directory that overlayfs can stack, in one pass:
//!
//! ```text
//! compressed bytes ─▶ digest ─▶ inflate ─▶ diff id ─▶ tar parser ─▶ applier ─▶ files below one directory fd
//! ```
//! Everything in the stream is hostile (threats.md 1E). The applier never uses a path that leads out of its directory fd, and the result
//! only counts when both digests are right.

mod applier;
mod content;
mod decompress;
mod metadata;
mod metered;
mod path;
mod remove;
pub(crate) mod tar;
mod whiteout;

use std::io::Read;
use std::os::fd::BorrowedFd;

use crate::digest::{DiffId, Digest};
use crate::error::Error;
use crate::limits;

pub(crate) use decompress::{decoder, is_compressed};
pub(crate) use metered::error_of;
pub(crate) use path::EntryPath;

use metered::{Metered, drain};

/// Bounds of one unpack. [`Limits::default`] is what the store uses.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Entries of the archive.
    pub entries: u64,
    /// Uncompressed bytes of the stream, and logical bytes of its sparse files.
    pub bytes: u64,
    /// Uncompressed bytes that any compressed stream may have; beyond them it may have a hundred times its own size.
    pub inflate_free_bytes: u64,
    /// Free bytes that must remain on the file system, at most; on small ones it is a hundredth of its size.
    pub reserve_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            entries: limits::ENTRIES,
            bytes: limits::LAYER_BYTES,
            inflate_free_bytes: limits::INFLATE_FREE_BYTES,
            reserve_bytes: limits::SPACE_RESERVE_BYTES,
        }
    }
}

/// What an archive turned out to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Entries, whiteouts included.
    pub entries: u64,
    /// Directories that the archive uses and doesn't list, relative and sorted; the empty name is the root. They take owner and mode from
    /// the layer below.
    pub implicit: Vec<Vec<u8>>,
    /// The archive hides everything below it (`.wh..wh..opq` at the top), which overlayfs can't express by an attribute.
    pub hides_lower: bool,
}

/// Applies a plain tar stream below `root`, which must be an empty directory that nobody else writes to.
///
/// # Errors
/// `Entry` for what can't be applied safely, `Corrupt` for a malformed archive, `Limit`, `NoSpace` and `Io`. What was made stays for the
/// caller to remove.
pub fn apply<R: Read>(reader: R, root: BorrowedFd<'_>, limits: &Limits) -> Result<Applied, Error> {
    let mut archive = tar::Archive::new(reader);
    let mut applier = applier::Applier::new(root, limits)?;
    while let Some(entry) = archive.next_entry()? {
        applier.entry(&entry, &mut archive)?;
    }
    applier.finish()
}

/// What a layer's bytes must turn out to be.
pub(crate) struct Expected {
    /// Digest and length of the bytes as they come; an archive of `docker save` has neither.
    pub(crate) blob: Option<(Digest, u64)>,
    pub(crate) diff_id: DiffId,
}

/// Who wants to know how far a layer is. Both count the bytes since the last call.
pub(crate) trait Observer {
    /// Bytes as they come.
    fn compressed(&self, bytes: u64);
    /// Bytes of the archive.
    fn plain(&self, bytes: u64);
}

/// Applies a layer as it comes from a registry or archive: compressed or not, verified on the way.
pub(crate) fn stream<R: Read>(
    source: R,
    expected: &Expected,
    root: BorrowedFd<'_>,
    limits: &Limits,
    observer: &dyn Observer,
) -> Result<Applied, Error> {
    let name = match &expected.blob {
        Some((digest, _)) => format!("layer {digest}"),
        None => format!("layer {}", expected.diff_id),
    };
    let algorithm = expected.blob.as_ref().map_or(expected.diff_id.digest(), |(digest, _)| digest).algorithm();
    let mut compressed = Metered::new(source, algorithm, u64::MAX, |bytes| observer.compressed(bytes));
    let most = match expected.blob {
        Some((_, size)) => {
            limits.bytes.min(limits.inflate_free_bytes.saturating_add(size.saturating_mul(limits::INFLATE_RATIO)))
        }
        None => limits.bytes,
    };
    let plain = decoder(&mut compressed).map_err(|e| error_of(e, &name))?;
    let mut plain = Metered::new(plain, expected.diff_id.digest().algorithm(), most, |bytes| observer.plain(bytes));
    let applied = apply(&mut plain, root, limits)?;
    // The end of the archive isn't the end of the stream: padding, further gzip members and zstd frames count in both digests.
    drain(&mut plain).map_err(|e| error_of(e, &name))?;
    let (diff_id, _) = plain.finish();
    drain(&mut compressed).map_err(|e| error_of(e, &name))?;
    let (digest, size) = compressed.finish();
    if let Some((wanted, wanted_size)) = &expected.blob {
        if size != *wanted_size {
            return Err(Error::corrupt(name, format!("it has {size} bytes and its manifest says {wanted_size}")));
        }
        if digest != *wanted {
            return Err(Error::corrupt(name, format!("its digest is {digest}")));
        }
    }
    if diff_id != *expected.diff_id.digest() {
        let reason =
            format!("its uncompressed digest is {diff_id} and the image configuration says {}", expected.diff_id);
        return Err(Error::corrupt(name, reason));
    }
    Ok(applied)
}

#[cfg(test)]
mod tests;
