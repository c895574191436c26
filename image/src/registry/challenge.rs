// SPDX-License-Identifier: Apache-2.0
//! `WWW-Authenticate` (RFC 9110, 11.6.1; distribution token spec), from hostile servers.

use reqwest::Url;

use crate::limits;

/// What a registry wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: Url, service: Option<String>, scope: Option<String> },
}

/// The challenge to answer: Bearer before Basic. `registry` is the server that sent it: one that speaks https can't send us to http.
///
/// # Errors
/// Why none of them can be answered, as the end of a sentence.
pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>, registry: &Url) -> Result<Challenge, &'static str> {
    let mut basic = false;
    let mut refused = None;
    for header in headers.filter(|header| header.len() <= limits::CHALLENGE_BYTES) {
        for (scheme, parameters) in split(header) {
            if scheme.eq_ignore_ascii_case("basic") {
                basic = true;
            } else if scheme.eq_ignore_ascii_case("bearer") {
                match bearer(&parameters, registry) {
                    Ok(challenge) => return Ok(challenge),
                    Err(reason) => refused = Some(reason),
                }
            }
        }
    }
    match (basic, refused) {
        (true, _) => Ok(Challenge::Basic),
        (false, Some(reason)) => Err(reason),
        (false, None) => Err("it asks for no authentication that is known"),
    }
}

fn bearer(parameters: &[(String, String)], registry: &Url) -> Result<Challenge, &'static str> {
    let get =
        |name: &str| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    let realm = get("realm").ok_or("its token server has no URL")?;
    let realm = Url::parse(&realm).map_err(|_| "its token server's URL is invalid")?;
    match (registry.scheme(), realm.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err("its token server has no https"),
        _ => return Err("its token server's URL is invalid"),
    }
    if !realm.username().is_empty() || realm.password().is_some() || !realm.has_host() {
        return Err("its token server's URL is invalid");
    }
    Ok(Challenge::Bearer { realm, service: get("service"), scope: get("scope") })
}

/// Splits a header into schemes with their parameters. Commas separate both; a word without `=` before it starts a scheme.
fn split(header: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        if end == 0 {
            return found;
        }
        let (word, after) = rest.split_at(end);
        let after_space = after.trim_start_matches([' ', '\t']);
        match after_space.strip_prefix('=') {
            Some(value) if !found.is_empty() => {
                let (value, after) = parameter(value.trim_start_matches([' ', '\t']));
                if let Some((_, parameters)) = found.last_mut() {
                    parameters.push((word.to_owned(), value));
                }
                rest = after;
            }
            // A parameter before any scheme is nonsense; so is all that follows.
            Some(_) => return found,
            None => {
                found.push((word.to_owned(), Vec::new()));
                rest = after_space;
            }
        }
    }
}

/// A token or a quoted string with `\` escapes, and what follows it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(registry: &str, headers: &[&str]) -> Result<Challenge, &'static str> {
        choose(headers.iter().copied(), &Url::parse(registry).unwrap())
    }

    #[test]
    fn forms_that_registries_send() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let Challenge::Bearer { realm, service, scope } = at("https://registry-1.docker.io/v2/", &[hub]).unwrap()
        else {
            panic!()
        };
        assert_eq!(realm.as_str(), "https://auth.docker.io/token");
        assert_eq!(
            (service.as_deref(), scope.as_deref()),
            (Some("registry.docker.io"), Some("repository:a/b:pull,push"))
        );
        assert_eq!(at("https://r.io", &[r#"Basic realm="x, Bearer realm=\"y\"""#]).unwrap(), Challenge::Basic);
        let both = at("https://r.io", &["Basic realm=x", "bearer REALM = \"https://t.io/\" , service=s"]).unwrap();
        assert!(matches!(both, Challenge::Bearer { service: Some(s), scope: None, .. } if s == "s"));
        let one_line = at("http://r.io", &["Negotiate, Basic realm=\"a\", Bearer realm=\"http://t.io/\""]).unwrap();
        assert!(matches!(one_line, Challenge::Bearer { .. }));
    }

    #[test]
    fn forms_that_are_not_answered() {
        for header in [
            r#"Bearer realm="http://evil/token""#,
            r#"Bearer realm="file:///etc/passwd""#,
            r#"Bearer realm="https://u:p@evil/""#,
            r#"Bearer realm="not a url""#,
            "Bearer",
            "realm=\"https://x/\"",
            "Negotiate",
            "",
            "=",
            "\"",
            "Bearer realm=\"unterminated",
        ] {
            assert!(at("https://r.io", &[header]).is_err(), "{header}");
        }
        assert!(at("https://r.io", &[&format!("Basic {}", "x".repeat(20_000))]).is_err());
    }
}
