// SPDX-License-Identifier: Apache-2.0
//! Basic and Bearer authentication (distribution token spec and its OAuth2 form), and the tokens that are remembered.
//!
//! ```text
//! request ── 401 Bearer realm=T ──▶ GET T?service&scope  (user:password as Basic, or anonymous)
//!                                   POST T grant_type=refresh_token  (identity token)
//!                              ◀── {"token": …, "expires_in": …} ── remembered by server, repository and credentials
//! ```

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::Session;
use super::challenge::Challenge;
use super::failure::Failure;
use crate::credentials::{Credentials, Login};
use crate::error::Error;
use crate::hosts::Endpoint;
use crate::limits;
use crate::secret::{Secret, origin};

/// What authenticates a request: a header value that no debug output shows.
#[derive(Clone)]
pub(super) struct Authorization {
    header: HeaderValue,
    expires_at: Option<Instant>,
}

impl Authorization {
    fn new(text: String, life: Option<Duration>) -> Option<Authorization> {
        let mut header = HeaderValue::from_str(&text).ok()?;
        header.set_sensitive(true);
        Some(Authorization { header, expires_at: life.map(|life| Instant::now() + life) })
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

/// Remembered authorizations. In memory only.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<Key, Authorization>>);

#[derive(PartialEq, Eq, Hash, Clone)]
struct Key {
    origin: String,
    repository: String,
    credentials: Option<String>,
}

impl Tokens {
    fn get(&self, key: &Key) -> Option<Authorization> {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = tokens.get(key)?.clone();
        if found.expires_at.is_some_and(|at| at <= Instant::now()) {
            tokens.remove(key);
            return None;
        }
        Some(found)
    }

    fn put(&self, key: Key, authorization: Authorization) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= limits::TOKENS {
            let now = Instant::now();
            tokens.retain(|_, known| known.expires_at.is_none_or(|at| at > now));
            if tokens.len() >= limits::TOKENS {
                tokens.clear();
            }
        }
        tokens.insert(key, authorization);
    }

    fn remove(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

impl Session {
    /// The credentials, if they are for this server.
    fn credentials_for(&self, endpoint: &Endpoint) -> Option<&Credentials> {
        self.credentials.as_ref().filter(|c| c.are_for(&endpoint.host(), self.reference.domain(), endpoint.upstream))
    }

    fn token_key(&self, endpoint: &Endpoint) -> Key {
        Key {
            origin: origin(&endpoint.base),
            repository: self.reference.path().to_owned(),
            credentials: self.credentials_for(endpoint).map(Credentials::fingerprint),
        }
    }

    /// What to send before the server asked for anything.
    pub(super) fn known_authorization(&self, endpoint: &Endpoint) -> Option<Authorization> {
        if let Some(Login::Registry(token)) = self.credentials_for(endpoint).map(|c| &c.login) {
            return Authorization::new(format!("Bearer {}", token.expose()), None);
        }
        self.registry.tokens.get(&self.token_key(endpoint))
    }

    pub(super) fn forget_authorization(&self, endpoint: &Endpoint) {
        self.registry.tokens.remove(&self.token_key(endpoint));
    }

    /// Answers a challenge; nothing if there is nothing to answer with.
    pub(super) async fn authorize(
        &self,
        endpoint: &Endpoint,
        challenge: &Challenge,
    ) -> Result<Option<Authorization>, Failure> {
        let login = self.credentials_for(endpoint).map(|credentials| &credentials.login);
        let authorization = match (challenge, login) {
            // It was sent already, and refused.
            (_, Some(Login::Registry(_))) => None,
            (Challenge::Basic, Some(Login::Password { username, password })) => {
                Authorization::new(basic(username, password), Some(limits::BASIC_LIFE))
            }
            (Challenge::Basic, _) => None,
            (Challenge::Bearer { realm, service, scope }, login) => {
                let default_scope = format!("repository:{}:pull", self.reference.path());
                let scope = scope.as_deref().unwrap_or(&default_scope);
                let wanted = Wanted { realm, service: service.as_deref(), scope };
                Some(self.token(endpoint, &wanted, login).await?)
            }
        };
        if let Some(authorization) = &authorization {
            self.registry.tokens.put(self.token_key(endpoint), authorization.clone());
        }
        Ok(authorization)
    }

    async fn token(
        &self,
        endpoint: &Endpoint,
        wanted: &Wanted<'_>,
        login: Option<&Login>,
    ) -> Result<Authorization, Failure> {
        let (url, form, header) = match login {
            Some(Login::Identity(refresh)) => (wanted.realm.clone(), Some(wanted.refresh_form(refresh)), None),
            Some(Login::Password { username, password }) => {
                (wanted.query(), None, sensitive(&basic(username, password)))
            }
            Some(Login::Registry(_)) | None => (wanted.query(), None, None),
        };
        let body = self.ask_token_server(endpoint, &url, form, header).await?;
        let protocol = |answer: &str| {
            let host = crate::secret::authority(wanted.realm);
            Failure::never(Error::Protocol { host, what: "a token request".to_owned(), answer: answer.to_owned() })
        };
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| protocol("something that is no token"))?;
        let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| protocol("no token"))?;
        let life = answer.expires_in.map_or(limits::TOKEN_LIFE, Duration::from_secs);
        // A tenth is kept back for the way; a life of centuries would overflow the clock.
        let life = life.min(Duration::from_secs(24 * 3600)).mul_f64(0.9);
        Authorization::new(format!("Bearer {token}"), Some(life))
            .ok_or_else(|| protocol("a token with control characters"))
    }
}

/// A token request's public part.
struct Wanted<'a> {
    realm: &'a Url,
    service: Option<&'a str>,
    scope: &'a str,
}

impl Wanted<'_> {
    fn query(&self) -> Url {
        let mut url = self.realm.clone();
        let mut pairs = url.query_pairs_mut();
        if let Some(service) = self.service {
            pairs.append_pair("service", service);
        }
        pairs.append_pair("scope", self.scope);
        drop(pairs);
        url
    }

    /// OAuth2 refresh (distribution spec, "oauth"). The URL type knows the encoding of forms.
    fn refresh_form(&self, refresh: &Secret) -> String {
        let mut url = self.realm.clone();
        url.set_query(None);
        url.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", self.service.unwrap_or_default())
            .append_pair("client_id", "husk")
            .append_pair("scope", self.scope)
            .append_pair("refresh_token", refresh.expose());
        url.query().unwrap_or_default().to_owned()
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

fn basic(username: &Secret, password: &Secret) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", username.expose(), password.expose())))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
