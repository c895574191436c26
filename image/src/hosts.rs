// SPDX-License-Identifier: Apache-2.0
//! `hosts.toml` files as containerd's `certs.d` has them: which servers stand for a registry, in which order, and how to talk to them.
//!
//! `<dir>/<host[:port]>/hosts.toml`, else `<dir>/_default/hosts.toml`, else the registry itself. Files are read at each pull, so an edit needs no
//! restart. Unlike containerd, a key that is not known is an error with its line: a misspelt `skip_verfy` must not pass in silence.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;

use crate::credentials::Upstream;
use crate::error::Error;
use crate::limits;
use crate::reference::DOCKER_HUB;
use crate::secret::Secret;

mod parse;

/// How to make TLS (and TCP) connections to one server. Equal settings share a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Transport {
    /// PEM files of authorities that are trusted beside the system's.
    pub(crate) ca: Vec<PathBuf>,
    /// Client certificates with their keys; no key means that one file has both.
    pub(crate) client: Vec<(PathBuf, Option<PathBuf>)>,
    pub(crate) verify: Verify,
    pub(crate) dial_timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Verify {
    #[default]
    Certificates,
    /// `skip_verify = true`.
    Nothing,
}

/// What a server may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// Blobs, and manifests by digest.
    pub(crate) pull: bool,
    /// Manifests by tag: whom to trust for what a tag means.
    pub(crate) resolve: bool,
}

/// One server that can answer for a registry.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Base URL whose path ends with the API root (`/v2`), without a final slash.
    pub(crate) base: Url,
    pub(crate) capabilities: Capabilities,
    pub(crate) transport: Transport,
    /// `header`: sent to this server only. Values may be tokens.
    pub(crate) headers: Vec<(String, Secret)>,
    pub(crate) upstream: Upstream,
    /// The registry's name for `?ns=`, when the server isn't the registry itself.
    pub(crate) namespace: Option<String>,
}

impl Endpoint {
    /// `host[:port]` for messages and for matching credentials.
    pub(crate) fn host(&self) -> String {
        crate::secret::authority(&self.base)
    }
}

/// The servers for `domain` (the host part of a reference), in the order in which they are asked; the registry itself is last.
///
/// # Errors
/// `InvalidHosts` with file and line, `Io` for a file that exists and can't be read.
pub(crate) fn endpoints(directory: Option<&Path>, domain: &str) -> Result<Vec<Endpoint>, Error> {
    for path in candidates(directory, domain) {
        match read(&path)? {
            Some(text) => return parse::hosts_toml(&path, &text, domain),
            None => continue,
        }
    }
    Ok(vec![default_endpoint(domain)?])
}

fn candidates(directory: Option<&Path>, domain: &str) -> Vec<PathBuf> {
    let Some(directory) = directory else { return Vec::new() };
    // A domain passed the reference grammar, so it has no slash and isn't a dot name.
    [domain, "_default"].iter().map(|name| directory.join(name).join("hosts.toml")).collect()
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(Error::io("open", path, e)),
    };
    let mut text = String::new();
    let read =
        file.take(limits::HOSTS_FILE_BYTES + 1).read_to_string(&mut text).map_err(|e| Error::io("read", path, e))?;
    if read as u64 > limits::HOSTS_FILE_BYTES {
        return Err(Error::Limit { what: path.display().to_string(), limit: "1 MiB".to_owned() });
    }
    Ok(Some(text))
}

const ALL: Capabilities = Capabilities { pull: true, resolve: true };

/// The registry itself, when no file says otherwise: HTTPS, but plain HTTP for one on the loopback interface, as containerd does.
fn default_endpoint(domain: &str) -> Result<Endpoint, Error> {
    let (scheme, host) = match domain {
        DOCKER_HUB => ("https", "registry-1.docker.io"),
        _ if is_loopback(domain) => ("http", domain),
        _ => ("https", domain),
    };
    // The reference grammar lets names through that no URL can have, such as 300.1.1.1.
    let base = Url::parse(&format!("{scheme}://{host}/v2")).map_err(|_| Error::InvalidReference {
        reference: domain.to_owned(),
        reason: "the registry is no valid host name or address",
    })?;
    Ok(Endpoint {
        base,
        capabilities: ALL,
        transport: Transport::default(),
        headers: Vec::new(),
        upstream: Upstream::Yes,
        namespace: None,
    })
}

/// Whether `host[:port]` is this machine's loopback by its name alone.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_files_the_registry_itself_answers() {
        for (domain, base) in [
            ("docker.io", "https://registry-1.docker.io/v2"),
            ("r.io:8443", "https://r.io:8443/v2"),
            ("localhost:5000", "http://localhost:5000/v2"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000/v2"),
            ("[::1]:5000", "http://[::1]:5000/v2"),
            ("10.0.0.1:5000", "https://10.0.0.1:5000/v2"),
        ] {
            let found = endpoints(None, domain).unwrap();
            assert_eq!((found.len(), found[0].base.as_str(), found[0].upstream), (1, base, Upstream::Yes));
        }
    }

    #[test]
    fn a_host_that_no_url_can_have_is_an_error() {
        assert!(matches!(endpoints(None, "300.1.1.1:5000"), Err(Error::InvalidReference { .. })));
    }

    #[test]
    fn files_are_found_by_host_then_default() {
        let directory = tempfile::tempdir().unwrap();
        for (name, server) in [("r.io:1", "https://own"), ("_default", "https://fallback")] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
            std::fs::write(directory.path().join(name).join("hosts.toml"), format!("server = \"{server}\"")).unwrap();
        }
        let base = |domain| endpoints(Some(directory.path()), domain).unwrap()[0].base.to_string();
        assert_eq!((base("r.io:1").as_str(), base("other.io").as_str()), ("https://own/v2", "https://fallback/v2"));
        assert_eq!(
            endpoints(Some(&directory.path().join("absent")), "x.io").unwrap()[0].base.as_str(),
            "https://x.io/v2"
        );
    }
}
