// SPDX-License-Identifier: Apache-2.0
//! HTTP/1.1 over one connection per call: enough to push to a registry and to look at a pod's page.
//!
//! The connection is opened inside a node, so that the caller sees what a program on that node sees.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result};

use crate::limits;
use crate::node::Node;

/// What to ask for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Method, in capitals.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Further header fields.
    pub headers: Vec<(&'a str, String)>,
    /// Body, may be empty.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// A plain GET.
    #[must_use]
    pub fn get(target: &'a str) -> Request<'a> {
        Request { method: "GET", target, headers: Vec::new(), body: b"" }
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header field of this name (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Calls a server from inside a node and reads the answer to its end.
///
/// # Errors
/// When there is no connection, no answer in time, or one that is not HTTP.
pub fn call(node: &Node, server: SocketAddr, request: &Request<'_>) -> Result<Response> {
    let mut stream = node
        .run(move || TcpStream::connect_timeout(&server, limits::HTTP))?
        .with_context(|| format!("connect to {server} on node {}", node.name()))?;
    stream.set_read_timeout(Some(limits::HTTP))?;
    stream.set_write_timeout(Some(limits::HTTP))?;
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nContent-Length: {}\r\n",
        request.method,
        request.target,
        request.body.len()
    );
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).context("send the head")?;
    stream.write_all(request.body).context("send the body")?;
    let mut answer = Vec::new();
    stream.take(limits::HTTP_BODY_BYTES).read_to_end(&mut answer).context("read the answer")?;
    parse(&answer).with_context(|| format!("understand the answer of {server}"))
}

/// Splits an answer that was read to the end of the connection.
fn parse(answer: &[u8]) -> Result<Response> {
    let end =
        answer.windows(4).position(|window| window == b"\r\n\r\n").context("the head of the answer has no end")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .context("the answer has no status line")?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Response { status, headers, body: answer[end + 4..].to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let answer = parse(b"HTTP/1.0 202 Accepted\r\nLocation: /a:b\r\nX: y\r\n\r\nbody").unwrap();
        assert_eq!(answer.status, 202);
        assert_eq!(answer.header("location"), Some("/a:b"));
        assert_eq!(answer.text(), "body");
        assert!(parse(b"HTTP/1.0 202 Accepted\r\n").is_err());
        assert!(parse(b"nonsense\r\n\r\n").is_err());
    }
}
