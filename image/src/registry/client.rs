// SPDX-License-Identifier: Apache-2.0
//! HTTP requests to one server: TLS settings, redirects, authentication.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue, IF_RANGE, RANGE, WWW_AUTHENTICATE};
use reqwest::{Client, Method, Response, StatusCode, Url};

use super::auth::Authorization;
use super::failure::{Asked, Failure, of_status};
use super::{Session, blob, challenge, redirect};
use crate::error::Error;
use crate::hosts::{Endpoint, Transport, Verify, is_loopback};
use crate::limits;

const AGENT: &str = concat!("husk/", env!("CARGO_PKG_VERSION"));

/// One request, without what authenticates it.
#[derive(Clone)]
pub(super) struct Query<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) accept: Option<&'a str>,
    /// First byte that is wanted, with the entity tag that it must still belong to.
    pub(super) range: Option<(u64, Option<HeaderValue>)>,
}

impl Query<'_> {
    pub(super) fn new(method: Method, url: Url) -> Query<'static> {
        Query { method, url, accept: None, range: None }
    }
}

/// HTTP clients by their settings. Each has its own connections.
pub(super) struct Clients(Mutex<HashMap<Key, Client>>);

/// The files' times are a part, so that a renewed certificate is read at the next pull.
#[derive(PartialEq, Eq, Hash, Clone)]
struct Key {
    transport: Transport,
    times: Vec<Option<SystemTime>>,
    route: Route,
}

#[derive(PartialEq, Eq, Hash, Clone, Copy)]
enum Route {
    /// `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` decide.
    Environment,
    /// Loopback addresses mean this machine, not the proxy's.
    Direct,
}

impl Clients {
    pub(super) fn new() -> Clients {
        // Someone else in the process may have chosen a provider already; then theirs is used.
        let _already_chosen = rustls::crypto::ring::default_provider().install_default();
        Clients(Mutex::default())
    }

    pub(super) fn get(&self, transport: &Transport, url: &Url) -> Result<Client, Error> {
        let files = transport
            .ca
            .iter()
            .chain(transport.client.iter().flat_map(|(cert, key)| [Some(cert), key.as_ref()].into_iter().flatten()));
        let times = files.map(|path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok()).collect();
        let route = if is_loopback(url.host_str().unwrap_or_default()) { Route::Direct } else { Route::Environment };
        let key = Key { transport: transport.clone(), times, route };
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = build(transport, route, url)?;
        if clients.len() >= limits::CLIENTS {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }
}

fn build(transport: &Transport, route: Route, url: &Url) -> Result<Client, Error> {
    let base = || {
        let builder = Client::builder()
            .user_agent(AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(transport.dial_timeout.unwrap_or(limits::DIAL_TIMEOUT));
        match route {
            Route::Direct => builder.no_proxy(),
            Route::Environment => builder,
        }
    };
    let mut builder = base();
    let mut roots = Vec::new();
    for path in &transport.ca {
        let found = reqwest::Certificate::from_pem_bundle(&read(path)?)
            .map_err(|_| unusable(path, "it has no PEM certificate"))?;
        roots.extend(found);
    }
    if !roots.is_empty() {
        builder = builder.tls_certs_merge(roots);
    }
    for (certificate, key) in &transport.client {
        let mut pem = read(certificate)?;
        if let Some(key) = key {
            pem.push(b'\n');
            pem.extend(read(key)?);
        }
        let identity = reqwest::Identity::from_pem(&pem)
            .map_err(|_| unusable(certificate, "it is no PEM certificate with a key"))?;
        builder = builder.identity(identity);
    }
    if transport.verify == Verify::Nothing {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    let failed = |e: reqwest::Error| Failure::transport(&crate::secret::authority(url), "TLS settings", e).error;
    match builder.build() {
        Ok(client) => Ok(client),
        // A machine without any root certificates can still use a plain-http registry.
        Err(_) if url.scheme() == "http" => base().tls_certs_only([]).build().map_err(failed),
        Err(e) => Err(failed(e)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|e| Error::io("read", path, e))
}

fn unusable(path: &Path, reason: &str) -> Error {
    Error::InvalidHosts { path: path.to_owned(), line: 1, reason: reason.to_owned() }
}

impl Session {
    /// Sends a request to a server and gives the final answer if it is a success, or 416 when a range was asked for.
    pub(super) async fn send(&self, endpoint: &Endpoint, query: &Query<'_>, what: &str) -> Result<Response, Failure> {
        let known = self.known_authorization(endpoint);
        let response = self.follow(endpoint, query, what, known.as_ref()).await?;
        let is_own = redirect::same_origin(response.url(), &endpoint.base);
        if response.status() != StatusCode::UNAUTHORIZED || !is_own {
            return self.finish(endpoint, query, what, response).await;
        }
        // What was sent, if anything, is not good (any more): answer the challenge once.
        self.forget_authorization(endpoint);
        let headers = response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenge = match challenge::choose(headers, &endpoint.base) {
            Ok(challenge) => challenge,
            Err(reason) => {
                let repository = self.reference.path().to_owned();
                return Err(Failure::never(Error::Unauthorized {
                    host: endpoint.host(),
                    repository,
                    reason: reason.to_owned(),
                }));
            }
        };
        drop(response);
        let Some(fresh) = self.authorize(endpoint, &challenge).await? else {
            let repository = self.reference.path().to_owned();
            let reason = "it wants a user name and password, and this pull has none for it".to_owned();
            return Err(Failure::never(Error::Unauthorized { host: endpoint.host(), repository, reason }));
        };
        let response = self.follow(endpoint, query, what, Some(&fresh)).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.forget_authorization(endpoint);
        }
        self.finish(endpoint, query, what, response).await
    }

    /// Sends and follows redirects; private headers go to the server itself only.
    async fn follow(
        &self,
        endpoint: &Endpoint,
        query: &Query<'_>,
        what: &str,
        auth: Option<&Authorization>,
    ) -> Result<Response, Failure> {
        let mut url = query.url.clone();
        for _ in 0..=limits::REDIRECTS {
            let own = redirect::same_origin(&url, &endpoint.base);
            let response = self.send_once(endpoint, query, &url, auth.filter(|_| own), what).await?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            url = redirect::target(&url, response.headers()).map_err(|reason| {
                let host = crate::secret::authority(&url);
                Failure::never(Error::Protocol { host, what: what.to_owned(), answer: reason.to_owned() })
            })?;
        }
        let answer = "more than ten redirects".to_owned();
        Err(Failure::never(Error::Protocol { host: endpoint.host(), what: what.to_owned(), answer }))
    }

    async fn send_once(
        &self,
        endpoint: &Endpoint,
        query: &Query<'_>,
        url: &Url,
        auth: Option<&Authorization>,
        what: &str,
    ) -> Result<Response, Failure> {
        let own = redirect::same_origin(url, &endpoint.base);
        // Another server gets neither our client certificate nor the extra headers; it may be signed by the same authority.
        let foreign = Transport { client: Vec::new(), ..endpoint.transport.clone() };
        let transport = if own { &endpoint.transport } else { &foreign };
        let client = self.registry.clients.get(transport, url).map_err(Failure::never)?;
        let mut request = client.request(query.method.clone(), url.clone());
        if let Some(accept) = query.accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some((first, tag)) = &query.range {
            request = request.header(RANGE, format!("bytes={first}-"));
            if let Some(tag) = tag {
                request = request.header(IF_RANGE, tag.clone());
            }
        }
        if own {
            let mut own_authorization = false;
            for (name, value) in &endpoint.headers {
                // Both were checked when the file was read.
                let (Ok(name), Ok(mut value)) =
                    (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value.expose()))
                else {
                    continue;
                };
                value.set_sensitive(true);
                own_authorization |= name == AUTHORIZATION;
                request = request.header(name, value);
            }
            if let Some(auth) = auth.filter(|_| !own_authorization) {
                request = request.header(AUTHORIZATION, auth.header());
            }
        }
        let host = crate::secret::authority(url);
        let timeout = self.registry.settings.progress_timeout;
        match tokio::time::timeout(timeout, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(e)) => Err(Failure::transport(&host, what, e)),
            Err(_) => Err(Failure::never(Error::Stalled { host, what: what.to_owned(), after: timeout })),
        }
    }

    async fn finish(
        &self,
        endpoint: &Endpoint,
        query: &Query<'_>,
        what: &str,
        response: Response,
    ) -> Result<Response, Failure> {
        let status = response.status();
        let is_range_answer = query.range.is_some() && status == StatusCode::RANGE_NOT_SATISFIABLE;
        if matches!(status.as_u16(), 200 | 206) || is_range_answer {
            return Ok(response);
        }
        let host = crate::secret::authority(response.url());
        let headers = response.headers().clone();
        let mut pace = blob::Pace::new(self.registry.settings.progress_timeout, endpoint.host(), what.to_owned());
        let body = pace.beginning(response, limits::ERROR_BODY_BYTES).await;
        let asked = Asked { host: &host, repository: self.reference.path(), what };
        Err(of_status(&asked, status, &headers, &body))
    }

    /// A request to a token server, with redirects; `auth` goes to that server only.
    pub(super) async fn ask_token_server(
        &self,
        endpoint: &Endpoint,
        realm: &Url,
        form: Option<String>,
        auth: Option<HeaderValue>,
    ) -> Result<Vec<u8>, Failure> {
        const WHAT: &str = "a token";
        let own = redirect::same_origin(realm, &endpoint.base);
        let foreign = Transport { client: Vec::new(), ..endpoint.transport.clone() };
        let transport = if own { &endpoint.transport } else { &foreign };
        let timeout = self.registry.settings.progress_timeout;
        let mut url = realm.clone();
        for _ in 0..=limits::REDIRECTS {
            let client = self.registry.clients.get(transport, &url).map_err(Failure::never)?;
            let host = crate::secret::authority(&url);
            let at_realm = redirect::same_origin(&url, realm);
            let mut request = match &form {
                // A form holds a refresh token: it is sent to the realm and never along a redirect.
                Some(form) if at_realm => client
                    .post(url.clone())
                    .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form.clone()),
                Some(_) => {
                    let answer = "a redirect of a token request".to_owned();
                    return Err(Failure::never(Error::Protocol { host, what: WHAT.to_owned(), answer }));
                }
                None => client.get(url.clone()),
            };
            if let Some(auth) = auth.as_ref().filter(|_| at_realm) {
                request = request.header(AUTHORIZATION, auth.clone());
            }
            let response = match tokio::time::timeout(timeout, request.send()).await {
                Ok(Ok(response)) => response,
                Ok(Err(e)) => return Err(Failure::transport(&host, WHAT, e)),
                Err(_) => return Err(Failure::never(Error::Stalled { host, what: WHAT.to_owned(), after: timeout })),
            };
            let status = response.status();
            let mut pace = blob::Pace::new(timeout, host.clone(), WHAT.to_owned());
            if status == StatusCode::OK {
                return pace.collect(response, limits::TOKEN_BYTES as u64).await;
            }
            if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                url = redirect::target(&url, response.headers()).map_err(|reason| {
                    Failure::never(Error::Protocol { host, what: WHAT.to_owned(), answer: reason.to_owned() })
                })?;
                continue;
            }
            let headers = response.headers().clone();
            let body = pace.beginning(response, limits::ERROR_BODY_BYTES).await;
            return Err(of_status(
                &Asked { host: &host, repository: self.reference.path(), what: WHAT },
                status,
                &headers,
                &body,
            ));
        }
        let answer = "more than ten redirects".to_owned();
        Err(Failure::never(Error::Protocol { host: crate::secret::authority(realm), what: WHAT.to_owned(), answer }))
    }
}
