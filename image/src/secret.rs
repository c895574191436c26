// SPDX-License-Identifier: Apache-2.0
//! What keeps credentials and presigned URLs out of logs and errors: a type without `Debug` text, a URL redactor, and a cleaner for
//! text that a registry wrote.

use std::fmt;

use reqwest::Url;

/// A password or token. It has no text form; [`Secret::expose`] marks the places that send it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Takes over the secret text.
    pub(crate) fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for a request and nothing else.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// `scheme://host[:port]` of a URL.
pub(crate) fn origin(url: &Url) -> String {
    format!("{}://{}", url.scheme(), authority(url))
}

/// `host[:port]` of a URL, the port only when it isn't the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Foreign text made fit for one line of a log or an error: control characters become spaces, what follows `?` in a URL and what
/// precedes `@` in its authority is dropped, and the result is cut to `max_bytes`.
pub(crate) fn printable(text: &str, max_bytes: usize) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(|c: char| c.is_whitespace() || c.is_control()) {
        let (body, separator) = match word.char_indices().next_back() {
            Some((at, last)) if last.is_whitespace() || last.is_control() => (&word[..at], " "),
            _ => (word, ""),
        };
        push_redacted(&mut out, body);
        out.push_str(separator);
        if out.len() > max_bytes {
            break;
        }
    }
    if out.len() > max_bytes {
        let cut = (0..=max_bytes).rev().find(|at| out.is_char_boundary(*at)).unwrap_or(0);
        out.truncate(cut);
        out.push('…');
    }
    out
}

fn push_redacted(out: &mut String, word: &str) {
    let Some(scheme_end) = word.find("://") else {
        out.push_str(word);
        return;
    };
    let (head, rest) = word.split_at(scheme_end + 3);
    out.push_str(head);
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    out.push_str(authority.rsplit('@').next().unwrap_or_default());
    match path.find(['?', '#']) {
        Some(end) => {
            out.push_str(&path[..end]);
            out.push_str("?[redacted]");
        }
        None => out.push_str(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_no_text() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some([redacted])");
    }

    #[test]
    fn urls_lose_what_is_private() {
        let url = Url::parse("https://user:pw@s3.example:8443/bucket/x?X-Amz-Signature=abc#frag").unwrap();
        assert_eq!((origin(&url).as_str(), authority(&url).as_str()), ("https://s3.example:8443", "s3.example:8443"));
        let text = "get \"https://u:pw@h/x?sig=abc\" failed\nnext https://h/y";
        let clean = printable(text, 200);
        assert_eq!(clean, "get \"https://h/x?[redacted] failed next https://h/y");
        assert!(printable(&"ä".repeat(300), 101).len() <= 104);
        assert_eq!(printable("a\u{1b}[31mb\0c", 100), "a [31mb c");
    }
}
