// SPDX-License-Identifier: Apache-2.0
//! Entry names, made relative and checked once. Bytes, not text: image authors use any encoding.

use crate::error::Error;
use crate::limits;

/// A checked, relative, normalised path. Empty for the root of the layer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct EntryPath {
    bytes: Vec<u8>,
    name_start: usize,
}

impl EntryPath {
    /// Normalises a name from an archive: leading and doubled slashes and `.` vanish, as in every tar reader.
    pub(crate) fn parse(raw: &[u8]) -> Result<EntryPath, Error> {
        let refuse = |reason: &str| Err(refused(raw, reason));
        if raw.contains(&0) {
            return refuse("its name has a NUL");
        }
        let mut bytes = Vec::with_capacity(raw.len());
        let mut depth = 0;
        let mut name_start = 0;
        for component in raw.split(|b| *b == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return refuse("its name leads upwards (\"..\")"),
                _ if component.len() > limits::NAME_BYTES => {
                    return refuse("a part of its name is longer than 255 bytes");
                }
                _ => {}
            }
            depth += 1;
            if depth > 1 {
                bytes.push(b'/');
            }
            name_start = bytes.len();
            bytes.extend_from_slice(component);
        }
        if bytes.len() > limits::PATH_BYTES {
            return refuse("its name is longer than 4095 bytes");
        }
        if depth > limits::PATH_DEPTH {
            return refuse("it is deeper than 256 directories");
        }
        Ok(EntryPath { bytes, name_start })
    }

    pub(crate) fn is_root(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The whole relative path.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The directory part, empty for the root.
    pub(crate) fn parent(&self) -> &[u8] {
        &self.bytes[..self.name_start.saturating_sub(1)]
    }

    /// The last component, empty for the root.
    pub(crate) fn name(&self) -> &[u8] {
        &self.bytes[self.name_start..]
    }
}

/// The error for an entry that isn't applied.
pub(crate) fn refused(raw: &[u8], reason: impl Into<String>) -> Error {
    Error::Entry { entry: crate::secret::printable(&String::from_utf8_lossy(raw), 300), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_relative() {
        for (raw, path, parent, name) in [
            ("./a//b/./c/", "a/b/c", "a/b", "c"),
            ("/etc/passwd", "etc/passwd", "etc", "passwd"),
            ("a", "a", "", "a"),
            ("./", "", "", ""),
            ("..a/...", "..a/...", "..a", "..."),
        ] {
            let parsed = EntryPath::parse(raw.as_bytes()).unwrap();
            assert_eq!(
                (parsed.as_bytes(), parsed.parent(), parsed.name()),
                (path.as_bytes(), parent.as_bytes(), name.as_bytes())
            );
        }
        assert_eq!(EntryPath::parse(b"a/\xff\xfe").unwrap().name(), b"\xff\xfe");
    }

    #[test]
    fn names_that_are_refused() {
        let deep = "a/".repeat(257);
        let long = "x".repeat(256);
        for raw in ["..", "a/../b", "a\0b", &deep, &long, &format!("{}a", "bcdefghij/".repeat(450))] {
            assert!(EntryPath::parse(raw.as_bytes()).is_err());
        }
    }
}
