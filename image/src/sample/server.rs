// SPDX-License-Identifier: Apache-2.0
//! Debian's `docker-registry` on a free port of the loopback interface, and the pushing that tests need.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::image::Sample;

pub(crate) struct Server {
    child: Child,
    host: String,
    _directory: tempfile::TempDir,
}

impl Server {
    /// Starts a registry; `htpasswd` is the content of such a file, with bcrypt hashes.
    pub(crate) fn start(htpasswd: Option<&str>) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let auth = htpasswd.map_or(String::new(), |content| {
            std::fs::write(path("htpasswd"), content).unwrap();
            format!("auth:\n  htpasswd:\n    realm: tests\n    path: {}\n", path("htpasswd").display())
        });
        let config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n{auth}",
            path("data").display()
        );
        std::fs::write(path("config.yml"), config).unwrap();
        let mut command = Command::new("/usr/bin/docker-registry");
        command
            .arg("serve")
            .arg(path("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .env_remove("OTEL_TRACES_EXPORTER");
        let mut child = command.spawn().expect("Debian's docker-registry must be installed");
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let host = log
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                Some(line.split_once("listening on ")?.1.split(['"', ' ']).next()?.trim_end_matches(',').to_owned())
            })
            .expect("the registry says where it listens");
        std::thread::spawn(move || log.for_each(drop));
        Server { child, host, _directory: directory }
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Uploads an image under a repository and tag.
    pub(crate) async fn push(&self, repository: &str, tag: &str, sample: &Sample, login: Option<(&str, &str)>) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let base = format!("http://{}/v2/{repository}", self.host);
        let send = async |request: reqwest::RequestBuilder| {
            let request = match login {
                Some((user, password)) => request.basic_auth(user, Some(password)),
                None => request,
            };
            let response = request.send().await.unwrap();
            assert!(response.status().is_success(), "{}: {}", response.url(), response.status());
            response
        };
        for (digest, bytes) in sample.blobs() {
            let started = send(client.post(format!("{base}/blobs/uploads/"))).await;
            let location = started.headers()["location"].to_str().unwrap().to_owned();
            let mut url = started.url().join(&location).unwrap();
            url.query_pairs_mut().append_pair("digest", &digest.to_string());
            send(client.put(url).body(bytes)).await;
        }
        let manifest = client.put(format!("{base}/manifests/{tag}")).header("content-type", sample.manifest_type);
        send(manifest.body(sample.manifest.clone())).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
