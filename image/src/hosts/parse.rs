// SPDX-License-Identifier: Apache-2.0
//! From the text of a `hosts.toml` to endpoints, walking the document by hand: that keeps the order of `[host]` tables and gives each
//! error its line.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ALL, Capabilities, Endpoint, Transport, Verify, default_endpoint};
use crate::credentials::Upstream;
use crate::error::Error;
use crate::reference::DOCKER_HUB;
use crate::secret::Secret;

type Value<'i> = Spanned<DeValue<'i>>;

struct Document<'a> {
    path: &'a Path,
    text: &'a str,
    domain: &'a str,
}

/// The keys of one server, not yet an endpoint.
struct Settings {
    capabilities: Capabilities,
    transport: Transport,
    headers: Vec<(String, Secret)>,
    api_root: ApiRoot,
}

#[derive(Clone, Copy, PartialEq)]
enum ApiRoot {
    /// `/v2` is added to the URL's path.
    Appended,
    /// `override_path = true`: the path is the API root.
    AsWritten,
}

/// Parses the file for `domain`.
pub(super) fn hosts_toml(path: &Path, text: &str, domain: &str) -> Result<Vec<Endpoint>, Error> {
    let document = Document { path, text, domain };
    let table = DeTable::parse(text).map_err(|e| {
        let at = e.span().map_or(0, |span| span.start);
        document.error(at, e.message().to_owned())
    })?;
    document.endpoints(table.get_ref())
}

impl Document<'_> {
    fn error(&self, at: usize, reason: String) -> Error {
        let line = self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|b| **b == b'\n').count() + 1;
        Error::InvalidHosts { path: self.path.to_owned(), line, reason }
    }

    fn wrong(&self, span: Range<usize>, key: &str, want: &str) -> Error {
        self.error(span.start, format!("{key} must be {want}"))
    }

    fn endpoints(&self, table: &DeTable<'_>) -> Result<Vec<Endpoint>, Error> {
        let mut hosts = Vec::new();
        let mut server = None;
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "server" => server = Some((self.string("server", value)?, value.span())),
                "host" => hosts = self.hosts(value)?,
                _ => {}
            }
        }
        let settings = self.settings(table, &["server", "host"])?;
        let upstream = match server {
            None => {
                let plain = default_endpoint(self.domain)?;
                Endpoint {
                    capabilities: settings.capabilities,
                    transport: settings.transport,
                    headers: settings.headers,
                    ..plain
                }
            }
            Some((text, span)) => self.endpoint(&text, span, settings, Upstream::Yes)?,
        };
        // `[host."https://registry-1.docker.io"]` is the registry itself under its own settings; asking it twice would change nothing.
        if !hosts.iter().any(|host: &Endpoint| host.base == upstream.base) {
            hosts.push(upstream);
        }
        Ok(hosts)
    }

    fn hosts(&self, value: &Value<'_>) -> Result<Vec<Endpoint>, Error> {
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.wrong(value.span(), "host", "a table for each URL"));
        };
        // The map is sorted by key; the file's order is the order of asking.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut endpoints = Vec::new();
        for (key, value) in entries {
            let DeValue::Table(table) = value.get_ref() else {
                return Err(self.wrong(value.span(), key.get_ref(), "a table"));
            };
            let settings = self.settings(table, &[])?;
            endpoints.push(self.endpoint(key.get_ref(), key.span(), settings, Upstream::No)?);
        }
        Ok(endpoints)
    }

    fn endpoint(
        &self,
        text: &str,
        span: Range<usize>,
        settings: Settings,
        upstream: Upstream,
    ) -> Result<Endpoint, Error> {
        let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let mut base =
            Url::parse(&full).map_err(|e| self.error(span.start, format!("the server's URL is invalid: {e}")))?;
        let clean = matches!(base.scheme(), "http" | "https")
            && base.has_host()
            && base.query().is_none()
            && base.username().is_empty();
        if !clean || base.password().is_some() {
            return Err(self.error(span.start, "a server is http:// or https://, a host and a path".to_owned()));
        }
        let path = base.path().trim_end_matches('/').to_owned();
        let path =
            if settings.api_root == ApiRoot::Appended && !path.ends_with("/v2") { format!("{path}/v2") } else { path };
        base.set_path(&path);
        let host = crate::secret::authority(&base);
        let is_registry = host == self.domain || (self.domain == DOCKER_HUB && host == "registry-1.docker.io");
        Ok(Endpoint {
            capabilities: settings.capabilities,
            transport: settings.transport,
            headers: settings.headers,
            upstream: if is_registry { Upstream::Yes } else { upstream },
            namespace: (!is_registry).then(|| self.domain.to_owned()),
            base,
        })
    }

    fn settings(&self, table: &DeTable<'_>, elsewhere: &[&str]) -> Result<Settings, Error> {
        let mut settings = Settings {
            capabilities: ALL,
            transport: Transport::default(),
            headers: Vec::new(),
            api_root: ApiRoot::Appended,
        };
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            match name {
                "capabilities" => settings.capabilities = self.capabilities(value)?,
                "ca" => settings.transport.ca = self.files(name, value)?,
                "client" => settings.transport.client = self.client(value)?,
                "skip_verify" if self.boolean(name, value)? => settings.transport.verify = Verify::Nothing,
                "override_path" if self.boolean(name, value)? => settings.api_root = ApiRoot::AsWritten,
                "skip_verify" | "override_path" => {}
                "header" => settings.headers = self.headers(value)?,
                "dial_timeout" => settings.transport.dial_timeout = Some(self.duration(name, value)?),
                _ if elsewhere.contains(&name) => {}
                _ => {
                    return Err(self.error(
                        key.span().start,
                        format!("the key \"{}\" is not known", crate::secret::printable(name, 60)),
                    ));
                }
            }
        }
        Ok(settings)
    }

    fn string(&self, key: &str, value: &Value<'_>) -> Result<String, Error> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            _ => Err(self.wrong(value.span(), key, "a string")),
        }
    }

    fn boolean(&self, key: &str, value: &Value<'_>) -> Result<bool, Error> {
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(*flag),
            _ => Err(self.wrong(value.span(), key, "true or false")),
        }
    }

    /// A string, or an array of strings.
    fn strings(&self, key: &str, value: &Value<'_>) -> Result<Vec<String>, Error> {
        match value.get_ref() {
            DeValue::String(_) => Ok(vec![self.string(key, value)?]),
            DeValue::Array(items) => items.iter().map(|item| self.string(key, item)).collect(),
            _ => Err(self.wrong(value.span(), key, "a string or a list of strings")),
        }
    }

    fn capabilities(&self, value: &Value<'_>) -> Result<Capabilities, Error> {
        let mut capabilities = Capabilities { pull: false, resolve: false };
        for name in self.strings("capabilities", value)? {
            match name.as_str() {
                "pull" => capabilities.pull = true,
                "resolve" => capabilities.resolve = true,
                "push" | "referrers" => {}
                _ => return Err(self.wrong(value.span(), "capabilities", "out of pull, resolve, push and referrers")),
            }
        }
        Ok(capabilities)
    }

    fn file(&self, name: String) -> PathBuf {
        // A relative path is relative to the file; `join` keeps an absolute one.
        self.path.parent().unwrap_or(Path::new("/")).join(name)
    }

    fn files(&self, key: &str, value: &Value<'_>) -> Result<Vec<PathBuf>, Error> {
        Ok(self.strings(key, value)?.into_iter().map(|name| self.file(name)).collect())
    }

    /// A file, a list of files, or a list of `[certificate, key]` pairs.
    fn client(&self, value: &Value<'_>) -> Result<Vec<(PathBuf, Option<PathBuf>)>, Error> {
        let DeValue::Array(items) = value.get_ref() else {
            return Ok(self.files("client", value)?.into_iter().map(|file| (file, None)).collect());
        };
        let mut pairs = Vec::new();
        for item in items {
            let mut names = self.files("client", item)?.into_iter();
            match (names.next(), names.next(), names.next()) {
                (Some(certificate), key, None) => pairs.push((certificate, key)),
                _ => return Err(self.wrong(item.span(), "client", "files or pairs of certificate and key")),
            }
        }
        Ok(pairs)
    }

    fn headers(&self, value: &Value<'_>) -> Result<Vec<(String, Secret)>, Error> {
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.wrong(value.span(), "header", "a table of strings"));
        };
        let mut headers = Vec::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                return Err(self.wrong(key.span(), "header", "a table with HTTP header names as keys"));
            }
            for text in self.strings(name, value)? {
                if http::HeaderValue::from_str(&text).is_err() {
                    return Err(self.wrong(value.span(), "header", "made of values without control characters"));
                }
                headers.push((name.to_owned(), Secret::new(text)));
            }
        }
        Ok(headers)
    }

    /// A Go duration of one unit (`1.5s`, `200ms`), or whole seconds.
    fn duration(&self, key: &str, value: &Value<'_>) -> Result<Duration, Error> {
        const WANT: &str = "a time such as \"5s\" or \"500ms\", above zero and at most an hour";
        let seconds = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse::<f64>().ok(),
            DeValue::String(text) => parse_seconds(text),
            _ => None,
        };
        match seconds {
            Some(seconds) if seconds > 0.0 && seconds <= 3600.0 => Ok(Duration::from_secs_f64(seconds)),
            _ => Err(self.wrong(value.span(), key, WANT)),
        }
    }
}

fn parse_seconds(text: &str) -> Option<f64> {
    let (number, scale) = match text {
        t if t.ends_with("ms") => (t.strip_suffix("ms")?, 0.001),
        t if t.ends_with('s') => (t.strip_suffix('s')?, 1.0),
        t if t.ends_with('m') => (t.strip_suffix('m')?, 60.0),
        _ => return None,
    };
    number.parse::<f64>().ok().map(|value| value * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, domain: &str) -> Result<Vec<Endpoint>, Error> {
        hosts_toml(Path::new("/etc/husk/certs.d/x/hosts.toml"), text, domain)
    }

    #[test]
    fn order_settings_and_upstream() {
        let text = r#"
server = "https://registry-1.docker.io"
dial_timeout = "2s"

[host."http://z.mirror:5000"]
  capabilities = ["pull"]
  skip_verify = true

[host."https://a.mirror/prefix"]
  ca = "ca.pem"
  client = [["c.pem", "/k.pem"], ["both.pem"]]
  dial_timeout = "500ms"
  [host."https://a.mirror/prefix".header]
    x-key = ["1", "2"]

[host."m.mirror/root/"]
  override_path = true
"#;
        let found = parse(text, "docker.io").unwrap();
        let bases: Vec<_> = found.iter().map(|e| e.base.as_str()).collect();
        assert_eq!(
            bases,
            [
                "http://z.mirror:5000/v2",
                "https://a.mirror/prefix/v2",
                "https://m.mirror/root",
                "https://registry-1.docker.io/v2"
            ]
        );
        assert_eq!(found[0].capabilities, Capabilities { pull: true, resolve: false });
        assert_eq!(found[0].transport.verify, Verify::Nothing);
        assert_eq!(found[1].transport.ca, [Path::new("/etc/husk/certs.d/x/ca.pem")]);
        assert_eq!(found[1].transport.client[0], ("/etc/husk/certs.d/x/c.pem".into(), Some("/k.pem".into())));
        assert_eq!(found[1].transport.client[1].1, None);
        assert_eq!(found[1].transport.dial_timeout, Some(Duration::from_millis(500)));
        assert_eq!(found[1].headers.len(), 2);
        assert_eq!((found[0].namespace.as_deref(), found[3].namespace.as_deref()), (Some("docker.io"), None));
        assert_eq!((found[0].upstream, found[3].upstream), (Upstream::No, Upstream::Yes));
        assert_eq!(found[3].transport.dial_timeout, Some(Duration::from_secs(2)));

        let own_server = parse("server = 'http://127.0.0.1:5000'", "gcr.io").unwrap();
        assert_eq!((own_server.len(), own_server[0].upstream), (1, Upstream::Yes));
        assert_eq!(own_server[0].namespace.as_deref(), Some("gcr.io"));
        let implied = parse("[host.'https://m']", "gcr.io").unwrap();
        assert_eq!(implied[1].base.as_str(), "https://gcr.io/v2");
    }

    #[test]
    fn errors_have_lines() {
        for (text, line, word) in [
            ("server = \"x.io\"\nskip_verfy = true", 2, "skip_verfy"),
            ("\n[host.\"https://m\"]\n  capabilities = [\"steal\"]", 3, "capabilities"),
            ("[host.\"https://m\"]\nskip_verify = 1", 2, "skip_verify"),
            ("[host.\"ftp://m\"]", 1, "http"),
            ("server = \"https://u:p@m\"", 1, "http"),
            ("server = 3", 1, "server"),
            ("a = \n", 1, ""),
            ("[host.m]\ndial_timeout = '-1s'", 2, "dial_timeout"),
            ("[host.m]\nrewrite = {}", 2, "rewrite"),
            ("[host.m.header]\n'a b' = 'c'", 2, "header"),
            ("host = 1", 1, "host"),
        ] {
            let Error::InvalidHosts { line: found, reason, .. } = parse(text, "x.io").unwrap_err() else {
                panic!("{text}")
            };
            assert_eq!(found, line, "{text}: {reason}");
            assert!(reason.contains(word), "{reason}");
        }
    }
}
