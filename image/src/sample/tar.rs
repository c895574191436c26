// SPDX-License-Identifier: Apache-2.0
//! Tar archives from raw bytes, so that a test can write what no tool would.

use std::io::Write;

/// An archive under construction.
#[derive(Clone, Default)]
pub(crate) struct Tar(Vec<u8>);

/// One header; everything but the name has a plain default.
#[derive(Clone)]
pub(crate) struct Header<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: u8,
    pub(crate) link: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: u64,
    pub(crate) device: (u32, u32),
    pub(crate) content: &'a [u8],
    /// What the size field says; the content's length if nothing.
    pub(crate) size: Option<u64>,
    pub(crate) pax: &'a [(&'a str, &'a [u8])],
}

impl<'a> Header<'a> {
    pub(crate) fn new(name: &'a str, kind: u8) -> Header<'a> {
        Header {
            name: name.as_bytes(),
            kind,
            link: b"",
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 1_000_000_000,
            device: (0, 0),
            content: b"",
            size: None,
            pax: &[],
        }
    }
}

impl Tar {
    pub(crate) fn new() -> Tar {
        Tar::default()
    }

    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Tar {
        self.header(&Header { content: content.as_ref(), ..Header::new(name, b'0') })
    }

    pub(crate) fn dir(self, name: &str, mode: u32) -> Tar {
        self.header(&Header { mode, ..Header::new(name, b'5') })
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Tar {
        self.header(&Header { link: target.as_bytes(), ..Header::new(name, b'2') })
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Tar {
        self.header(&Header { link: target.as_bytes(), ..Header::new(name, b'1') })
    }

    /// Any entry, with a PAX header before it if it has records.
    pub(crate) fn header(mut self, header: &Header<'_>) -> Tar {
        if !header.pax.is_empty() {
            let records = pax(header.pax);
            self = self.header(&Header { content: &records, ..Header::new("pax", b'x') });
        }
        if header.name.len() > 100 {
            let long = [header.name, b"\0"].concat();
            self = self.header(&Header { content: &long, ..Header::new("././@LongLink", b'L') });
        }
        if header.link.len() > 100 {
            let long = [header.link, b"\0"].concat();
            self = self.header(&Header { content: &long, ..Header::new("././@LongLink", b'K') });
        }
        self.0.extend_from_slice(&block(header));
        self.content(header.content)
    }

    /// Content of the entry before, padded.
    pub(crate) fn content(mut self, bytes: &[u8]) -> Tar {
        self.0.extend_from_slice(bytes);
        let padding = bytes.len().next_multiple_of(512) - bytes.len();
        self.0.resize(self.0.len() + padding, 0);
        self
    }

    /// Bytes as they are.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Tar {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The archive with its two zero blocks.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}

/// PAX records as POSIX wants them.
pub(crate) fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in records {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length.to_string().len() + body != length {
            length = length.to_string().len() + body;
        }
        out.extend_from_slice(format!("{length} {key}=").as_bytes());
        out.extend_from_slice(value);
        out.push(b'\n');
    }
    out
}

fn block(header: &Header<'_>) -> [u8; 512] {
    let mut block = [0; 512];
    put(&mut block, 0, &header.name[..header.name.len().min(100)]);
    put(&mut block, 100, format!("{:07o}", header.mode).as_bytes());
    put(&mut block, 108, format!("{:07o}", header.uid).as_bytes());
    put(&mut block, 116, format!("{:07o}", header.gid).as_bytes());
    let size = header.size.unwrap_or(header.content.len() as u64);
    put(&mut block, 124, format!("{size:011o}").as_bytes());
    put(&mut block, 136, format!("{:011o}", header.mtime).as_bytes());
    block[156] = header.kind;
    put(&mut block, 157, &header.link[..header.link.len().min(100)]);
    put(&mut block, 257, b"ustar\x0000");
    put(&mut block, 329, format!("{:07o}", header.device.0).as_bytes());
    put(&mut block, 337, format!("{:07o}", header.device.1).as_bytes());
    seal(&mut block);
    block
}

fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Writes the checksum of a header block.
pub(crate) fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    put(block, 148, format!("{sum:06o}\0 ").as_bytes());
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// Bytes that don't compress, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}
