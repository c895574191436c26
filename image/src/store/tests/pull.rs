// SPDX-License-Identifier: Apache-2.0
//! Pulls that succeed, from Debian's registry and from scripted ones.

use std::fs;

use super::*;
use crate::error::Kind;
use crate::progress::{Phase, Progress};
use crate::sample::image::{Form, OCI_INDEX, Sample, descriptor};
use crate::sample::script::{Files, Reply, Script};
use crate::sample::server::Server;
use crate::sample::tar::{Tar, noise};

#[tokio::test]
async fn an_image_comes_from_a_real_registry() {
    let server = Server::start(None);
    let sample = Sample::small("real");
    server.push("team/app", "1", &sample, None).await;
    let bench = Bench::new();
    let store = bench.store();
    let name = format!("{}/team/app:1", server.host());
    let (progress, mut watcher) = Progress::channel();
    let image = store.pull(&reference(&name), None, progress).await.unwrap();
    assert_eq!(image.id, sample.id());
    assert_eq!(image.repo_tags, std::slice::from_ref(&name));
    assert_eq!(image.repo_digests, [format!("{}/team/app@{}", server.host(), sample.digest())]);
    assert_eq!(image.config.env, ["NAME=real"]);
    assert!(image.size_bytes > 0 && *image.config.raw == *String::from_utf8(sample.config.clone()).unwrap());
    let last = watcher.borrow_and_update().clone();
    assert!(
        last.len() == 2 && last.iter().all(|layer| layer.phase == Phase::Done && layer.done_bytes == layer.size_bytes)
    );
    let held = store.hold("c1", &image.id).unwrap();
    assert_eq!(held.layers, [sample.layers[1].diff_id.clone(), sample.layers[0].diff_id.clone()]);
    assert_eq!(fs::read_to_string(held.directories[0].join("opt/new")).unwrap(), "real");
    assert_eq!(fs::read_to_string(held.directories[1].join("etc/gone")).unwrap(), "1");
    bench.assert_tidy();
    assert!(
        bench.names("partial").len() == 1 && bench.names(&format!("partial/{}", layout::boot_id().unwrap())).is_empty()
    );

    let again = pull(&store, &name).await.unwrap();
    assert_eq!(again.id, image.id);
    let by_digest = pull(&store, &image.repo_digests[0]).await.unwrap();
    assert_eq!((by_digest.id.clone(), by_digest.repo_tags.clone()), (image.id.clone(), vec![name]));
    for missing in ["team/app:2", "team/none:1", &format!("team/app@{}", Digest::of(b"no"))] {
        let error = pull(&store, &format!("{}/{missing}", server.host())).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{error}");
    }
}

#[tokio::test]
async fn basic_authentication_of_a_real_registry() {
    // bcrypt of "hunter2", cost 5.
    let server = Server::start(Some(&format!("user:{}\n", bcrypt_of_hunter2())));
    let sample = Sample::small("private");
    server.push("app", "1", &sample, Some(("user", "hunter2"))).await;
    let bench = Bench::new();
    let store = bench.store();
    let name = reference(&format!("{}/app:1", server.host()));
    let login = |password: &str| {
        let fields = crate::AuthFields { username: "user", password, ..Default::default() };
        crate::Credentials::from_fields(&fields).unwrap()
    };
    for bad in [None, login("wrong-secret")] {
        let error = store.pull(&name, bad, Progress::none()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unauthorized, "{error}");
        assert!(!error.to_string().contains("wrong-secret"));
    }
    assert_eq!(store.pull(&name, login("hunter2"), Progress::none()).await.unwrap().id, sample.id());
}

/// Made once by libxcrypt, so that no tool is needed here.
fn bcrypt_of_hunter2() -> &'static str {
    "$2b$05$emWKVElGXr6a7v8KMemHsek55Oz78MTOGbyQDhhzGAhCMasCgAjsm"
}

#[tokio::test]
async fn all_forms_and_an_index() {
    let layer = |n: u64| Tar::new().dir("./", 0o755).file(&format!("f{n}"), noise(n, 3000));
    let forms = Sample::new("forms", vec![(layer(1), Form::Plain), (layer(2), Form::Gzip), (layer(3), Form::Zstd)]);
    let docker =
        Sample::new("docker", vec![(layer(1), Form::Docker), (layer(4), Form::Docker), (layer(1), Form::Docker)]);
    let other = Sample::small("other");
    let entry = |sample: &Sample, arch: &str| {
        sample.descriptor(&format!(r#","platform":{{"os":"linux","architecture":"{arch}"}}"#))
    };
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#, entry(&other, "arm64"), entry(&forms, "amd64"));
    let arm_only = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entry(&other, "arm64"));
    let files = Files::default()
        .image("a/forms", "child", &forms)
        .image("a/docker", "1", &docker)
        .manifest("a/forms", "1", OCI_INDEX, index.as_bytes())
        .manifest("a/forms", "arm", OCI_INDEX, arm_only.as_bytes());
    let script = Script::start(move |request| files.answer(request));
    let bench = Bench::new();
    let store = bench.store();
    let image = pull(&store, &format!("{}/a/forms:1", script.host())).await.unwrap();
    assert_eq!(image.id, forms.id());
    assert_eq!(image.repo_digests, [format!("{}/a/forms@{}", script.host(), Digest::of(index.as_bytes()))]);
    let image = pull(&store, &format!("{}/a/docker:1", script.host())).await.unwrap();
    assert_eq!(image.layers.len(), 3);
    let held = store.hold("x", &image.id).unwrap();
    assert_eq!(
        held.layers,
        [docker.layers[0].diff_id.clone(), docker.layers[1].diff_id.clone()],
        "a repeated layer counts once, at the top"
    );
    assert_eq!(bench.names("layers").len(), 4, "the shared layer is there once");
    let blobs = script.count(|r| r.path().ends_with(&Digest::of(&docker.layers[0].blob).to_string()));
    assert_eq!(blobs, 0, "a layer that is there under its diff id is not fetched in another form");
    let error = pull(&store, &format!("{}/a/forms:arm", script.host())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("linux/arm64"), "{error}");
    assert_usage_is_true(&bench, &store);
}

#[tokio::test]
async fn an_unchanged_tag_costs_one_head_and_a_moved_one_moves() {
    let (one, two) = (Sample::small("one"), Sample::small("two"));
    let moved = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (old, new) = (Files::default().image("a", "t", &one), Files::default().image("a", "t", &two));
    let flag = std::sync::Arc::clone(&moved);
    let script = Script::start(
        move |request| {
            if flag.load(Ordering::SeqCst) { new.answer(request) } else { old.answer(request) }
        },
    );
    let bench = Bench::new();
    let store = bench.store();
    let name = format!("{}/a:t", script.host());
    let first = pull(&store, &name).await.unwrap();
    let before = script.requests().len();
    assert_eq!(pull(&store, &name).await.unwrap().id, first.id);
    let requests = script.requests();
    assert_eq!(requests[before..].iter().map(|r| r.method.as_str()).collect::<Vec<_>>(), ["HEAD"]);
    moved.store(true, Ordering::SeqCst);
    let second = pull(&store, &name).await.unwrap();
    assert_eq!((second.id.clone(), second.repo_tags.clone()), (two.id(), vec![name.clone()]));
    let old_image = store.find(&first.id.to_string()).unwrap().unwrap();
    assert!(old_image.repo_tags.is_empty() && !old_image.repo_digests.is_empty());
    // Both records survive a restart with the tag on the newer one.
    drop(store);
    let store = bench.store();
    assert_eq!(store.find(&name).unwrap().unwrap().id, two.id());
    assert_eq!(store.list().len(), 2);
}

#[tokio::test]
async fn mirrors_are_asked_in_order_and_named() {
    let sample = Sample::small("mirrored");
    let files = Files::default().image("library/app", "1", &sample);
    let broken = Script::start(|_| Reply::new(503));
    let good_files = files.clone();
    let good = Script::start(move |request| good_files.answer(request));
    let bench = Bench::new();
    bench.hosts(
        "docker.io",
        &format!(
            "server = \"http://{}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n[host.\"http://{}\"]\n[host.\"http://{}\".header]\nx-extra = \"1\"\n",
            broken.host(),
            broken.host(),
            good.host(),
            good.host()
        ),
    );
    let store = bench.store();
    let image = pull(&store, "app:1").await.unwrap();
    assert_eq!(image.repo_tags, ["docker.io/library/app:1"]);
    let requests = good.requests();
    assert!(requests.iter().all(|r| r.target.contains("ns=docker.io") && r.header("x-extra") == Some("1")));
    assert!(broken.requests().len() >= 3, "the first mirror is tried for each document");

    // A mirror without `resolve` gives blobs only.
    let blobs_only = Script::start(move |request| files.answer(request));
    bench.hosts(
        "gcr.io",
        &format!(
            "server = \"http://{}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n",
            good.host(),
            blobs_only.host()
        ),
    );
    let fresh = Bench::new();
    let store = Store::open(&fresh.root(), bench.options()).unwrap();
    pull(&store, "gcr.io/library/app:1").await.unwrap();
    assert!(blobs_only.requests().iter().all(|r| r.path().contains("/blobs/")) && !blobs_only.requests().is_empty());

    bench.hosts("bad.io", "servr = \"x\"");
    let error = pull(&store, "bad.io/x").await.unwrap_err();
    assert!(error.kind() == Kind::InvalidInput && error.to_string().contains("hosts.toml:1"), "{error}");
}

#[tokio::test]
async fn documents_that_contradict_each_other_register_nothing() {
    let sample = Sample::small("x");
    let index_as_manifest = Files::default().image("a", "1", &sample).manifest("a", "1", OCI_INDEX, &sample.manifest);
    let wrong_size = format!(
        r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
        sample.descriptor(r#","platform":{"os":"linux","architecture":"amd64"}"#).replace("\"size\":", "\"size\":1")
    );
    let wrong_size = Files::default().image("a", "c", &sample).manifest("a", "1", OCI_INDEX, wrong_size.as_bytes());
    let mut short = sample.clone();
    let all: Vec<String> = short.layers[..1]
        .iter()
        .map(|l| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &l.blob, ""))
        .collect();
    let config = descriptor("application/vnd.oci.image.config.v1+json", &short.config, "");
    short.manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, all.join(",")).into_bytes();
    let short = Files::default().image("a", "1", &short);
    for files in [index_as_manifest, wrong_size, short] {
        let script = Script::start(move |request| files.answer(request));
        let bench = Bench::new();
        let store = bench.store();
        let error = pull(&store, &format!("{}/a:1", script.host())).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert!(store.list().is_empty() && bench.names("records").is_empty());
    }
}

#[tokio::test]
async fn a_registry_that_refuses_head_is_asked_by_get() {
    let sample = Sample::small("x");
    let files = Files::default().image("a", "1", &sample);
    let script =
        Script::start(move |request| if request.method == "HEAD" { Reply::new(403) } else { files.answer(request) });
    let bench = Bench::new();
    let store = bench.store();
    let name = format!("{}/a:1", script.host());
    pull(&store, &name).await.unwrap();
    let blobs = script.count(|r| r.path().contains("/blobs/"));
    assert_eq!(pull(&store, &name).await.unwrap().id, sample.id());
    assert_eq!(script.count(|r| r.method == "HEAD"), 1);
    assert_eq!(script.count(|r| r.path().contains("/blobs/")), blobs, "what is here is not fetched again");
}
