// SPDX-License-Identifier: Apache-2.0
//! F-TAR, structure-aware: a list of entries over a handful of names, so that nearly every run has duplicates, a symbolic link where a
//! directory comes next, `..`, hard links and whiteouts. The resulting tree is compared with that of a simple model.

mod compare;
mod entry;
mod model;

use arbitrary::{Arbitrary, Unstructured};

pub use entry::{Change, Component, Entry, Kind};

use crate::arena::Arena;
use crate::{Verdict, limits, tar_applier};

/// Unpacks the entries that `data` stands for, 12 bytes each.
///
/// # Panics
/// When anything outside of the root changed, or the tree or the verdict is not that of the model.
pub fn run(data: &[u8]) -> Verdict {
    let mut source = Unstructured::new(data);
    let mut entries = Vec::new();
    while !source.is_empty() && entries.len() < limits::ENTRIES as usize {
        let Ok(entry) = Entry::arbitrary(&mut source) else { break };
        entries.push(entry);
    }
    let arena = Arena::new();
    let archive = entry::archive(&entries, &arena.canary());
    let applied = tar_applier::apply(&arena, &archive);
    let tree = arena.tree();
    tar_applier::check_attributes(&tree);
    let expected = model::apply(&entries, &arena.canary());
    match (&applied, &expected) {
        (Ok(applied), Ok(model)) => compare::check(applied, &tree, model),
        (Err(_), Err(_)) => {}
        (Ok(_), Err(reason)) => panic!("an archive was taken although {reason}: {entries:#?}"),
        (Err(error), Ok(_)) => panic!("an archive was refused ({error}): {entries:#?}"),
    }
    Verdict::of(&applied)
}
