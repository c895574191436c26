// SPDX-License-Identifier: Apache-2.0
//! HTTPS with certificates made for the test: unknown authorities, `ca`, `skip_verify`, client certificates.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::error::Kind;
use crate::sample::image::Sample;
use crate::sample::script::{Files, Request};

/// A certificate for 127.0.0.1 that signs itself, from the openssl program.
fn certificate(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) = (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
    let run = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
        ])
        .arg(format!("/CN={name}"))
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "extendedKeyUsage=serverAuth,clientAuth",
            "-keyout",
        ])
        .args([&key, Path::new("-out"), &certificate])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    (certificate, key)
}

/// Serves `files` over TLS on threads that end with the process; each connection answers one request.
fn serve(files: Files, (certificate, key): (PathBuf, PathBuf), client_root: Option<PathBuf>) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match client_root {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(path).unwrap()).unwrap();
            builder.with_client_cert_verifier(
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap(),
            )
        }
    };
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let config = Arc::new(builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, files) = (Arc::clone(&config), files.clone());
            std::thread::spawn(move || {
                let connection = rustls::ServerConnection::new(config).unwrap();
                let mut stream = BufReader::new(rustls::StreamOwned::new(connection, stream));
                let mut lines = Vec::new();
                let mut line = String::new();
                // A refused handshake ends here.
                while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                    lines.push(std::mem::take(&mut line));
                }
                let Some(first) = lines.first() else { return };
                let mut words = first.split_whitespace();
                let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
                let reply = files.answer(&Request { method, target, headers: Default::default(), body: String::new() });
                let kind =
                    reply.headers.iter().find(|(name, _)| name == "Content-Type").map_or("x", |(_, value)| value);
                let head = format!(
                    "HTTP/1.1 {} X\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
                    reply.status,
                    reply.body.len()
                );
                let stream = stream.get_mut();
                let _gone = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&reply.body));
                stream.conn.send_close_notify();
                let _gone = stream.flush();
            });
        }
    });
    address
}

#[tokio::test]
async fn certificates_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let sample = Sample::small("tls");
    let files = Files::default().image("a", "1", &sample);
    let server = certificate(directory.path(), "server");
    let client = certificate(directory.path(), "client");
    let plain = serve(files.clone(), server.clone(), None);
    let mutual = serve(files, server.clone(), Some(client.0.clone()));
    let with = async |address: &str, extra: &str| {
        let bench = Bench::new();
        bench.hosts("r.io", &format!("server = \"https://{address}\"\n{extra}"));
        pull(&bench.store(), "r.io/a:1").await
    };
    let error = with(&plain, "").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("certificate"), "{error}");
    let ca = format!("ca = \"{}\"\n", server.0.display());
    assert_eq!(with(&plain, &ca).await.unwrap().id, sample.id());
    assert_eq!(with(&plain, "skip_verify = true\n").await.unwrap().id, sample.id());
    assert!(with(&mutual, &ca).await.is_err(), "the server wants a client certificate");
    let pair = format!("{ca}client = [[\"{}\", \"{}\"]]\n", client.0.display(), client.1.display());
    assert_eq!(with(&mutual, &pair).await.unwrap().id, sample.id());
    let error = with(&plain, "ca = \"/nonexistent.pem\"\n").await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent.pem"), "{error}");
}
