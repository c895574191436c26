// SPDX-License-Identifier: Apache-2.0
//! Tar archives that no tool would write (POSIX ustar and pax, GNU long names), and archives of a fuzzer whose checksums are made right
//! again: without that, hardly a mutation would get past the first header.

const BLOCK: usize = 512;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const SIZE: std::ops::Range<usize> = 124..136;

/// The fields of one header.
#[derive(Clone, Debug)]
pub struct Header {
    /// The type flag: `b'0'` for a file, `b'5'` for a directory.
    pub kind: u8,
    /// The name; one that is longer than 100 bytes gets a GNU long name before it.
    pub name: Vec<u8>,
    /// The link target, as long as it likes.
    pub link: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: u32,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// What the size field says when it is not the length of the content.
    pub size: Option<u64>,
}

impl Header {
    /// A header with plain values for everything but type and name.
    pub fn new(kind: u8, name: impl AsRef<[u8]>) -> Self {
        Self {
            kind,
            name: name.as_ref().to_vec(),
            link: Vec::new(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 1,
            device: (0, 0),
            size: None,
        }
    }

    /// The same with a link target.
    #[must_use]
    pub fn to(self, link: impl AsRef<[u8]>) -> Self {
        Self { link: link.as_ref().to_vec(), ..self }
    }
}

/// An archive under construction.
#[derive(Clone, Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Adds an entry, with long names before it where they are needed.
    pub fn entry(&mut self, header: &Header, content: &[u8]) -> &mut Self {
        for (kind, text) in [(b'L', &header.name), (b'K', &header.link)] {
            if text.len() > 100 {
                let terminated = [text, &b"\0"[..]].concat();
                self.entry(&Header::new(kind, "././@LongLink"), &terminated);
            }
        }
        let mut block = [0; BLOCK];
        put(&mut block, 0, &header.name[..header.name.len().min(100)]);
        for (at, value) in [(100, header.mode), (108, header.uid & 0o7_777_777), (116, header.gid & 0o7_777_777)] {
            put(&mut block, at, format!("{value:07o}").as_bytes());
        }
        let size = header.size.unwrap_or(content.len() as u64);
        put(&mut block, 124, format!("{size:011o}").as_bytes());
        put(&mut block, 136, format!("{:011o}", header.mtime).as_bytes());
        block[156] = header.kind;
        put(&mut block, 157, &header.link[..header.link.len().min(100)]);
        put(&mut block, 257, b"ustar\x0000");
        put(&mut block, 329, format!("{:07o}", header.device.0).as_bytes());
        put(&mut block, 337, format!("{:07o}", header.device.1).as_bytes());
        seal(&mut block);
        self.0.extend_from_slice(&block);
        self.raw(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    /// Adds a pax header with these records for the next entry.
    pub fn pax(&mut self, records: &[(Vec<u8>, Vec<u8>)]) -> &mut Self {
        let content: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.entry(&Header::new(b'x', "pax"), &content)
    }

    /// Adds bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The archive with its two zero blocks.
    pub fn finish(&self) -> Vec<u8> {
        [&self.0[..], &[0; 2 * BLOCK]].concat()
    }

    /// The archive without an end.
    pub fn unfinished(&self) -> Vec<u8> {
        self.0.clone()
    }
}

/// `"%d %s=%s\n"`, the number being the length of it all, its own digits included.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key, b"=", value, b"\n"].concat();
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    [length.to_string().as_bytes(), &rest].concat()
}

/// Makes the checksum of every header block right, walking from header to header as a reader does.
pub fn reseal(archive: &mut [u8]) {
    let mut at = 0;
    while let Some(block) = archive.get_mut(at..at + BLOCK) {
        at += BLOCK;
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        let size = octal(&block[SIZE]);
        seal(block);
        at = usize::try_from(size)
            .ok()
            .and_then(|size| size.checked_next_multiple_of(BLOCK)?.checked_add(at))
            .unwrap_or(usize::MAX - BLOCK);
    }
}

fn octal(field: &[u8]) -> u64 {
    let digits = field.iter().skip_while(|byte| **byte == b' ').take_while(|byte| (b'0'..=b'7').contains(byte));
    digits.fold(0, |value, digit| value << 3 | u64::from(digit - b'0'))
}

fn seal(block: &mut [u8]) {
    block[CHECKSUM].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(block, CHECKSUM.start, format!("{sum:06o}\0 ").as_bytes());
}

fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resealing_changes_nothing_that_is_right_and_mends_what_is_not() {
        let mut writer = Writer::default();
        writer.pax(&[(b"mtime".to_vec(), b"7.5".to_vec())]);
        writer.entry(&Header::new(b'0', "a"), &[b'x'; 700]).entry(&Header::new(b'0', "y".repeat(150)), b"z");
        let good = writer.finish();
        let mut archive = good.clone();
        reseal(&mut archive);
        assert_eq!(archive, good);
        for at in (0..archive.len()).step_by(BLOCK) {
            // Headers carry "ustar"; content blocks must stay as they are.
            if &archive[at + 257..at + 262] == b"ustar" {
                archive[at + 148] = b'?';
            }
        }
        reseal(&mut archive);
        assert_eq!(archive, good);
    }

    #[test]
    fn a_record_counts_its_own_digits() {
        assert_eq!(record(b"path", b"ab"), b"11 path=ab\n");
        assert_eq!(record(b"a", b"bcdef"), b"11 a=bcdef\n");
        assert_eq!(record(b"a", b"bcd"), b"8 a=bcd\n");
        assert_eq!(record(b"k", &[b'v'; 93]).len(), 99);
        assert_eq!(record(b"k", &[b'v'; 94]).len(), 101);
    }
}
