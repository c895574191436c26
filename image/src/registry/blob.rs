// SPDX-License-Identifier: Apache-2.0
//! Blobs as they come, over broken connections: whoever reads sees each byte once and in order, whatever it took to get them.
//!
//! A broken download goes on at its byte by `Range`. A server that ignores the range (200), answers another one, or knows none (416) is
//! asked for the whole, and the bytes that were had are skipped (R53, R54). Bytes of two answers are never joined at a wrong place: the
//! place is checked, and the digest is checked by the reader.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::client::Query;
use super::failure::Failure;
use super::{Need, Session};
use crate::error::Error;
use crate::hosts::Endpoint;
use crate::limits;
use crate::manifest::Descriptor;

/// What travels to the unpacking thread. A channel that closes without one of the last two was given up.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    End,
    Failed(Error),
}

/// Where bytes go.
pub(crate) enum Sink<'a> {
    Memory(&'a mut Vec<u8>),
    /// To the unpacking thread; waiting for it is not the registry's fault and doesn't count against its time.
    Channel(&'a mpsc::Sender<Piece>),
}

impl Sink<'_> {
    async fn put(&mut self, bytes: Bytes) -> Result<(), Error> {
        match self {
            Sink::Memory(buffer) => buffer.extend_from_slice(&bytes),
            // The reader is gone: it found an error, which is the one to report.
            Sink::Channel(channel) => {
                channel.send(Piece::Bytes(bytes)).await.map_err(|_| Error::Interrupted { what: "a layer" })?
            }
        }
        Ok(())
    }
}

/// Whether a try brought new bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progressed {
    Yes,
    No,
}

/// The state of one blob's download.
struct Download {
    /// Bytes that the sink has.
    position: u64,
    /// A strong entity tag of the server that sent the last bytes.
    tag: Option<HeaderValue>,
    /// The server can't continue in the middle.
    whole: bool,
}

impl Session {
    /// Sends the bytes of `blob` from `start` on into `sink`. Its size is verified, its digest is the reader's part.
    pub(crate) async fn blob(&self, blob: &Descriptor, start: u64, mut sink: Sink<'_>) -> Result<(), Error> {
        let mut attempts = self.attempts(Need::Pull)?;
        let mut download = Download { position: start, tag: None, whole: false };
        while download.position < blob.size {
            let before = download.position;
            let endpoint = attempts.endpoint();
            let failure = match self.blob_once(endpoint, blob, &mut download, &mut sink).await {
                Ok(()) => break,
                Err(failure) => failure,
            };
            let progressed = if download.position > before { Progressed::Yes } else { Progressed::No };
            let pause = attempts.after(failure, progressed)?;
            if !std::ptr::eq(endpoint, attempts.endpoint()) {
                (download.tag, download.whole) = (None, false);
            }
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    async fn blob_once(
        &self,
        endpoint: &Endpoint,
        blob: &Descriptor,
        download: &mut Download,
        sink: &mut Sink<'_>,
    ) -> Result<(), Failure> {
        let what = format!("blob {} of {}", blob.digest, self.reference.name());
        let url = self.url(endpoint, "blobs", &blob.digest.to_string());
        let ranged = download.position > 0 && !download.whole;
        let range = ranged.then(|| (download.position, download.tag.clone()));
        let response = self.send(endpoint, &Query { range, ..Query::new(Method::GET, url) }, &what).await?;
        let mut skip = 0;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if ranged && continues(response.headers(), download.position, blob.size) => {}
            StatusCode::OK => {
                skip = download.position;
                if let Some(length) = response.content_length()
                    && length > blob.size
                {
                    return Err(Failure::never(too_long(&what, blob.size)));
                }
            }
            _ => {
                download.whole = true;
                let answer = "a range that was not asked for".to_owned();
                return Err(Failure::soon(Error::Protocol { host: endpoint.host(), what, answer }));
            }
        }
        download.tag = response.headers().get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")).cloned();
        let mut pace =
            Pace::new(self.registry.settings.progress_timeout, crate::secret::authority(response.url()), what.clone());
        let mut response = response;
        while let Some(mut bytes) = pace.chunk(&mut response).await? {
            let skipped = skip.min(bytes.len() as u64);
            skip -= skipped;
            let fresh = bytes.split_off(skipped as usize);
            if download.position + fresh.len() as u64 > blob.size {
                return Err(Failure::never(too_long(&what, blob.size)));
            }
            if !fresh.is_empty() {
                let length = fresh.len() as u64;
                sink.put(fresh).await.map_err(Failure::never)?;
                download.position += length;
            }
        }
        if download.position < blob.size {
            let cause = format!("the answer ended after {} of {} bytes", download.position, blob.size);
            return Err(Failure::soon(Error::Unavailable { host: endpoint.host(), what, cause }));
        }
        Ok(())
    }
}

fn too_long(what: &str, size: u64) -> Error {
    Error::corrupt(what, format!("the registry sends more than the {size} bytes of its manifest"))
}

/// Whether a 206 answer is exactly the rest (RFC 9110, 14.4: `bytes first-last/total`).
fn continues(headers: &HeaderMap, position: u64, size: u64) -> bool {
    let parse = || {
        let (range, total) = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let total = if total == "*" { size } else { total.parse().ok()? };
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, total))
    };
    parse().is_some_and(|(first, last, total)| first == position && total == size && last < size && last >= first)
}

/// Reads bodies, and gives up on a server that lets too much time pass with too few bytes. Only waiting for the network counts.
pub(super) struct Pace {
    limit: Duration,
    waited: Duration,
    bytes: u64,
    host: String,
    what: String,
}

impl Pace {
    pub(super) fn new(limit: Duration, host: String, what: String) -> Pace {
        Pace { limit, waited: Duration::ZERO, bytes: 0, host, what }
    }

    pub(super) async fn chunk(&mut self, response: &mut Response) -> Result<Option<Bytes>, Failure> {
        let started = Instant::now();
        let result = tokio::time::timeout(self.limit.saturating_sub(self.waited), response.chunk()).await;
        self.waited += started.elapsed();
        match result {
            Ok(Ok(Some(bytes))) => {
                self.bytes += bytes.len() as u64;
                if self.bytes >= limits::PROGRESS_BYTES {
                    (self.bytes, self.waited) = (0, Duration::ZERO);
                }
                Ok(Some(bytes))
            }
            Ok(Ok(None)) => Ok(None),
            Ok(Err(e)) => Err(Failure::transport(&self.host, &self.what, e)),
            Err(_) => Err(Failure::never(Error::Stalled {
                host: self.host.clone(),
                what: self.what.clone(),
                after: self.limit,
            })),
        }
    }

    /// A whole body of at most `most_bytes`.
    pub(super) async fn collect(&mut self, mut response: Response, most_bytes: u64) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(bytes) = self.chunk(&mut response).await? {
            if body.len() as u64 + bytes.len() as u64 > most_bytes {
                return Err(Failure::never(Error::Limit {
                    what: self.what.clone(),
                    limit: format!("{most_bytes} bytes"),
                }));
            }
            body.extend_from_slice(&bytes);
        }
        Ok(body)
    }

    /// The first bytes of an error's body, as far as they come.
    pub(super) async fn beginning(&mut self, mut response: Response, most_bytes: usize) -> Vec<u8> {
        self.limit = self.limit.min(Duration::from_secs(5));
        let mut body = Vec::new();
        while let Ok(Some(bytes)) = self.chunk(&mut response).await {
            let room = most_bytes - body.len();
            body.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if body.len() == most_bytes {
                break;
            }
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_rest_continues() {
        let check = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_RANGE, value.parse().unwrap());
            continues(&headers, 10, 100)
        };
        assert!(check("bytes 10-99/100") && check("bytes 10-99/*") && check("bytes 10-50/100"));
        for bad in [
            "bytes 11-99/100",
            "bytes 0-99/100",
            "bytes 10-99/101",
            "bytes 10-100/100",
            "bytes 10-9/100",
            "bytes */100",
            "items 10-99/100",
            "",
        ] {
            assert!(!check(bad), "{bad}");
        }
        assert!(!continues(&HeaderMap::new(), 10, 100));
    }
}
