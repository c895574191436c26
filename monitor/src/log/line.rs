// SPDX-License-Identifier: Apache-2.0
//! Cuts a stream of bytes into the pieces that become log lines.

use super::batch::Tag;
use crate::limits::CHUNK_BYTES;

/// Cuts one stream into pieces: a line is a piece of its own, a line longer than 16 KiB becomes several.
/// What has no newline yet is carried, at most 16 KiB of it.
#[derive(Debug, Default)]
pub struct LineSplitter {
    carry: Vec<u8>,
    /// A piece of the line that is being read was given out already.
    inside_line: bool,
}

/// One log line to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Whether its line ends here.
    pub tag: Tag,
    /// The first part of its content, which was carried.
    pub carried: &'a [u8],
    /// The rest of its content.
    pub fresh: &'a [u8],
    /// It is the first piece of its line.
    pub starts_line: bool,
}

impl Piece<'_> {
    /// The length of the content in bytes.
    pub fn bytes(&self) -> usize {
        self.carried.len() + self.fresh.len()
    }
}

impl LineSplitter {
    /// A splitter in the middle of a stream, as [`LineSplitter::carry`] and [`LineSplitter::inside_line`] told it. A
    /// carry longer than a piece, which no splitter has, is cut.
    pub fn resume(mut carry: Vec<u8>, inside_line: bool) -> Self {
        carry.truncate(CHUNK_BYTES);
        Self { carry, inside_line }
    }

    /// What waits for its newline.
    pub fn carry(&self) -> &[u8] {
        &self.carry
    }

    /// Whether a piece of the line that is being read was given out already.
    pub fn inside_line(&self) -> bool {
        self.inside_line
    }

    /// Takes the next bytes of the stream and gives out the pieces that are complete.
    pub fn feed(&mut self, mut data: &[u8], mut give: impl FnMut(Piece<'_>)) {
        while !data.is_empty() {
            let newline = find_newline(data);
            let line = &data[..newline.unwrap_or(data.len())];
            let (piece, rest) = line.split_at(line.len().min(CHUNK_BYTES - self.carry.len()));
            let full = self.carry.len() + piece.len() == CHUNK_BYTES;
            if rest.is_empty() && newline.is_some() {
                self.give(Tag::Full, piece, &mut give);
                data = &data[piece.len() + 1..];
            } else if full && !rest.is_empty() {
                self.give(Tag::Partial, piece, &mut give);
                data = &data[piece.len()..];
            } else {
                // A full piece waits too: a newline may be the next byte, and then it is the whole line.
                self.carry.reserve_exact(piece.len());
                self.carry.extend_from_slice(piece);
                data = &data[piece.len()..];
            }
        }
    }

    /// The stream has ended: gives out what was carried, as an unterminated piece.
    pub fn finish(&mut self, mut give: impl FnMut(Piece<'_>)) {
        if !self.carry.is_empty() {
            self.give(Tag::Partial, &[], &mut give);
        }
        self.carry = Vec::new();
    }

    fn give(&mut self, tag: Tag, fresh: &[u8], give: &mut impl FnMut(Piece<'_>)) {
        give(Piece { tag, carried: &self.carry, fresh, starts_line: !self.inside_line });
        self.carry.clear();
        self.inside_line = tag == Tag::Partial;
    }
}

/// Where the next newline is. The standard library's buffered reader has the only fast search that it shows.
fn find_newline(data: &[u8]) -> Option<usize> {
    let read = std::io::BufRead::skip_until(&mut &*data, b'\n').ok()?;
    let at = read.checked_sub(1)?;
    (data[at] == b'\n').then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(chunks: &[&[u8]]) -> Vec<(Tag, Vec<u8>)> {
        let mut splitter = LineSplitter::default();
        let mut out = Vec::new();
        let mut take = |piece: Piece<'_>| {
            out.push((piece.tag, [piece.carried, piece.fresh].concat()));
        };
        for chunk in chunks {
            splitter.feed(chunk, &mut take);
            assert!(splitter.carry().len() <= CHUNK_BYTES);
        }
        splitter.finish(&mut take);
        out
    }

    fn lengths(total: &[u8]) -> Vec<(Tag, usize)> {
        let whole: Vec<_> = pieces(&[total]).into_iter().map(|(tag, content)| (tag, content.len())).collect();
        let bytewise: Vec<_> = pieces(&total.chunks(1).collect::<Vec<_>>())
            .into_iter()
            .map(|(tag, content)| (tag, content.len()))
            .collect();
        assert_eq!(whole, bytewise, "the cuts depend on how the bytes arrive");
        whole
    }

    #[test]
    fn short_lines_are_whole_and_a_rest_is_partial() {
        assert_eq!(
            pieces(&[b"a\n\nbc", b"d\ne"]),
            [
                (Tag::Full, b"a".to_vec()),
                (Tag::Full, b"".to_vec()),
                (Tag::Full, b"bcd".to_vec()),
                (Tag::Partial, b"e".to_vec()),
            ]
        );
        assert_eq!(pieces(&[b"a\n"]), [(Tag::Full, b"a".to_vec())]);
        assert_eq!(pieces(&[]), []);
    }

    #[test]
    fn long_lines_are_cut_at_the_chunk() {
        let line = |bytes: usize, newline: &str| ["x".repeat(bytes).as_str(), newline].concat();
        assert_eq!(lengths(line(CHUNK_BYTES, "\n").as_bytes()), [(Tag::Full, CHUNK_BYTES)]);
        assert_eq!(lengths(line(CHUNK_BYTES + 1, "\n").as_bytes()), [(Tag::Partial, CHUNK_BYTES), (Tag::Full, 1)]);
        assert_eq!(
            lengths(line(2 * CHUNK_BYTES, "\n").as_bytes()),
            [(Tag::Partial, CHUNK_BYTES), (Tag::Full, CHUNK_BYTES)]
        );
        assert_eq!(
            lengths(line(2 * CHUNK_BYTES + 5, "").as_bytes()),
            [(Tag::Partial, CHUNK_BYTES), (Tag::Partial, CHUNK_BYTES), (Tag::Partial, 5)]
        );
    }

    #[test]
    fn only_the_first_piece_starts_the_line() {
        let mut splitter = LineSplitter::default();
        let mut starts = Vec::new();
        let text = ["x".repeat(2 * CHUNK_BYTES + 1).as_str(), "\ny\n"].concat();
        splitter.feed(text.as_bytes(), |piece| starts.push(piece.starts_line));
        assert_eq!(starts, [true, false, false, true]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn joining_the_pieces_gives_the_input(
            chunks in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
                    (0_usize..40_000).prop_map(|bytes| vec![b'x'; bytes]),
                ],
                0..12,
            )
        ) {
            let input = chunks.concat();
            let mut joined = Vec::new();
            for (tag, content) in pieces(&chunks.iter().map(Vec::as_slice).collect::<Vec<_>>()) {
                prop_assert!(content.len() <= CHUNK_BYTES && !content.contains(&b'\n'));
                joined.extend_from_slice(&content);
                if tag == Tag::Full {
                    joined.push(b'\n');
                }
            }
            prop_assert_eq!(joined, input);
        }

        #[test]
        fn a_resumed_splitter_goes_on_where_the_old_one_stopped(
            input in prop::collection::vec(prop_oneof![1 => Just(b'\n'), 20 => any::<u8>()], 0..20_000),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(input.len() + 1);
            let mut pieces_of = Vec::new();
            let mut take = |piece: Piece<'_>| {
                pieces_of.push((piece.tag, piece.starts_line, [piece.carried, piece.fresh].concat()));
            };
            let mut first = LineSplitter::default();
            first.feed(&input[..cut], &mut take);
            let mut second = LineSplitter::resume(first.carry().to_vec(), first.inside_line());
            second.feed(&input[cut..], &mut take);
            second.finish(&mut take);
            let resumed = std::mem::take(&mut pieces_of);
            let mut one = LineSplitter::default();
            let mut take = |piece: Piece<'_>| {
                pieces_of.push((piece.tag, piece.starts_line, [piece.carried, piece.fresh].concat()));
            };
            one.feed(&input, &mut take);
            one.finish(&mut take);
            prop_assert_eq!(resumed, pieces_of);
        }
    }
}
