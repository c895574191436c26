// SPDX-License-Identifier: Apache-2.0
//! The kernel's tree against the model's.

use std::collections::BTreeMap;

use image::unpack::Applied;
use rustix::fs::FileType;

use super::model::{Inode, Model, What};
use crate::arena::Seen;

/// Checks that a tree is what the model says.
///
/// # Panics
/// When it is not.
pub(super) fn check(applied: &Applied, tree: &BTreeMap<Vec<u8>, Seen>, model: &Model) {
    assert_eq!(applied.hides_lower, model.hides_lower, "whether the archive hides everything below it");
    let expected: BTreeMap<Vec<u8>, usize> =
        model.names.iter().map(|(name, number)| (name.join(&b'/'), *number)).collect();
    let names = |list: &mut dyn Iterator<Item = &Vec<u8>>| -> Vec<String> {
        list.filter(|name| !name.is_empty()).map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    };
    assert_eq!(names(&mut tree.keys()), names(&mut expected.keys()), "the names in the tree");
    let mut numbers: BTreeMap<u64, usize> = BTreeMap::new();
    for (name, seen) in tree {
        let inode = expected.get(name).map_or(&model.root, |number| &model.inodes[*number]);
        let shown = String::from_utf8_lossy(name);
        check_inode(&shown, seen, inode);
        if let Some(number) = expected.get(name) {
            let known = *numbers.entry(seen.stat.st_ino).or_insert(*number);
            assert_eq!(known, *number, "{shown:?} shares an inode with something else");
            let links = expected.values().filter(|other| *other == number).count() as u64;
            assert!(
                inode.what == What::Directory || seen.stat.st_nlink == links,
                "{shown:?} has another number of links"
            );
        }
        let implied = inode.what == What::Directory && inode.stamp.is_none();
        assert!(!implied || applied.implicit.contains(name) || inode.opaque, "{shown:?} is implied and not reported");
    }
}

fn check_inode(shown: &str, seen: &Seen, inode: &Inode) {
    let device = |major, minor| seen.stat.st_rdev == rustix::fs::makedev(major, minor);
    let same = match (&inode.what, seen.kind()) {
        (What::Directory, FileType::Directory) | (What::Fifo, FileType::Fifo) => true,
        (What::File(content), FileType::RegularFile) | (What::Symlink(content), FileType::Symlink) => {
            *content == seen.content
        }
        (What::Char(major, minor), FileType::CharacterDevice) | (What::Block(major, minor), FileType::BlockDevice) => {
            device(*major, *minor)
        }
        (What::Whiteout, FileType::CharacterDevice) => device(0, 0),
        _ => false,
    };
    assert!(same, "{shown:?} is a {:?} with {:?} and not {:?}", seen.kind(), seen.content, inode.what);
    let opaque = seen.attributes.contains_key(&b"trusted.overlay.opaque"[..]);
    assert_eq!(opaque, inode.opaque, "whether {shown:?} is opaque");
    let attribute = seen.attributes.get(&b"user.fuzz"[..]).map(Vec::as_slice);
    assert_eq!(attribute, inode.attribute.as_ref().map(std::slice::from_ref), "the attribute of {shown:?}");
    let Some(stamp) = inode.stamp else { return };
    if inode.what != What::Directory || !shown.is_empty() {
        assert_eq!((seen.stat.st_uid, seen.stat.st_gid), (stamp.uid, stamp.gid), "the owner of {shown:?}");
    }
    let time = (seen.stat.st_mtime, i64::try_from(seen.stat.st_mtime_nsec).unwrap_or(-1));
    assert_eq!(time, stamp.mtime, "the time of {shown:?}");
    // Symbolic links have no mode of their own.
    assert!(
        seen.kind() == FileType::Symlink || seen.stat.st_mode & 0o7777 == stamp.mode,
        "{shown:?} has mode {:o} and not {:o}",
        seen.stat.st_mode & 0o7777,
        stamp.mode
    );
}
