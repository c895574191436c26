// SPDX-License-Identifier: Apache-2.0
//! F-TAR: the bytes of a layer → files below one directory, and nowhere else.

use std::collections::BTreeMap;

use image::unpack::{self, Applied, Limits};
use rustix::fs::FileType;

use crate::arena::{Arena, Seen};
use crate::{Verdict, limits, message};

/// Unpacks `data` as a plain tar stream.
///
/// # Panics
/// When anything outside of the root changed, or something is inside that no layer may bring.
pub fn run(data: &[u8]) -> Verdict {
    let arena = Arena::new();
    let applied = apply(&arena, data);
    check_attributes(&arena.tree());
    Verdict::of(&applied)
}

/// Unpacks an archive into an arena and checks the canary.
pub(crate) fn apply(arena: &Arena, archive: &[u8]) -> Result<Applied, image::error::Error> {
    let limits =
        Limits { entries: limits::ENTRIES, bytes: limits::UNPACKED_BYTES, reserve_bytes: 0, ..Limits::default() };
    let applied = unpack::apply(archive, arena.root(), &limits);
    arena.check_canary();
    match &applied {
        Ok(applied) => {
            assert!(applied.entries <= limits::ENTRIES, "an archive has {} entries", applied.entries);
            assert!(applied.implicit.is_sorted_by(|a, b| a < b), "the implied directories are not in order, each once");
        }
        Err(error) => message::check(error),
    }
    applied
}

/// Attributes that control overlayfs come from us alone: a layer could redirect into another directory by them.
pub(crate) fn check_attributes(tree: &BTreeMap<Vec<u8>, Seen>) {
    for (path, seen) in tree {
        for (name, value) in &seen.attributes {
            let path = String::from_utf8_lossy(path);
            let name = String::from_utf8_lossy(name);
            let opaque = name == "trusted.overlay.opaque" && value == b"y" && seen.kind() == FileType::Directory;
            let users = name.starts_with("user.") && !name.starts_with("user.overlay.");
            assert!(opaque || users || name == "security.capability", "{path:?} has the attribute {name:?}");
        }
    }
}
