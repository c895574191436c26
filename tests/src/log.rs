// SPDX-License-Identifier: Apache-2.0
//! Container logs in the CRI format, read strictly.
//!
//! One line is `<RFC 3339 time> <stdout|stderr> <P|F> <content>`. `P` says that the content goes on in
//! the next line of the same stream, `F` that the program wrote a newline here. Decoding therefore gives
//! exactly the bytes that the program wrote.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// Which of the two streams a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output; also everything of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl fmt::Display for Stream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        })
    }
}

/// Whether a line of the log ends a line of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// The program's line goes on.
    Partial,
    /// The program wrote a newline.
    Full,
}

/// One line of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Time as written.
    pub time: &'a str,
    /// Stream it came from.
    pub stream: Stream,
    /// How it ends.
    pub tag: Tag,
    /// What the program wrote, without the newline.
    pub content: &'a [u8],
}

/// A log file in memory.
#[derive(Clone, Debug, Default)]
pub struct Log {
    bytes: Vec<u8>,
}

impl Log {
    /// Reads a log file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<Log> {
        let bytes = fs::read(path).with_context(|| format!("read the log {}", path.display()))?;
        Ok(Log { bytes })
    }

    /// Appends the file that was written after this one.
    #[must_use]
    pub fn followed_by(mut self, next: &Log) -> Log {
        self.bytes.extend_from_slice(&next.bytes);
        self
    }

    /// Its lines, each checked.
    ///
    /// # Errors
    /// When the file does not end with a newline or a line is not in the format.
    pub fn lines(&self) -> Result<Vec<Line<'_>>> {
        ensure!(self.bytes.is_empty() || self.bytes.ends_with(b"\n"), "the log ends in the middle of a line");
        let mut lines = Vec::new();
        for raw in self.bytes.split_inclusive(|byte| *byte == b'\n') {
            lines.push(parse(&raw[..raw.len() - 1]).with_context(|| {
                let start = &raw[..raw.len().min(120)];
                format!("line {}: {:?}", lines.len() + 1, String::from_utf8_lossy(start))
            })?);
        }
        Ok(lines)
    }

    /// The bytes that the program wrote to a stream.
    ///
    /// # Errors
    /// When the log is not in the format.
    pub fn decode(&self, stream: Stream) -> Result<Vec<u8>> {
        let mut written = Vec::with_capacity(self.bytes.len());
        for line in self.lines()? {
            if line.stream == stream {
                written.extend_from_slice(line.content);
                if line.tag == Tag::Full {
                    written.push(b'\n');
                }
            }
        }
        Ok(written)
    }

    /// Standard output as text, for messages and comparisons.
    ///
    /// # Errors
    /// When the log is not in the format.
    pub fn stdout(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.decode(Stream::Stdout)?).into_owned())
    }

    /// Standard error as text.
    ///
    /// # Errors
    /// When the log is not in the format.
    pub fn stderr(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.decode(Stream::Stderr)?).into_owned())
    }
}

fn parse(line: &[u8]) -> Result<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let mut next = || parts.next().context("a field is missing");
    let time = std::str::from_utf8(next()?).context("the time is not text")?;
    check_time(time)?;
    let stream = match next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => bail!("the second field is neither stdout nor stderr"),
    };
    let tag = match next()? {
        b"P" => Tag::Partial,
        b"F" => Tag::Full,
        _ => bail!("the third field is neither P nor F"),
    };
    Ok(Line { time, stream, tag, content: next()? })
}

/// RFC 3339 with a fraction of up to nine digits and a zone.
fn check_time(time: &str) -> Result<()> {
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let seconds = shape.strip_prefix("0000-00-00T00:00:00");
    let rest = seconds.with_context(|| format!("{time} is not a time"))?;
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches('0');
            ensure!((1..=9).contains(&(fraction.len() - zone.len())), "{time} has a strange fraction");
            zone
        }
        None => rest,
    };
    ensure!(["Z", "+00:00", "-00:00"].contains(&zone), "{time} has a strange zone");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &str) -> Log {
        Log { bytes: text.as_bytes().to_vec() }
    }

    #[test]
    fn decoding_gives_the_bytes_of_each_stream() {
        let log = log("2026-11-24T10:00:00.123456789Z stdout P ab\n\
                       2026-11-24T10:00:00.1Z stderr F  two spaces \n\
                       2026-11-24T10:00:00Z stdout F c\n\
                       2026-11-24T10:00:00+00:00 stdout P end\n");
        assert_eq!(log.stdout().unwrap(), "abc\nend");
        assert_eq!(log.stderr().unwrap(), " two spaces \n");
        let again = log.clone().followed_by(&log);
        assert_eq!(again.lines().unwrap().len(), 8);
    }

    #[test]
    fn whatever_is_not_in_the_format_is_an_error() {
        for bad in [
            "2026-11-24T10:00:00Z stdout F torn",
            "2026-11-24T10:00:00Z stdout F\n",
            "2026-11-24T10:00:00Z stdout X a\n",
            "2026-11-24T10:00:00Z stdin F a\n",
            "yesterday stdout F a\n",
            "2026-11-24T10:00:00.Z stdout F a\n",
            "2026-11-24T10:00:00.1234567890Z stdout F a\n",
            "\n",
        ] {
            assert!(log(bad).lines().is_err(), "{bad:?} was accepted");
        }
    }
}
