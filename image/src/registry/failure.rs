// SPDX-License-Identifier: Apache-2.0
//! A failed request with what it says about trying again, and the way from HTTP answers to errors.

use std::error::Error as _;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use serde::Deserialize;

use super::retry::parse_retry_after;
use crate::error::Error;
use crate::limits;

/// An error, and when the same server may be asked again.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) again: Again,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    Soon,
    After(Duration),
}

impl Failure {
    pub(super) fn never(error: Error) -> Failure {
        Failure { error, again: Again::Never }
    }

    pub(super) fn soon(error: Error) -> Failure {
        Failure { error, again: Again::Soon }
    }

    /// A request that got no answer, or whose body broke off.
    pub(super) fn transport(host: &str, what: &str, error: reqwest::Error) -> Failure {
        let error = error.without_url();
        let cause = deepest(&error);
        let tls = tls_error(&error);
        let failed = Error::Unavailable { host: host.to_owned(), what: what.to_owned(), cause };
        // A certificate that isn't trusted won't be in a second.
        if tls { Failure::never(failed) } else { Failure::soon(failed) }
    }
}

/// The last cause says what happened ("Connection refused"); the outer ones only that something did.
fn deepest(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    crate::secret::printable(&cause.to_string(), limits::ERROR_TEXT_BYTES)
}

fn tls_error(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = error.source();
    while let Some(current) = cause {
        let inner = current.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
        if current.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        cause = current.source();
    }
    false
}

/// Where an answer came from, for its error.
pub(super) struct Asked<'a> {
    pub(super) host: &'a str,
    pub(super) repository: &'a str,
    pub(super) what: &'a str,
}

/// Turns an answer that is no success into a failure; `body` is the beginning of its body.
pub(super) fn of_status(
    asked: &Asked<'_>,
    status: StatusCode,
    headers: &reqwest::header::HeaderMap,
    body: &[u8],
) -> Failure {
    let host = asked.host.to_owned();
    let what = asked.what.to_owned();
    let words = words_of(body);
    let answer = match words.as_str() {
        "" => format!("status {}", status.as_u16()),
        words => format!("status {} ({words})", status.as_u16()),
    };
    match status.as_u16() {
        401 | 403 => {
            Failure::never(Error::Unauthorized { host, repository: asked.repository.to_owned(), reason: answer })
        }
        404 => Failure::never(Error::NotFound { reference: what, place: format!(" at {host}") }),
        408 | 425 | 429 | 500..=599 => {
            let error = Error::Unavailable { host, what, cause: answer };
            match headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(parse_retry_after) {
                Some(pause) => Failure { error, again: Again::After(pause) },
                None => Failure::soon(error),
            }
        }
        _ => Failure::never(Error::Protocol { host, what, answer }),
    }
}

/// A registry's own words (distribution-spec, "error codes"), cleaned and cut; plain text is taken as it is, HTML pages are not.
fn words_of(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        errors: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let text = match serde_json::from_slice::<Body>(body) {
        Ok(body) => {
            let items = body.errors.iter().take(3).map(|item| match (item.code.as_str(), item.message.as_str()) {
                (code, "") => code.to_owned(),
                ("", message) => message.to_owned(),
                (code, message) => format!("{code}: {message}"),
            });
            items.collect::<Vec<_>>().join(", ")
        }
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            if text.trim_start().starts_with(['<', '{', '[']) { String::new() } else { text.trim().to_owned() }
        }
    };
    crate::secret::printable(&text, limits::ERROR_TEXT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn statuses_become_kinds() {
        let asked = Asked { host: "r.io", repository: "a/b", what: "r.io/a/b:x" };
        let headers = reqwest::header::HeaderMap::new();
        for (status, kind, again) in [
            (401, Kind::Unauthorized, Again::Never),
            (403, Kind::Unauthorized, Again::Never),
            (404, Kind::NotFound, Again::Never),
            (408, Kind::Unavailable, Again::Soon),
            (418, Kind::Corrupt, Again::Never),
            (429, Kind::Unavailable, Again::Soon),
            (500, Kind::Unavailable, Again::Soon),
            (504, Kind::Unavailable, Again::Soon),
        ] {
            let failure = of_status(&asked, StatusCode::from_u16(status).unwrap(), &headers, b"<html>");
            assert_eq!((failure.error.kind(), failure.again), (kind, again), "{status}");
        }
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        let body = br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow\ndown https://u:p@h/?token=x"}]}"#;
        let failure = of_status(&asked, StatusCode::TOO_MANY_REQUESTS, &headers, body);
        assert_eq!(failure.again, Again::After(Duration::from_secs(7)));
        let text = failure.error.to_string();
        assert!(text.starts_with("RegistryUnavailable") && text.contains("slow down https://h/?[redacted]"), "{text}");
    }
}
