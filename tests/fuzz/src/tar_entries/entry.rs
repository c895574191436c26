// SPDX-License-Identifier: Apache-2.0
//! Entries as twelve bytes each, and as tar headers.
//!
//! ```text
//!  0 kind   1..4 name   4..7 link   7..9 mode   9 change   10 length of the content   11 owner and time
//! ```

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};

use crate::tar_writer::{Header, Writer};

/// What an entry is. Links and directories are there twice: their interplay is where appliers go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A hard link.
    HardLink,
    /// A fifo.
    Fifo,
    /// A character device; its number is the low bits of the mode.
    Char,
    /// A block device.
    Block,
}

const KINDS: [Kind; 12] = [
    Kind::File,
    Kind::Directory,
    Kind::Symlink,
    Kind::HardLink,
    Kind::File,
    Kind::Directory,
    Kind::Symlink,
    Kind::HardLink,
    Kind::Directory,
    Kind::Fifo,
    Kind::Char,
    Kind::Block,
];

/// A part of a name or link target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// Nothing more.
    End,
    /// Exactly this.
    Text(&'static [u8]),
    /// 255 bytes, the longest that a file system takes.
    Longest,
    /// 256 bytes.
    TooLong,
    /// The absolute path of the canary; in a name it is a path below the root like any other.
    Canary,
}

const COMPONENTS: [Component; 16] = [
    Component::End,
    Component::Text(b"a"),
    Component::Text(b"b"),
    Component::Text(b"secret"),
    Component::Text(b"a"),
    Component::Text(b".."),
    Component::Text(b"."),
    Component::Text(b""),
    Component::Text(b"canary"),
    Component::Text(b".wh.a"),
    Component::Text(b".wh.b"),
    Component::Text(b".wh..wh..opq"),
    Component::Text(b"\xff\xfe"),
    Component::Longest,
    Component::TooLong,
    Component::Canary,
];

/// How the entry is written, beside the plain way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A header and nothing else.
    Plain,
    /// The name is in a pax record, the header has a decoy.
    PaxPath,
    /// The link target is in a pax record, the header has a decoy.
    PaxLink,
    /// The time is in a pax record, before 1970 and with a fraction.
    PaxTime,
    /// The owner is in a pax record and is (uid_t) -1.
    PaxOwner,
    /// The size is in a pax record, the header has none.
    PaxSize,
    /// The pax header is malformed.
    PaxBroken,
    /// An attribute that a user may set.
    UserAttribute,
    /// Attributes that control overlayfs.
    OverlayAttributes,
    /// The header says that an entry of any kind has content.
    Content,
}

const CHANGES: [Change; 16] = [
    Change::Plain,
    Change::PaxPath,
    Change::PaxLink,
    Change::PaxTime,
    Change::PaxOwner,
    Change::PaxSize,
    Change::PaxBroken,
    Change::UserAttribute,
    Change::OverlayAttributes,
    Change::Content,
    Change::Plain,
    Change::Plain,
    Change::Plain,
    Change::Plain,
    Change::Plain,
    Change::Plain,
];

/// One entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its name, joined by slashes.
    pub name: Vec<Component>,
    /// Its link target, joined by slashes.
    pub link: Vec<Component>,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u16,
    /// How it is written.
    pub change: Change,
    /// Bytes of content of a file.
    pub length: u8,
    /// Its uid and, plus one, its gid; its time in seconds too.
    pub stamp: u8,
}

impl<'a> Arbitrary<'a> for Entry {
    fn arbitrary(source: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let bytes = source.bytes(12)?;
        let at = |index: usize| usize::from(bytes[index]);
        Ok(Self {
            kind: KINDS[at(0) % KINDS.len()],
            name: components(&bytes[1..4]),
            link: components(&bytes[4..7]),
            mode: u16::from_le_bytes([bytes[7], bytes[8]]) & 0o7777,
            change: CHANGES[at(9) % CHANGES.len()],
            length: bytes[10],
            stamp: bytes[11],
        })
    }
}

fn components(bytes: &[u8]) -> Vec<Component> {
    let all = bytes.iter().map(|byte| COMPONENTS[usize::from(*byte) % COMPONENTS.len()]);
    all.take_while(|component| *component != Component::End).collect()
}

impl Entry {
    /// An entry with plain values for everything but kind and name.
    pub fn new(kind: Kind, name: &[Component]) -> Self {
        Self { kind, name: name.to_vec(), link: Vec::new(), mode: 0o755, change: Change::Plain, length: 5, stamp: 7 }
    }

    /// The bytes that it is read from.
    ///
    /// # Panics
    /// When it has more than three components, or one that is in no table.
    pub fn to_bytes(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[0] = index_of(&KINDS, &self.kind);
        for (list, at) in [(&self.name, 1), (&self.link, 4)] {
            assert!(list.len() <= 3, "{list:?} has more than three components");
            for (offset, component) in list.iter().enumerate() {
                bytes[at + offset] = index_of(&COMPONENTS, component);
            }
        }
        [bytes[7], bytes[8]] = self.mode.to_le_bytes();
        bytes[9] = index_of(&CHANGES, &self.change);
        bytes[10] = self.length;
        bytes[11] = self.stamp;
        bytes
    }

    /// The content that it has if it is a file.
    pub fn content(&self) -> Vec<u8> {
        vec![self.stamp; usize::from(self.length)]
    }

    /// The name as bytes.
    pub fn name_bytes(&self, canary: &Path) -> Vec<u8> {
        joined(&self.name, canary)
    }

    /// The link target as bytes.
    pub fn link_bytes(&self, canary: &Path) -> Vec<u8> {
        joined(&self.link, canary)
    }
}

fn index_of<T: PartialEq + std::fmt::Debug>(table: &[T], value: &T) -> u8 {
    let index = table.iter().position(|known| known == value).unwrap_or_else(|| panic!("{value:?} is in no table"));
    u8::try_from(index).expect("tables are short")
}

fn joined(components: &[Component], canary: &Path) -> Vec<u8> {
    let parts: Vec<Vec<u8>> = components
        .iter()
        .map(|component| match component {
            Component::End => Vec::new(),
            Component::Text(text) => text.to_vec(),
            Component::Longest => vec![b'l'; 255],
            Component::TooLong => vec![b'm'; 256],
            Component::Canary => canary.as_os_str().as_bytes().to_vec(),
        })
        .collect();
    parts.join(&b'/')
}

/// The archive that the entries stand for.
pub(super) fn archive(entries: &[Entry], canary: &Path) -> Vec<u8> {
    let mut writer = Writer::default();
    for entry in entries {
        write(entry, canary, &mut writer);
    }
    writer.finish()
}

fn write(entry: &Entry, canary: &Path, writer: &mut Writer) {
    let kind = match entry.kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::Char => b'3',
        Kind::Block => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    };
    let mut header = Header {
        mode: u32::from(entry.mode),
        uid: u32::from(entry.stamp),
        gid: u32::from(entry.stamp) + 1,
        mtime: u32::from(entry.stamp),
        device: (u32::from(entry.mode) & 7, u32::from(entry.mode) >> 3 & 7),
        ..Header::new(kind, entry.name_bytes(canary))
    };
    if matches!(entry.kind, Kind::Symlink | Kind::HardLink) {
        header.link = entry.link_bytes(canary);
    }
    let mut content = if entry.kind == Kind::File { entry.content() } else { Vec::new() };
    let text = |key: &str, value: &[u8]| (key.as_bytes().to_vec(), value.to_vec());
    let records = match entry.change {
        Change::Plain => Vec::new(),
        Change::PaxPath => vec![text("path", &std::mem::replace(&mut header.name, b"decoy".to_vec()))],
        Change::PaxLink => vec![text("linkpath", &std::mem::replace(&mut header.link, b"decoy".to_vec()))],
        Change::PaxTime => vec![text("mtime", b"-5.25")],
        Change::PaxOwner => vec![text("uid", b"4294967295")],
        Change::PaxSize => {
            header.size = Some(0);
            vec![text("size", content.len().to_string().as_bytes())]
        }
        Change::PaxBroken => {
            writer.entry(&Header::new(b'x', "pax"), b"12 path=ab\n");
            Vec::new()
        }
        Change::UserAttribute => vec![text("SCHILY.xattr.user.fuzz", &[entry.stamp])],
        Change::OverlayAttributes => vec![
            text("SCHILY.xattr.trusted.overlay.redirect", b"/canary"),
            text("SCHILY.xattr.trusted.overlay.opaque", b"x"),
            text("SCHILY.xattr.user.overlay.opaque", b"y"),
        ],
        Change::Content => {
            content = entry.content();
            Vec::new()
        }
    };
    if !records.is_empty() {
        writer.pax(&records);
    }
    writer.entry(&header, &content);
}
