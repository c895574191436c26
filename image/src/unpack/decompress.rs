// SPDX-License-Identifier: Apache-2.0
//! gzip, zstd or plain, told by the first bytes: media types lie (Docker's `tar.gzip` layers hold zstd at times), and the digests decide.

use std::io::{self, Cursor, Read};

use flate2::read::MultiGzDecoder;

use crate::limits;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A zstd stream may begin with a skippable frame, 0x184D2A50 to …5F (RFC 8878, 3.1.2).
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// Opens a decoder for `source`. gzip members and zstd frames may follow each other; the bytes are all of the stream.
///
/// # Errors
/// Those of the source, and memory for a zstd window.
pub(crate) fn decoder<'a, R: Read + 'a>(mut source: R) -> io::Result<Box<dyn Read + 'a>> {
    let mut head = Vec::with_capacity(4);
    source.by_ref().take(4).read_to_end(&mut head)?;
    let (gzip, zstd) = (is_gzip(&head), is_zstd(&head));
    let whole = Cursor::new(head).chain(source);
    if gzip {
        return Ok(Box::new(MultiGzDecoder::new(whole)));
    }
    if zstd {
        let mut decoder = zstd::stream::read::Decoder::new(whole)?;
        decoder.window_log_max(limits::ZSTD_WINDOW_LOG)?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(whole))
}

/// Whether a stream that begins with these four bytes is gzip or zstd.
pub(crate) fn is_compressed(head: &[u8]) -> bool {
    is_gzip(head) || is_zstd(head)
}

fn is_gzip(head: &[u8]) -> bool {
    head.starts_with(&GZIP)
}

fn is_zstd(head: &[u8]) -> bool {
    head == ZSTD || (head.len() == 4 && head[0] & 0xf0 == 0x50 && head[1..] == ZSTD_SKIPPABLE)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn inflate(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decoder(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn all_forms_give_the_same() {
        let text = b"some tar".repeat(1000);
        let zstd = zstd::encode_all(&text[..], 3).unwrap();
        let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..], &zstd].concat();
        let members = [gzip(&text[..500]), gzip(&text[500..])].concat();
        for form in [
            text.clone(),
            gzip(&text),
            members,
            zstd.clone(),
            [zstd, skippable.clone()].concat()[..].to_vec(),
            skippable,
        ] {
            let out = inflate(&form).unwrap();
            assert!(out == text || out == [text.clone(), text.clone()].concat());
        }
        assert_eq!(inflate(b"").unwrap(), b"");
        assert_eq!(inflate(b"ab").unwrap(), b"ab");
    }

    #[test]
    fn damage_is_an_error() {
        let good = gzip(&b"x".repeat(10_000));
        assert!(inflate(&good[..good.len() - 3]).is_err());
        assert!(inflate(&[&good[..], b"junk"].concat()).is_err());
        let mut flipped = zstd::encode_all(&b"y".repeat(10_000)[..], 3).unwrap();
        flipped.truncate(flipped.len() - 2);
        assert!(inflate(&flipped).is_err());
        // A frame that asks for a window of 2^31 bytes is refused before memory is taken.
        let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 1, 0, 0];
        assert!(inflate(&window).is_err());
    }
}
