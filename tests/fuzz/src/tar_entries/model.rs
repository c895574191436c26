// SPDX-License-Identifier: Apache-2.0
//! What a layer's tree must be, in the simplest terms: a map from paths to inodes, and no kernel.
//!
//! Rules (image-spec "layer", and husk's stricter ones): a name never leads upwards; later entries replace earlier ones, directories merge;
//! nothing is reached through a link; a hard link is to something of the same layer that is no directory; a whiteout hides what lower
//! layers have and not what this layer has; a directory in place of something that hid the lower one is opaque.

use std::collections::BTreeMap;
use std::path::Path;

use super::entry::{Change, Entry, Kind};

/// A normalised path below the root, as components; empty for the root itself.
type Name = Vec<Vec<u8>>;

/// The number of an inode, which hard links share.
pub(super) type Number = usize;

/// The model of a tree.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// What is where; the root is not in it.
    pub(super) names: BTreeMap<Name, Number>,
    /// All inodes that ever were.
    pub(super) inodes: Vec<Inode>,
    /// The root directory.
    pub(super) root: Inode,
    /// Everything below the layer is hidden.
    pub(super) hides_lower: bool,
}

/// One inode.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) what: What,
    /// Mode, uid, gid and time, where an entry said so; nothing for a directory that was only implied.
    pub(super) stamp: Option<Stamp>,
    /// Hides the lower directory of its name.
    pub(super) opaque: bool,
    /// The value of `user.fuzz`.
    pub(super) attribute: Option<u8>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum What {
    #[default]
    Directory,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Fifo,
    Char(u32, u32),
    Block(u32, u32),
    Whiteout,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stamp {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, i64),
}

type Refused = &'static str;

/// The tree that the entries make, or why they must be refused.
pub(super) fn apply(entries: &[Entry], canary: &Path) -> Result<Model, Refused> {
    let mut model = Model::default();
    for entry in entries {
        model.entry(entry, canary)?;
    }
    Ok(model)
}

fn normalised(raw: &[u8]) -> Result<Name, Refused> {
    let mut name = Vec::new();
    for part in raw.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("a name leads upwards"),
            _ if part.len() > 255 => return Err("a part of a name is too long"),
            _ => name.push(part.to_vec()),
        }
    }
    Ok(name)
}

impl Model {
    fn entry(&mut self, entry: &Entry, canary: &Path) -> Result<(), Refused> {
        match entry.change {
            Change::PaxBroken => return Err("its pax header is malformed"),
            Change::PaxOwner => return Err("its owner is none"),
            Change::Content if entry.kind != Kind::File && entry.length > 0 => {
                return Err("it has content and must not");
            }
            _ => {}
        }
        if entry.name_bytes(canary).is_empty() {
            return Err("it has no name");
        }
        if matches!(entry.kind, Kind::Symlink | Kind::HardLink) && entry.link_bytes(canary).is_empty() {
            return Err("its link leads nowhere");
        }
        let name = normalised(&entry.name_bytes(canary))?;
        let Some((last, parents)) = name.split_last() else {
            if entry.kind != Kind::Directory {
                return Err("the root is a directory");
            }
            stamp_directory(&mut self.root, entry);
            return Ok(());
        };
        if parents.iter().any(|part| part.starts_with(b".wh.")) {
            return Err("a directory is named like a whiteout");
        }
        if let Some(hidden) = last.strip_prefix(b".wh.") {
            return self.whiteout(entry, parents, hidden);
        }
        self.make_parents(parents)?;
        match entry.kind {
            Kind::Directory => self.directory(name, entry),
            Kind::HardLink => self.hard_link(name, &entry.link_bytes(canary))?,
            _ => {
                let inode = Inode { what: what(entry, canary)?, stamp: Some(stamp(entry)), ..Inode::default() };
                let attribute = (entry.kind == Kind::File).then(|| attribute(entry)).flatten();
                self.put(name, Inode { attribute, ..inode });
            }
        }
        Ok(())
    }

    fn whiteout(&mut self, entry: &Entry, parents: &[Vec<u8>], hidden: &[u8]) -> Result<(), Refused> {
        if entry.kind != Kind::File {
            return Err("a whiteout is a file");
        }
        if hidden == b".wh..opq" {
            if parents.is_empty() {
                self.hides_lower = true;
                return Ok(());
            }
            self.make_parents(parents)?;
            let number = self.names[parents];
            self.inodes[number].opaque = true;
            return Ok(());
        }
        self.make_parents(parents)?;
        let name = [parents, &[hidden.to_vec()]].concat();
        match self.names.get(&name).copied() {
            None => self.put(name, Inode { what: What::Whiteout, ..Inode::default() }),
            Some(number) if self.inodes[number].what == What::Directory => self.inodes[number].opaque = true,
            Some(_) => {}
        }
        Ok(())
    }

    fn make_parents(&mut self, parents: &[Vec<u8>]) -> Result<(), Refused> {
        for end in 1..=parents.len() {
            let name = parents[..end].to_vec();
            match self.names.get(&name).map(|number| &self.inodes[*number].what) {
                Some(What::Directory) => {}
                None => self.put(name, Inode::default()),
                Some(What::Whiteout) => self.put(name, Inode { opaque: true, ..Inode::default() }),
                Some(_) => return Err("a name passes something that is no directory"),
            }
        }
        Ok(())
    }

    fn directory(&mut self, name: Name, entry: &Entry) {
        let existing = self.names.get(&name).copied();
        if !existing.is_some_and(|number| self.inodes[number].what == What::Directory) {
            self.put(name.clone(), Inode { opaque: existing.is_some(), ..Inode::default() });
        }
        let number = self.names[&name];
        stamp_directory(&mut self.inodes[number], entry);
    }

    fn hard_link(&mut self, name: Name, link: &[u8]) -> Result<(), Refused> {
        const NOWHERE: Refused = "a hard link is to something that is no file of the layer";
        let target = normalised(link).map_err(|_| NOWHERE)?;
        let (_, parents) = target.split_last().ok_or(NOWHERE)?;
        let number = *self.names.get(&target).ok_or(NOWHERE)?;
        let through_directories = (1..=parents.len()).all(|end| {
            self.names.get(&target[..end]).is_some_and(|number| self.inodes[*number].what == What::Directory)
        });
        if !through_directories || matches!(self.inodes[number].what, What::Directory | What::Whiteout) {
            return Err(NOWHERE);
        }
        if self.names.get(&name) == Some(&number) {
            return Ok(());
        }
        self.clear(&name);
        if !self.names.contains_key(&target) {
            return Err(NOWHERE);
        }
        self.names.insert(name, number);
        Ok(())
    }

    fn put(&mut self, name: Name, inode: Inode) {
        self.clear(&name);
        self.names.insert(name, self.inodes.len());
        self.inodes.push(inode);
    }

    fn clear(&mut self, name: &[Vec<u8>]) {
        self.names.retain(|other, _| !other.starts_with(name));
    }
}

fn stamp(entry: &Entry) -> Stamp {
    let mtime = if entry.change == Change::PaxTime { (-6, 750_000_000) } else { (i64::from(entry.stamp), 0) };
    Stamp { mode: u32::from(entry.mode), uid: u32::from(entry.stamp), gid: u32::from(entry.stamp) + 1, mtime }
}

fn attribute(entry: &Entry) -> Option<u8> {
    (entry.change == Change::UserAttribute).then_some(entry.stamp)
}

fn stamp_directory(inode: &mut Inode, entry: &Entry) {
    inode.stamp = Some(stamp(entry));
    inode.attribute = attribute(entry).or(inode.attribute);
}

fn what(entry: &Entry, canary: &Path) -> Result<What, Refused> {
    let (major, minor) = (u32::from(entry.mode) & 7, u32::from(entry.mode) >> 3 & 7);
    Ok(match entry.kind {
        Kind::File => What::File(entry.content()),
        Kind::Symlink => What::Symlink(entry.link_bytes(canary)),
        Kind::Fifo => What::Fifo,
        Kind::Char if (major, minor) == (0, 0) => return Err("a device 0:0 is a whiteout of overlayfs"),
        Kind::Char => What::Char(major, minor),
        Kind::Block => What::Block(major, minor),
        Kind::Directory | Kind::HardLink => What::Directory,
    })
}
