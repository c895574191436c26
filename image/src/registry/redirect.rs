// SPDX-License-Identifier: Apache-2.0
//! Where a redirect may lead (threats.md 1F): at most ten hops, never from https to http, and without anything private once the scheme,
//! host or port differs from the server that was asked.

use reqwest::Url;
use reqwest::header::{HeaderMap, LOCATION};

/// Resolves the `Location` of an answer to a request for `from`.
///
/// # Errors
/// Why it is not followed, as the end of a sentence.
pub(super) fn target(from: &Url, headers: &HeaderMap) -> Result<Url, &'static str> {
    let location = headers.get(LOCATION).ok_or("a redirect without a Location")?;
    let location = location.to_str().map_err(|_| "a redirect to a Location that is no text")?;
    let url = from.join(location).map_err(|_| "a redirect to an invalid URL")?;
    match (from.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err("a redirect from https to http"),
        _ => return Err("a redirect to something other than http and https"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a redirect to a URL with a user name");
    }
    Ok(url)
}

/// Whether two URLs are on the same server.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host_str() == b.host_str() && a.port_or_known_default() == b.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_followed() {
        let from = Url::parse("https://r.io/v2/a/blobs/x").unwrap();
        let go = |location: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, location.parse().unwrap());
            target(&from, &headers).map(|url| url.to_string())
        };
        assert_eq!(go("/other").unwrap(), "https://r.io/other");
        assert_eq!(go("//cdn.io/b").unwrap(), "https://cdn.io/b");
        for bad in ["http://r.io/x", "ftp://r.io/", "file:///etc/passwd", "https://u:p@r.io/", "https://["] {
            assert!(go(bad).is_err(), "{bad}");
        }
        assert!(target(&from, &HeaderMap::new()).is_err());
        let same = |other: &str| same_origin(&from, &Url::parse(other).unwrap());
        assert!(same("https://r.io:443/y"));
        assert!(!same("https://r.io:8443/") && !same("http://r.io/") && !same("https://x.r.io/"));
    }
}
