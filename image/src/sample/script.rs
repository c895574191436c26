// SPDX-License-Identifier: Apache-2.0
//! A plain HTTP server whose every answer a test decides, down to the byte at which it breaks off.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use super::image::Sample;

/// What a client asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query, and for a proxy with scheme and host.
    pub(crate) target: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }
}

/// A door that a test opens.
#[derive(Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    pub(crate) fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    pub(crate) fn wait(&self) {
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.changed.wait(open).unwrap();
        }
    }
}

/// What the server answers.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// What Content-Length says, if it isn't the truth; nothing at all if `Some(None)`.
    pub(crate) length: Option<Option<usize>>,
    /// Bytes of the body that are sent before the connection closes, or before the gate must open.
    pub(crate) first: Option<usize>,
    /// What must open before the rest is sent (before the head if `first` is zero).
    pub(crate) gate: Option<Arc<Gate>>,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Vec::new(), length: None, first: None, gate: None }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Reply {
        Reply { body: body.into(), ..Reply::new(200) }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// The running server. Dropping it ends its threads.
pub(crate) struct Script {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    seen: Arc<Condvar>,
    ending: Arc<AtomicBool>,
    ended: Arc<Gate>,
    accepting: Option<std::thread::JoinHandle<()>>,
}

impl Script {
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Script {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (seen, ending, ended) =
            (Arc::new(Condvar::new()), Arc::new(AtomicBool::new(false)), Arc::new(Gate::default()));
        let handler: Arc<Handler> = Arc::new(handler);
        let (log, notify, stop, end) =
            (Arc::clone(&requests), Arc::clone(&seen), Arc::clone(&ending), Arc::clone(&ended));
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (handler, log, notify, end) =
                    (Arc::clone(&handler), Arc::clone(&log), Arc::clone(&notify), Arc::clone(&end));
                std::thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    log.lock().unwrap().push(request.clone());
                    notify.notify_all();
                    let reply = handler(&request);
                    // The client may be gone, which is its right.
                    let _gone = answer(&stream, &request, &reply, &end);
                });
            }
        });
        Script { address, requests, seen, ending, ended, accepting: Some(accepting) }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, matches: impl Fn(&Request) -> bool) -> usize {
        self.requests.lock().unwrap().iter().filter(|request| matches(request)).count()
    }

    /// Blocks until so many requests match.
    pub(crate) fn wait_for(&self, count: usize, matches: impl Fn(&Request) -> bool) {
        let mut requests = self.requests.lock().unwrap();
        while requests.iter().filter(|request| matches(request)).count() < count {
            requests = self.seen.wait(requests).unwrap();
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        self.ended.open();
        drop(TcpStream::connect(self.address));
        self.accepting.take().unwrap().join().unwrap();
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, target, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn answer(mut stream: &TcpStream, request: &Request, reply: &Reply, ended: &Gate) -> std::io::Result<()> {
    let head_first = reply.first != Some(0) || reply.gate.is_none();
    if !head_first {
        wait(reply, ended);
    }
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    match reply.length {
        None => head.push_str(&format!("Content-Length: {}\r\n", reply.body.len())),
        Some(Some(length)) => head.push_str(&format!("Content-Length: {length}\r\n")),
        Some(None) => {}
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if request.method == "HEAD" {
        return Ok(());
    }
    let first = reply.first.unwrap_or(reply.body.len()).min(reply.body.len());
    stream.write_all(&reply.body[..first])?;
    if reply.gate.is_some() {
        if head_first {
            wait(reply, ended);
        }
        stream.write_all(&reply.body[first..])?;
    }
    Ok(())
}

/// Waits for the reply's gate. A gate that is never opened ends with the server.
fn wait(reply: &Reply, ended: &Gate) {
    match &reply.gate {
        Some(gate) if !std::ptr::eq(gate.as_ref(), ended) => gate.wait(),
        _ => ended.wait(),
    }
}

/// A well-behaved registry for some images, to be bent by a test.
#[derive(Clone, Default)]
pub(crate) struct Files(HashMap<String, (String, Vec<u8>)>);

impl Files {
    /// Adds an image under `repository` with a tag.
    pub(crate) fn image(mut self, repository: &str, tag: &str, sample: &Sample) -> Files {
        for (digest, bytes) in sample.blobs() {
            self.0.insert(format!("/v2/{repository}/blobs/{digest}"), ("application/octet-stream".to_owned(), bytes));
        }
        self.manifest(repository, tag, sample.manifest_type, &sample.manifest)
    }

    /// Adds a manifest or index by tag and digest.
    pub(crate) fn manifest(mut self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> Files {
        let digest = crate::digest::Digest::of(bytes).to_string();
        for name in [tag, &digest] {
            self.0.insert(format!("/v2/{repository}/manifests/{name}"), (media_type.to_owned(), bytes.to_vec()));
        }
        self
    }

    /// Answers as a registry should, with ranges.
    pub(crate) fn answer(&self, request: &Request) -> Reply {
        let Some((media_type, bytes)) = self.0.get(request.path()) else {
            return Reply {
                status: 404,
                ..Reply::ok(r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such thing"}]}"#)
            };
        };
        let tag = format!("\"{}\"", crate::digest::Digest::of(bytes));
        let reply = Reply::new(200)
            .header("Content-Type", media_type)
            .header("ETag", tag)
            .header("Docker-Content-Digest", crate::digest::Digest::of(bytes).to_string());
        let range =
            request.header("range").and_then(|v| v.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        match range {
            Some(first) if first < bytes.len() => {
                let content_range = format!("bytes {first}-{}/{}", bytes.len() - 1, bytes.len());
                Reply { status: 206, body: bytes[first..].to_vec(), ..reply.header("Content-Range", content_range) }
            }
            Some(_) => Reply::new(416),
            None => Reply { body: bytes.clone(), ..reply },
        }
    }
}
