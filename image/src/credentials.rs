// SPDX-License-Identifier: Apache-2.0
//! What CRI's `AuthConfig` says, checked once, never shown and never stored.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::error::Error;
use crate::reference::DOCKER_HUB;
use crate::secret::Secret;

/// The fields of CRI `AuthConfig` as they came; empty text means absent.
#[derive(Clone, Default)]
pub struct AuthFields<'a> {
    /// `username`.
    pub username: &'a str,
    /// `password`.
    pub password: &'a str,
    /// `auth`: base64 of `user:password`.
    pub auth: &'a str,
    /// `server_address`: whom the credentials are for.
    pub server_address: &'a str,
    /// `identity_token`: an OAuth2 refresh token.
    pub identity_token: &'a str,
    /// `registry_token`: a bearer token to send as it is.
    pub registry_token: &'a str,
}

/// Credentials for one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `host[:port]` that they are for; nothing means the host of the reference.
    pub(crate) server: Option<String>,
    pub(crate) login: Login,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Login {
    Password { username: Secret, password: Secret },
    Identity(Secret),
    Registry(Secret),
}

impl Credentials {
    /// Reads an `AuthConfig`. All fields empty means no credentials.
    ///
    /// # Errors
    /// `InvalidCredentials` for an `auth` that isn't base64 of `user:password`, for control characters, and for half a pair. The text
    /// never has a value.
    pub fn from_fields(fields: &AuthFields<'_>) -> Result<Option<Credentials>, Error> {
        let invalid = |reason| Error::InvalidCredentials { reason };
        let all = [fields.username, fields.password, fields.auth, fields.identity_token, fields.registry_token];
        if all.iter().any(|field| field.bytes().any(|b| b.is_ascii_control())) {
            return Err(invalid("a field has control characters"));
        }
        let login = if !fields.registry_token.is_empty() {
            Login::Registry(Secret::new(fields.registry_token))
        } else if !fields.identity_token.is_empty() {
            Login::Identity(Secret::new(fields.identity_token))
        } else if !fields.auth.is_empty() {
            decode(fields.auth).ok_or_else(|| invalid("auth is not base64 of user:password"))?
        } else if !fields.username.is_empty() {
            Login::Password { username: Secret::new(fields.username), password: Secret::new(fields.password) }
        } else if !fields.password.is_empty() {
            return Err(invalid("a password without a user name"));
        } else {
            return Ok(None);
        };
        let server = match fields.server_address {
            "" => None,
            text => Some(server_host(text).ok_or_else(|| invalid("server_address is not a host or URL"))?),
        };
        Ok(Some(Credentials { server, login }))
    }

    /// Whether these credentials may be sent to a registry. `host` is its `host[:port]`, `upstream` whether it is the reference's own
    /// registry: a mirror gets credentials only when they name it.
    pub(crate) fn are_for(&self, host: &str, domain: &str, upstream: Upstream) -> bool {
        match (&self.server, upstream) {
            (None, Upstream::Yes) => true,
            (None, Upstream::No) => false,
            (Some(server), Upstream::Yes) => server == domain || server == host,
            (Some(server), Upstream::No) => server == host,
        }
    }

    /// A key for caches that tells credentials apart without keeping them.
    pub(crate) fn fingerprint(&self) -> String {
        let (kind, first, second) = match &self.login {
            Login::Password { username, password } => ("password", username.expose(), password.expose()),
            Login::Identity(token) => ("identity", token.expose(), ""),
            Login::Registry(token) => ("registry", token.expose(), ""),
        };
        let server = self.server.as_deref().unwrap_or_default();
        let text = format!("{kind}\n{}\n{first}\n{second}\n{server}", first.len());
        crate::digest::Digest::of(text.as_bytes()).hex().to_owned()
    }
}

/// Whether an endpoint is the registry that the reference names (or its `server` in `hosts.toml`), or a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upstream {
    Yes,
    No,
}

fn decode(auth: &str) -> Option<Login> {
    let auth = auth.trim_end_matches('=');
    let bytes = STANDARD_NO_PAD.decode(auth).or_else(|_| STANDARD.decode(auth)).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    // Some writers of Docker's config file end the pair with NULs.
    let (username, password) = text.trim_end_matches('\0').split_once(':')?;
    if username.is_empty() || text.trim_end_matches('\0').bytes().any(|b| b.is_ascii_control()) {
        return None;
    }
    Some(Login::Password { username: Secret::new(username), password: Secret::new(password) })
}

/// `host[:port]` of a `server_address`, which may be a URL; Docker Hub's many names become one.
fn server_host(text: &str) -> Option<String> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split('/').next()?;
    let host = authority.rsplit('@').next()?.to_ascii_lowercase();
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return None;
    }
    Some(match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" | "www.docker.io" => DOCKER_HUB.to_owned(),
        _ => host,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields<'a>(username: &'a str, password: &'a str, auth: &'a str, server_address: &'a str) -> AuthFields<'a> {
        AuthFields { username, password, auth, server_address, ..AuthFields::default() }
    }

    #[test]
    fn auth_config_forms() {
        assert!(Credentials::from_fields(&AuthFields::default()).unwrap().is_none());
        let plain = Credentials::from_fields(&fields("u", "p:q", "", "")).unwrap().unwrap();
        let encoded = Credentials::from_fields(&fields("", "", "dTpwOnE=", "")).unwrap().unwrap();
        assert_eq!(plain, encoded);
        assert_eq!(Credentials::from_fields(&fields("", "", "dTpwOnEA", "")).unwrap().unwrap(), plain, "trailing NUL");
        assert!(!format!("{plain:?}").contains("p:q"));
        for bad in [
            fields("", "p", "", ""),
            fields("u\n", "p", "", ""),
            fields("", "", "%%%", ""),
            fields("", "", "dQ==", ""),
            fields("u", "p", "", "https:// /"),
        ] {
            assert!(Credentials::from_fields(&bad).is_err());
        }
    }

    #[test]
    fn only_the_named_host_gets_them() {
        let open = Credentials::from_fields(&fields("u", "p", "", "")).unwrap().unwrap();
        assert!(open.are_for("r.io", "r.io", Upstream::Yes));
        assert!(!open.are_for("mirror:5000", "r.io", Upstream::No));
        let hub = Credentials::from_fields(&fields("u", "p", "", "https://index.docker.io/v1/")).unwrap().unwrap();
        assert!(hub.are_for("registry-1.docker.io", "docker.io", Upstream::Yes));
        assert!(!hub.are_for("r.io", "r.io", Upstream::Yes));
        let mirror = Credentials::from_fields(&fields("u", "p", "", "mirror:5000")).unwrap().unwrap();
        assert!(mirror.are_for("mirror:5000", "r.io", Upstream::No));
        assert!(!mirror.are_for("r.io", "r.io", Upstream::Yes));
        assert_ne!(open.fingerprint(), hub.fingerprint());
    }
}
