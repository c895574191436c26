// SPDX-License-Identifier: Apache-2.0
//! Content digests as strict types: `sha256:` or `sha512:` and lower-case hexadecimal digits, nothing else.
//!
//! A digest becomes a part of paths and URLs, so a value of [`Digest`] can't be made without the check (CVE-2024-3727 class).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512};

use crate::error::Error;

/// The hash algorithms that the OCI image spec registers (image-spec, "descriptor#registered-algorithms").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, 64 hexadecimal digits.
    Sha256,
    /// SHA-512, 128 hexadecimal digits.
    Sha512,
}

impl Algorithm {
    /// The prefix before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        }
    }
}

/// A checked content digest. Its text is safe in a path and in a URL.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

impl Digest {
    /// Parses `algorithm:hex`.
    ///
    /// # Errors
    /// `InvalidDigest` for an unknown algorithm, a wrong length or any byte that is not a lower-case hexadecimal digit.
    pub fn parse(text: &str) -> Result<Digest, Error> {
        let invalid = |reason| Error::InvalidDigest { text: crate::secret::printable(text, 160), reason };
        let (name, hex) = text.split_once(':').ok_or_else(|| invalid("it lacks the algorithm and a colon"))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(invalid("only sha256 and sha512 are known")),
        };
        if hex.len() != algorithm.hex_len() || !is_lower_hex(hex) {
            return Err(invalid("the algorithm needs another number of lower-case hexadecimal digits"));
        }
        Ok(Digest { algorithm, hex: hex.into() })
    }

    /// The SHA-256 digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The digest of `bytes` under the algorithm of `self`, to compare with `self`.
    pub fn same_algorithm_of(&self, bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(self.algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The hash algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digits after the colon. Digits of different algorithms differ in length, so they name a file unambiguously.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Finds a digest again from its digits alone (a file name of ours); the length tells the algorithm.
    pub fn from_hex(hex: &str) -> Option<Digest> {
        let algorithm = match hex.len() {
            64 => Algorithm::Sha256,
            128 => Algorithm::Sha512,
            _ => return None,
        };
        is_lower_hex(hex).then(|| Digest { algorithm, hex: hex.into() })
    }
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Digest, Error> {
        Digest::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Digest::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// An incremental hash of one stream.
pub struct Hasher(State);

enum State {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// Starts an empty hash.
    pub fn new(algorithm: Algorithm) -> Hasher {
        Hasher(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Box::new(Sha512::new())),
        })
    }

    /// Adds the next bytes of the stream.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of everything added.
    pub fn finish(self) -> Digest {
        let (algorithm, hex) = match self.0 {
            State::Sha256(state) => (Algorithm::Sha256, to_hex(&state.finalize())),
            State::Sha512(state) => (Algorithm::Sha512, to_hex(&state.finalize())),
        };
        Digest { algorithm, hex: hex.into() }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

macro_rules! digest_role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Digest);

        impl $name {
            /// Gives a digest this role.
            pub fn new(digest: Digest) -> $name {
                $name(digest)
            }

            /// Parses `algorithm:hex`.
            ///
            /// # Errors
            /// As [`Digest::parse`].
            pub fn parse(text: &str) -> Result<$name, Error> {
                Digest::parse(text).map($name)
            }

            /// The digest without its role.
            pub fn digest(&self) -> &Digest {
                &self.0
            }

            /// The digits after the colon.
            pub fn hex(&self) -> &str {
                self.0.hex()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

digest_role! {
    /// The id of an image: the digest of its configuration (image-spec, "config#imageid"; CRI `Image.id`).
    ImageId
}
digest_role! {
    /// The digest of a layer's uncompressed tar stream (image-spec, "config#layer-diffid"). Keys an unpacked layer.
    DiffId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes() {
        assert_eq!(
            Digest::of(b"").to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let mut long = Hasher::new(Algorithm::Sha512);
        long.update(b"abc");
        assert!(long.finish().to_string().starts_with("sha512:ddaf35a193617abacc417349ae204131"));
    }

    #[test]
    fn only_strict_text_parses() {
        let good = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(Digest::parse(&good).unwrap().to_string(), good);
        assert_eq!(Digest::from_hex(&"0a".repeat(64)).unwrap().algorithm(), Algorithm::Sha512);
        for bad in [
            "",
            "sha256",
            "sha256:",
            "sha256:../../x",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            &good.to_uppercase(),
            &format!("sha256:{}", "0A".repeat(32)),
            &format!("sha256:{}", "0a".repeat(31)),
            &format!("sha256:{}/", "0a".repeat(31)),
            &format!("sha512:{}", "0a".repeat(32)),
            &format!(" {good}"),
            &format!("{good}\n"),
        ] {
            assert!(Digest::parse(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
