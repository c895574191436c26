// SPDX-License-Identifier: Apache-2.0
//! The client of the OCI distribution API (distribution-spec v1.1, "pull"), with the servers of `hosts.toml` tried in order.
//!
//! What leaves this module is verified: a manifest or a small blob as a whole, a layer by whoever reads the stream to its end.

mod attempts;
mod auth;
mod blob;
mod challenge;
mod client;
mod failure;
mod redirect;
mod retry;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;

use crate::credentials::Credentials;
use crate::digest::Digest;
use crate::error::Error;
use crate::hosts::{self, Endpoint};
use crate::limits;
use crate::manifest::{ACCEPT, Descriptor};
use crate::reference::{Reference, Selector};

use attempts::Attempts;
pub(crate) use blob::{Piece, Sink};
use client::{Clients, Query};
use failure::Failure;
pub use retry::RetryPolicy;

/// How to talk to registries.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Directory of `<host>/hosts.toml`.
    pub(crate) hosts: Option<PathBuf>,
    pub(crate) progress_timeout: Duration,
    pub(crate) retry: RetryPolicy,
}

/// Clients and tokens that pulls share.
pub(crate) struct Registry {
    settings: Settings,
    clients: Clients,
    tokens: auth::Tokens,
}

impl Registry {
    pub(crate) fn new(settings: Settings) -> Registry {
        Registry { settings, clients: Clients::new(), tokens: auth::Tokens::default() }
    }

    /// Prepares to fetch from the repository of `reference`; `hosts.toml` is read now.
    pub(crate) fn session(
        self: &Arc<Registry>,
        reference: &Reference,
        credentials: Option<Credentials>,
    ) -> Result<Session, Error> {
        let endpoints = hosts::endpoints(self.settings.hosts.as_deref(), reference.domain())?;
        Ok(Session { registry: Arc::clone(self), reference: reference.clone(), endpoints, credentials })
    }
}

/// One pull's view of a repository.
pub(crate) struct Session {
    registry: Arc<Registry>,
    reference: Reference,
    endpoints: Vec<Endpoint>,
    credentials: Option<Credentials>,
}

/// A manifest or index as it came, its digest computed from the bytes.
pub(crate) struct Fetched {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content_type: Option<String>,
    pub(crate) digest: Digest,
    /// Who sent it.
    pub(crate) host: String,
}

/// What a request needs of a server.
#[derive(Clone, Copy, PartialEq)]
enum Need {
    Pull,
    Resolve,
}

impl Session {
    /// Asks what the tag means now, without fetching it: registries don't count that against a rate limit. Nothing if nobody says so.
    pub(crate) async fn digest_of_tag(&self) -> Option<Digest> {
        let endpoint = self.endpoints(Need::Resolve).into_iter().next()?;
        let url = self.url(endpoint, "manifests", &selector_text(self.reference.selector()));
        let query = Query { accept: Some(ACCEPT), ..Query::new(Method::HEAD, url) };
        let name = self.manifest_name();
        let answer = tokio::time::timeout(limits::HEAD_TIMEOUT, self.send(endpoint, &query, &name)).await;
        let response = answer.ok()?.ok()?;
        let header = response.headers().get("docker-content-digest")?.to_str().ok()?;
        Digest::parse(header).ok()
    }

    /// Fetches the manifest or index that `selector` names. A digest is verified.
    pub(crate) async fn manifest(&self, selector: &Selector) -> Result<Fetched, Error> {
        let need = match selector {
            Selector::Tag(_) => Need::Resolve,
            Selector::Digest(_) => Need::Pull,
        };
        let mut attempts = self.attempts(need)?;
        loop {
            let failure = match self.manifest_once(attempts.endpoint(), selector).await {
                Ok(fetched) => return Ok(fetched),
                Err(failure) => failure,
            };
            tokio::time::sleep(attempts.after(failure, blob::Progressed::No)?).await;
        }
    }

    async fn manifest_once(&self, endpoint: &Endpoint, selector: &Selector) -> Result<Fetched, Failure> {
        let what = self.manifest_name();
        let url = self.url(endpoint, "manifests", &selector_text(selector));
        let query = Query { accept: Some(ACCEPT), ..Query::new(Method::GET, url) };
        let response = self.send(endpoint, &query, &what).await?;
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let promised = response.headers().get("docker-content-digest").and_then(|v| v.to_str().ok()).map(Digest::parse);
        let mut pace = blob::Pace::new(self.registry.settings.progress_timeout, endpoint.host(), what.clone());
        let bytes = pace.collect(response, limits::MANIFEST_BYTES).await?;
        let wanted = match selector {
            Selector::Digest(digest) => Some(digest.clone()),
            Selector::Tag(_) => promised.and_then(Result::ok),
        };
        let digest = match wanted {
            None => Digest::of(&bytes),
            Some(wanted) => {
                let found = wanted.same_algorithm_of(&bytes);
                if found != wanted {
                    return Err(Failure::never(Error::corrupt(what, format!("its digest is {found}, not {wanted}"))));
                }
                found
            }
        };
        Ok(Fetched { bytes, content_type, digest, host: endpoint.host() })
    }

    /// Fetches a small blob, verified.
    pub(crate) async fn small_blob(&self, blob: &Descriptor, most_bytes: u64) -> Result<Vec<u8>, Error> {
        let what = format!("blob {}", blob.digest);
        if blob.size > most_bytes {
            return Err(Error::Limit { what, limit: format!("{most_bytes} bytes") });
        }
        let mut bytes = Vec::new();
        self.blob(blob, 0, Sink::Memory(&mut bytes)).await?;
        let found = blob.digest.same_algorithm_of(&bytes);
        if found != blob.digest {
            return Err(Error::corrupt(what, format!("its digest is {found}")));
        }
        Ok(bytes)
    }

    fn endpoints(&self, need: Need) -> Vec<&Endpoint> {
        let suits = |endpoint: &&Endpoint| match need {
            Need::Pull => endpoint.capabilities.pull,
            Need::Resolve => endpoint.capabilities.resolve,
        };
        self.endpoints.iter().filter(suits).collect()
    }

    fn attempts(&self, need: Need) -> Result<Attempts<'_>, Error> {
        Attempts::new(self.endpoints(need), &self.registry.settings.retry).ok_or_else(|| Error::Unavailable {
            host: self.reference.domain().to_owned(),
            what: self.manifest_name(),
            cause: "no server of its hosts.toml has the capability that this needs".to_owned(),
        })
    }

    fn manifest_name(&self) -> String {
        self.reference.canonical()
    }

    fn url(&self, endpoint: &Endpoint, collection: &str, item: &str) -> reqwest::Url {
        let mut url = endpoint.base.clone();
        // Repository, tag and digest passed their grammars: nothing here needs escaping, and nothing can leave the path.
        url.set_path(&format!(
            "{}/{}/{collection}/{item}",
            endpoint.base.path().trim_end_matches('/'),
            self.reference.path()
        ));
        if let Some(namespace) = &endpoint.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        url
    }
}

fn selector_text(selector: &Selector) -> String {
    match selector {
        Selector::Tag(tag) => tag.clone(),
        Selector::Digest(digest) => digest.to_string(),
    }
}
