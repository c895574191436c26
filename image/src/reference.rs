// SPDX-License-Identifier: Apache-2.0
//! Image references, parsed and normalised as Docker's distribution does, because that is what users write in pods.
//!
//! ```text
//! reference := [ domain "/" ] path [ ":" tag ] [ "@" digest ]
//! domain    := ( labels "." … | "[" ipv6 "]" ) [ ":" port ]
//! path      := component { "/" component }
//! component := alnum { ( "." | "_" | "__" | "-"… ) alnum }      (lower case)
//! tag       := [A-Za-z0-9_] { [A-Za-z0-9_.-] }                  (at most 128 bytes)
//! ```
//! A first component without dot, colon and upper case that isn't `localhost` is a path on Docker Hub; one-component names there live in `library/`.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::Error;

/// Docker Hub's name in references.
pub const DOCKER_HUB: &str = "docker.io";
const LIBRARY: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// distribution/reference: `RepositoryNameTotalLengthMax`.
const NAME_MAX: usize = 255;
/// distribution/reference: the tag grammar's bound.
const TAG_MAX: usize = 128;

/// What a reference selects in its repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// A tag, `latest` if none was written.
    Tag(String),
    /// A digest; a tag beside it is kept for show only.
    Digest(Digest),
}

/// A normalised image reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    selector: Selector,
    written_tag: Option<String>,
}

impl Reference {
    /// Parses what a user wrote.
    ///
    /// # Errors
    /// `InvalidReference` that says which rule is broken; `InvalidDigest` for the part after `@`.
    pub fn parse(text: &str) -> Result<Reference, Error> {
        let invalid = |reason| Error::InvalidReference { reference: crate::secret::printable(text, 300), reason };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        if text.len() > NAME_MAX + TAG_MAX + 160 {
            return Err(invalid("it is too long"));
        }
        if Digest::from_hex(text).is_some() {
            return Err(invalid("it is an image id, not a name"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest)?)),
            None => (text, None),
        };
        let (name, written_tag) = split_tag(rest);
        if let Some(tag) = written_tag {
            check_tag(tag).map_err(invalid)?;
        }
        let (domain, path) = split_domain(name);
        check_domain(&domain).map_err(invalid)?;
        check_path(&path).map_err(invalid)?;
        if domain.len() + 1 + path.len() > NAME_MAX {
            return Err(invalid("the name is longer than 255 bytes"));
        }
        let selector = match digest {
            Some(digest) => Selector::Digest(digest),
            None => Selector::Tag(written_tag.unwrap_or(DEFAULT_TAG).to_owned()),
        };
        Ok(Reference { domain, path, selector, written_tag: written_tag.map(str::to_owned) })
    }

    /// Registry host with port, `docker.io` for Docker Hub.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Repository below the host, `library/…` included.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is selected; a digest wins over a tag.
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// The tag that names this image locally: none when a digest selects it.
    pub fn tag(&self) -> Option<&str> {
        match &self.selector {
            Selector::Tag(tag) => Some(tag),
            Selector::Digest(_) => None,
        }
    }

    /// The tag as written, also beside a digest.
    pub fn written_tag(&self) -> Option<&str> {
        self.written_tag.as_deref()
    }

    /// The digest, if one was written.
    pub fn digest(&self) -> Option<&Digest> {
        match &self.selector {
            Selector::Digest(digest) => Some(digest),
            Selector::Tag(_) => None,
        }
    }

    /// `domain/path` without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The full form, `docker.io/library/busybox:latest` or `…@sha256:…` (CRI `Image.repo_tags`, `repo_digests`).
    pub fn canonical(&self) -> String {
        match &self.selector {
            Selector::Tag(tag) => format!("{}:{tag}", self.name()),
            Selector::Digest(digest) => format!("{}@{digest}", self.name()),
        }
    }

    /// The short form that people write, `busybox:latest`.
    pub fn familiar(&self) -> String {
        let canonical = self.canonical();
        let Some(rest) = canonical.strip_prefix("docker.io/") else { return canonical };
        if rest.split_once('/').is_some_and(|(first, _)| looks_like_domain(first)) {
            return canonical;
        }
        match rest.strip_prefix(LIBRARY) {
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => rest.to_owned(),
        }
    }

    /// The same repository with a digest instead.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { selector: Selector::Digest(digest), written_tag: None, ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference, Error> {
        Reference::parse(text)
    }
}

/// A colon after the last slash starts the tag; one before belongs to the port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    let last = text.rfind('/').map_or(0, |at| at + 1);
    match text[last..].rfind(':') {
        Some(at) => (&text[..last + at], Some(&text[last + at + 1..])),
        None => (text, None),
    }
}

fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if looks_like_domain(first) => (first, rest.to_owned()),
        _ => (DOCKER_HUB, name.to_owned()),
    };
    let domain = if domain == "index.docker.io" { DOCKER_HUB } else { domain };
    let path = if domain == DOCKER_HUB && !path.contains('/') { format!("{LIBRARY}{path}") } else { path };
    (domain.to_owned(), path)
}

fn looks_like_domain(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    if !bytes.next().is_some_and(word) || !bytes.all(|b| word(b) || b == b'.' || b == b'-') {
        return Err("the tag must be letters, digits, '_', '.' and '-', and can't begin with the last two");
    }
    if tag.len() > TAG_MAX {
        return Err("the tag is longer than 128 bytes");
    }
    Ok(())
}

fn check_domain(domain: &str) -> Result<(), &'static str> {
    const BAD: &str = "the registry must be a host name or address with an optional port";
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or(BAD)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| BAD)?;
            (None, if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(BAD)?) })
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        },
    };
    if let Some(port) = port
        && (!port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().is_err())
    {
        return Err("the registry's port must be a number below 65536");
    }
    let Some(host) = host else { return Ok(()) };
    let label_is_good = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.split('.').all(label_is_good) { Ok(()) } else { Err(BAD) }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("the repository name must be lower case");
    }
    if path.split('/').all(component_is_good) {
        Ok(())
    } else {
        Err("the repository must be words of lower-case letters and digits, joined by '.', '_', '__', '-' and '/'")
    }
}

fn component_is_good(component: &str) -> bool {
    let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().is_some_and(alnum) || !bytes.last().is_some_and(alnum) {
        return false;
    }
    bytes
        .split(alnum)
        .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_users_write() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let digest = format!("sha256:{hex}");
        let table = [
            ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("index.docker.io/user/app:v1", "docker.io/user/app:v1", "user/app:v1"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("localhost:5000/app:x", "localhost:5000/app:x", "localhost:5000/app:x"),
            ("127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000/a/b/c:x"),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
            ("[fe80::1]/x", "[fe80::1]/x:latest", "[fe80::1]/x:latest"),
            ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"),
            ("Registry/app", "Registry/app:latest", "Registry/app:latest"),
            ("a.b-c__d_e--f/x", "a.b-c__d_e--f/x:latest", ""),
            ("quay.io/a_b/c--d.e__f:T_1.-", "quay.io/a_b/c--d.e__f:T_1.-", "quay.io/a_b/c--d.e__f:T_1.-"),
            (&format!("app@{digest}"), &format!("docker.io/library/app@{digest}"), &format!("app@{digest}")),
            (&format!("r.io/app:1@{digest}"), &format!("r.io/app@{digest}"), &format!("r.io/app@{digest}")),
        ];
        for (text, canonical, familiar) in table {
            if familiar.is_empty() {
                assert!(Reference::parse(text).is_err(), "{text}");
                continue;
            }
            let reference = Reference::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(reference.canonical(), canonical, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
            assert_eq!(Reference::parse(canonical).unwrap().canonical(), canonical, "round trip of {text}");
            assert_eq!(Reference::parse(familiar).unwrap().canonical(), canonical, "familiar round trip of {text}");
        }
        let both = Reference::parse(&format!("r.io/app:1@{digest}")).unwrap();
        assert_eq!((both.tag(), both.written_tag()), (None, Some("1")));
        assert_eq!(both.digest().unwrap().hex(), hex);
    }

    #[test]
    fn forms_that_are_refused() {
        let long = "a".repeat(256);
        let hex = "a".repeat(64);
        for text in [
            "",
            ":",
            "@",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "Abc/",
            "a:",
            "a:-x",
            "a:.x",
            "a@",
            "a@sha256:12",
            "a b",
            "a\n",
            "a\0",
            "../x",
            "a/../b",
            "./a",
            "a/.b",
            "a/b.",
            "a..b",
            "a___b",
            "a/-b",
            "http://x/y",
            "user@host/x",
            "x.io:99999/a",
            "x.io:/a",
            "x.io:80a/a",
            "[::1/a",
            "[::g]:1/a",
            "[::1]x/a",
            "-x.io/a",
            "x-.io/a",
            "x..io/a",
            "ä",
            &long,
            &hex,
            &format!("a:{}", "t".repeat(129)),
            &format!("a@sha256:{hex}@sha256:{hex}"),
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?} must be refused");
        }
    }
}
