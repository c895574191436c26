// SPDX-License-Identifier: Apache-2.0
//! A tar writer that refuses nothing.
//!
//! Layers of images come from strangers, so tests need archives that no honest tool writes: absolute
//! names, `..`, hard links to the outside, devices, doubled entries. This writer puts into the header
//! what it is told (POSIX ustar, with pax records where a name is too long or a test asks for them).

/// Size of a tar block in bytes; POSIX pax, "ustar Interchange Format".
const BLOCK_BYTES: usize = 512;
/// Longest name and link target that fit the header.
const NAME_BYTES: usize = 100;

/// What an entry is: the type flag and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file and its content.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// A symbolic link and its target, as written.
    Symlink(Vec<u8>),
    /// A hard link and the name it refers to, as written.
    Hardlink(Vec<u8>),
    /// A character device, major and minor.
    CharacterDevice(u32, u32),
    /// A block device, major and minor.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
    /// Any other type flag, with a body.
    Other(u8, Vec<u8>),
}

/// One member of an archive. Nothing is checked, nothing is normalised.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Name, byte by byte as it shall stand in the archive.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: u64,
    /// Records of an extended header before the entry, such as `SCHILY.xattr.user.x`.
    pub pax: Vec<(String, Vec<u8>)>,
}

impl Entry {
    /// An entry of root with the mode that is usual for its kind.
    #[must_use]
    pub fn new(name: impl Into<Vec<u8>>, kind: Kind) -> Entry {
        let mode = match kind {
            Kind::Directory => 0o755,
            Kind::Symlink(_) => 0o777,
            _ => 0o644,
        };
        Entry { name: name.into(), kind, mode, uid: 0, gid: 0, mtime: 1_600_000_000, pax: Vec::new() }
    }

    /// A file.
    #[must_use]
    pub fn file(name: &str, content: impl Into<Vec<u8>>) -> Entry {
        Entry::new(name, Kind::File(content.into()))
    }

    /// A program: a file that everybody may execute.
    #[must_use]
    pub fn program(name: &str, content: impl Into<Vec<u8>>) -> Entry {
        Entry::file(name, content).mode(0o755)
    }

    /// A directory.
    #[must_use]
    pub fn directory(name: &str) -> Entry {
        Entry::new(name, Kind::Directory)
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(name: &str, target: &str) -> Entry {
        Entry::new(name, Kind::Symlink(target.into()))
    }

    /// The same entry with these permission bits.
    #[must_use]
    pub fn mode(self, mode: u32) -> Entry {
        Entry { mode, ..self }
    }

    /// The same entry with this owner and group.
    #[must_use]
    pub fn owner(self, uid: u64, gid: u64) -> Entry {
        Entry { uid, gid, ..self }
    }

    /// The same entry with one more extended header record.
    #[must_use]
    pub fn pax(mut self, key: &str, value: impl Into<Vec<u8>>) -> Entry {
        self.pax.push((key.to_owned(), value.into()));
        self
    }

    /// Type flag, link name, body and device numbers of the header.
    fn parts(&self) -> (u8, &[u8], &[u8], (u32, u32)) {
        match &self.kind {
            Kind::File(body) => (b'0', b"", body, (0, 0)),
            Kind::Hardlink(target) => (b'1', target, b"", (0, 0)),
            Kind::Symlink(target) => (b'2', target, b"", (0, 0)),
            Kind::CharacterDevice(major, minor) => (b'3', b"", b"", (*major, *minor)),
            Kind::BlockDevice(major, minor) => (b'4', b"", b"", (*major, *minor)),
            Kind::Directory => (b'5', b"", b"", (0, 0)),
            Kind::Fifo => (b'6', b"", b"", (0, 0)),
            Kind::Other(flag, body) => (*flag, b"", body, (0, 0)),
        }
    }
}

/// An archive in the making.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    /// An empty archive.
    #[must_use]
    pub fn new() -> Archive {
        Archive::default()
    }

    /// Writes one entry, with an extended header before it when it needs one.
    #[must_use]
    pub fn entry(mut self, entry: &Entry) -> Archive {
        let (flag, link, body, device) = entry.parts();
        let mut records = entry.pax.clone();
        if entry.name.len() > NAME_BYTES {
            records.push(("path".to_owned(), entry.name.clone()));
        }
        if link.len() > NAME_BYTES {
            records.push(("linkpath".to_owned(), link.to_vec()));
        }
        if !records.is_empty() {
            let extended: Vec<u8> = records.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
            let head = Entry::new("PaxHeaders/0", Kind::Other(b'x', Vec::new()));
            self.push(&header(&head, b'x', b"", extended.len(), (0, 0)), &extended);
        }
        self.push(&header(entry, flag, link, body.len(), device), body);
        self
    }

    /// Writes several entries.
    #[must_use]
    pub fn entries<'a>(self, entries: impl IntoIterator<Item = &'a Entry>) -> Archive {
        entries.into_iter().fold(self, Archive::entry)
    }

    /// Writes bytes as they are: broken headers, garbage.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Archive {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// The archive with its two closing blocks.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK_BYTES, 0);
        self.bytes
    }

    fn push(&mut self, header: &[u8; BLOCK_BYTES], body: &[u8]) {
        self.bytes.extend_from_slice(header);
        self.bytes.extend_from_slice(body);
        let padded = self.bytes.len().next_multiple_of(BLOCK_BYTES);
        self.bytes.resize(padded, 0);
    }
}

/// One header block.
fn header(entry: &Entry, flag: u8, link: &[u8], size: usize, (major, minor): (u32, u32)) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    put(&mut block, 0..NAME_BYTES, &entry.name);
    put(&mut block, 100..107, &octal(entry.mode.into(), 7));
    put(&mut block, 108..115, &octal(entry.uid, 7));
    put(&mut block, 116..123, &octal(entry.gid, 7));
    put(&mut block, 124..135, &octal(size as u64, 11));
    put(&mut block, 136..147, &octal(entry.mtime, 11));
    // The checksum counts its own field as spaces.
    put(&mut block, 148..156, b"        ");
    block[156] = flag;
    put(&mut block, 157..257, link);
    put(&mut block, 257..265, b"ustar\x0000");
    put(&mut block, 329..336, &octal(major.into(), 7));
    put(&mut block, 337..344, &octal(minor.into(), 7));
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    put(&mut block, 148..156, &[&octal(sum, 6)[..], b"\0 "].concat());
    block
}

/// Copies as much as fits.
fn put(block: &mut [u8; BLOCK_BYTES], range: std::ops::Range<usize>, value: &[u8]) {
    let fits = value.len().min(range.len());
    block[range.start..range.start + fits].copy_from_slice(&value[..fits]);
}

/// A number in octal digits, the lowest `digits` of them.
fn octal(value: u64, digits: usize) -> Vec<u8> {
    let text = format!("{value:0digits$o}");
    text.as_bytes()[text.len() - digits..].to_vec()
}

/// One record of an extended header: its own length in decimal, a space, `key=value`, a newline.
fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let tail = key.len() + value.len() + 3;
    let mut length = tail + 1;
    // The length counts its own digits.
    while length != tail + length.to_string().len() {
        length = tail + length.to_string().len();
    }
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
    use std::process::Command;

    use super::*;

    #[test]
    fn the_systems_tar_reads_what_is_written() {
        let long = format!("{}/leaf", "d".repeat(120));
        let archive = Archive::new()
            .entries(&[
                Entry::directory("bin"),
                Entry::program("bin/tool", "tool"),
                Entry::file(&long, "deep").owner(12, 34),
                Entry::symlink("link", &"t".repeat(150)),
                Entry::new("hard", Kind::Hardlink(b"bin/tool".to_vec())),
                Entry::new("pipe", Kind::Fifo).mode(0o600),
                Entry::new("null", Kind::CharacterDevice(1, 3)),
                Entry::file("noted", "x").pax("comment", "a".repeat(93)),
            ])
            .finish();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.tar");
        fs::write(&file, archive).unwrap();
        let status = Command::new("tar").args(["-xpf", "a.tar"]).current_dir(directory.path()).status().unwrap();
        assert!(status.success());
        let at = |name: &str| directory.path().join(name);
        assert_eq!(fs::read(at("bin/tool")).unwrap(), b"tool");
        assert_eq!(fs::metadata(at("hard")).unwrap().nlink(), 2);
        assert_eq!(fs::metadata(at("bin/tool")).unwrap().permissions().mode() & 0o7777, 0o755);
        let deep = fs::metadata(at(&long)).unwrap();
        assert_eq!((deep.uid(), deep.gid()), (12, 34));
        assert_eq!(deep.mtime(), 1_600_000_000);
        assert_eq!(fs::read_link(at("link")).unwrap().as_os_str().len(), 150);
        assert!(fs::metadata(at("pipe")).unwrap().file_type().is_fifo());
        let null = fs::metadata(at("null")).unwrap();
        assert!(null.file_type().is_char_device());
        assert_eq!(null.rdev(), 0x103);
        assert_eq!(fs::read(at("noted")).unwrap(), b"x");
    }

    #[test]
    fn hostile_names_stay_as_they_are() {
        let archive = Archive::new()
            .entry(&Entry::file("../../etc/passwd", "x"))
            .entry(&Entry::new(b"a\xff\0b".to_vec(), Kind::Directory))
            .raw(&[7; 3])
            .finish();
        assert!(archive.starts_with(b"../../etc/passwd\0"));
        assert_eq!(&archive[1024..1028], b"a\xff\0b");
        assert_eq!(&archive[1536..1539], &[7; 3]);
    }

    #[test]
    fn a_record_that_grows_by_its_own_length_is_counted_right() {
        for size in [1, 80, 89, 90, 91, 92, 93, 985, 990, 995] {
            let record = pax_record("k", &vec![b'v'; size]);
            let text = String::from_utf8(record.clone()).unwrap();
            let length: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(length, record.len());
        }
    }
}
