// SPDX-License-Identifier: Apache-2.0
//! A real registry on a node's loopback: Debian's `docker-registry`, and how to push to it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;

use crate::http::{self, Request, Response};
use crate::images::{Blob, Built};
use crate::limits;
use crate::node::Node;
use crate::process::{Process, timespec};

/// The one user of a registry with authentication.
pub const USER: &str = "husk";
/// That user's password.
pub const PASSWORD: &str = "s3cret-of-husk";
/// The line of the htpasswd file for both: bcrypt (the only form the registry takes), cost 4 so that a
/// check takes a millisecond.
const HTPASSWD: &str = "husk:$2b$04$CmicQSI4MY1ZKTMyxOux0OBqF400FPPIY5gNt9r0/6bA6CtWv/1Kq\n";

/// Who may pull and push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Only [`USER`] with [`PASSWORD`], by HTTP basic authentication.
    Basic,
}

/// A running registry. It ends when the value is dropped; its directory belongs to the caller.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    access: Access,
    process: Child,
    log: PathBuf,
}

impl Registry {
    /// Starts a registry on the node's loopback, which keeps what it has below `directory`, and waits
    /// until it listens.
    ///
    /// # Errors
    /// When the program is missing (install `docker-registry`) or does not come up.
    pub fn start(node: &Node, directory: &Path, access: Access) -> Result<Registry> {
        fs::create_dir_all(directory.join("data")).context("make the registry's directory")?;
        // A free port of the node: the listener that found it closes before the registry binds it, and
        // nobody else in the node's namespace takes ports.
        let address = node
            .run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr())?
            .context("find a free port on the node's loopback")?;
        let configuration = directory.join("config.yml");
        fs::write(&configuration, config(directory, address, access))?;
        fs::write(directory.join("htpasswd"), HTPASSWD)?;
        let log = directory.join("log");
        let file = File::create(&log)?;
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&watch, &log, inotify::WatchFlags::MODIFY)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&configuration).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let process =
            node.run(move || command.spawn())?.context("start docker-registry: install the package docker-registry")?;
        let mut registry = Registry { address, access, process, log };
        registry.wait_until_it_listens(&watch)?;
        Ok(registry)
    }

    /// Where it listens, as seen on its node.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The full reference of a repository and tag in this registry.
    #[must_use]
    pub fn reference(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.address)
    }

    /// What the registry has written, for failure messages.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How often a blob of a repository was asked for, whole or in part. The registry writes a request down when it
    /// has answered it, which may be a moment after the client has the last byte.
    #[must_use]
    pub fn fetches(&self, repository: &str, digest: &str) -> usize {
        let target = format!("/v2/{repository}/blobs/{digest}");
        let answered = |line: &&str| {
            line.contains("msg=\"response completed") && line.contains("method=GET ") && line.contains(&target)
        };
        self.log().lines().filter(answered).count()
    }

    /// Pushes an image: its layers, its configuration, and its manifest under the tag.
    ///
    /// # Errors
    /// When the registry refuses; the message has its answer.
    pub fn push(&self, node: &Node, repository: &str, tag: &str, image: &Built) -> Result<()> {
        for blob in image.layers.iter().chain([&image.config]) {
            self.push_blob(node, repository, blob)?;
        }
        self.push_manifest(node, repository, tag, &image.manifest)
    }

    /// Pushes one blob in one request after the upload was opened (distribution-spec, "POST then PUT").
    ///
    /// # Errors
    /// When the registry refuses.
    pub fn push_blob(&self, node: &Node, repository: &str, blob: &Blob) -> Result<()> {
        let open = format!("/v2/{repository}/blobs/uploads/");
        let opened = self.call(node, "POST", &open, ("Accept", "*/*"), b"")?;
        ensure!(opened.status == 202, "open an upload: {opened:?}");
        let location = opened.header("location").context("the upload has no location")?;
        let start = location.find("/v2/").context("a strange location")?;
        let target = format!("{}&digest={}", &location[start..], blob.digest);
        let kind = ("Content-Type", "application/octet-stream");
        let put = self.call(node, "PUT", &target, kind, &blob.bytes)?;
        ensure!(put.status == 201, "upload {}: {}", blob.digest, put.text());
        Ok(())
    }

    /// Puts a manifest or index under a tag.
    ///
    /// # Errors
    /// When the registry refuses, for instance because it lacks a blob.
    pub fn push_manifest(&self, node: &Node, repository: &str, tag: &str, manifest: &Blob) -> Result<()> {
        let target = format!("/v2/{repository}/manifests/{tag}");
        let kind = ("Content-Type", manifest.media_type.as_str());
        let put = self.call(node, "PUT", &target, kind, &manifest.bytes)?;
        ensure!(put.status == 201, "push {repository}:{tag}: {}", put.text());
        Ok(())
    }

    fn call(
        &self,
        node: &Node,
        method: &str,
        target: &str,
        (name, value): (&str, &str),
        body: &[u8],
    ) -> Result<Response> {
        let mut headers = vec![(name, value.to_owned())];
        if self.access == Access::Basic {
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
            headers.push(("Authorization", format!("Basic {pair}")));
        }
        let request = Request { method, target, headers, body };
        http::call(node, self.address, &request)
    }

    /// The registry says so in its log when it listens.
    fn wait_until_it_listens(&mut self, watch: &std::os::fd::OwnedFd) -> Result<()> {
        let pidfd = Process::read(self.process.id()).and_then(|process| process.pidfd());
        let pidfd = pidfd.with_context(|| format!("docker-registry ended: {}", self.log()))?;
        let deadline = Instant::now() + limits::REGISTRY_START;
        while !self.log().contains("listening on") {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(watch, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timespec(left))))?;
            if fds[1].revents().contains(PollFlags::IN) || left.is_zero() {
                bail!("docker-registry does not listen: {}", self.log());
            }
            // Only the fact that something changed matters; read it away.
            let _ = rustix::io::read(watch, &mut [0; 4096]);
        }
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The registry's configuration file.
fn config(directory: &Path, address: SocketAddr, access: Access) -> String {
    let directory = directory.display();
    let auth = match access {
        Access::Open => String::new(),
        Access::Basic => {
            format!("auth:\n  htpasswd:\n    realm: husk\n    path: {directory}/htpasswd\n")
        }
    };
    format!(
        "version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
         rootdirectory: {directory}/data\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n{auth}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{Image, Layer};
    use crate::tar::Entry;

    fn push_and_read(access: Access) {
        let node = Node::new("registry").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::start(&node, directory.path(), access).unwrap();
        let built = Image::new(vec![Layer::of(&[Entry::file("a", "1")])]).build();
        registry.push(&node, "some/image", "1", &built).unwrap();
        let get = |headers: Vec<(&str, String)>| {
            let request = Request { headers, ..Request::get("/v2/some/image/manifests/1") };
            http::call(&node, registry.address(), &request).unwrap()
        };
        let accept = ("Accept", built.manifest.media_type.clone());
        let anonymous = get(vec![accept.clone()]);
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let known = get(vec![accept, ("Authorization", format!("Basic {pair}"))]);
        assert_eq!(known.status, 200);
        assert_eq!(known.body, built.manifest.bytes);
        let layer = &built.layers[0];
        assert_eq!(registry.fetches("some/image", &layer.digest), 0);
        let blob = format!("/v2/some/image/blobs/{}", layer.digest);
        let request = Request { headers: vec![("Authorization", format!("Basic {pair}"))], ..Request::get(&blob) };
        assert_eq!(http::call(&node, registry.address(), &request).unwrap().body, layer.bytes);
        let deadline = Instant::now() + limits::HTTP;
        while registry.fetches("some/image", &layer.digest) == 0 && Instant::now() < deadline {}
        assert_eq!(registry.fetches("some/image", &layer.digest), 1);
        match access {
            Access::Open => assert_eq!(anonymous.status, 200),
            Access::Basic => assert_eq!(anonymous.status, 401),
        }
        let pid = registry.process.id();
        drop(registry);
        assert!(Process::read(pid).is_none(), "the registry outlives its value");
    }

    #[test]
    fn an_open_registry_takes_an_image_from_anybody() {
        push_and_read(Access::Open);
    }

    #[test]
    fn a_closed_registry_wants_the_password() {
        push_and_read(Access::Basic);
    }
}
