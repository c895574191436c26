// SPDX-License-Identifier: Apache-2.0
//! Finding, holding, removing, collecting, and starting again after a crash or a reboot.

use std::fs;

use super::*;
use crate::error::Kind;
use crate::sample::image::{Form, Sample};
use crate::sample::script::{Files, Script};
use crate::sample::tar::Tar;

/// A store with `a:1` and `a:2` (one image), `b:1`, whose base layer both share.
async fn filled() -> (Bench, Store, Script, [Sample; 2]) {
    let base = || (Tar::new().dir("./", 0o755).file("base", "base"), Form::Gzip);
    let top = |name: &str| (Tar::new().dir("./", 0o755).file(name, name), Form::Gzip);
    let samples = [Sample::new("a", vec![base(), top("a")]), Sample::new("b", vec![base(), top("b")])];
    let files = Files::default().image("a", "1", &samples[0]).image("a", "2", &samples[0]).image("b", "1", &samples[1]);
    let script = Script::start(move |request| files.answer(request));
    let bench = Bench::new();
    let store = bench.store();
    for name in ["a:1", "a:2", "b:1"] {
        pull(&store, &format!("{}/{name}", script.host())).await.unwrap();
    }
    (bench, store, script, samples)
}

#[tokio::test]
async fn images_are_found_by_everything_that_names_them() {
    let (_bench, store, script, samples) = filled().await;
    let id = samples[0].id();
    let host = script.host();
    let digest = samples[0].digest();
    for spec in [
        id.to_string(),
        id.hex().to_owned(),
        id.hex()[..12].to_owned(),
        format!("sha256:{}", &id.hex()[..20]),
        format!("{host}/a:1"),
        format!("{host}/a:2"),
        format!("{host}/a@{digest}"),
        format!("{host}/a:9@{digest}"),
    ] {
        assert_eq!(store.find(&spec).unwrap().unwrap_or_else(|| panic!("{spec}")).id, id, "{spec}");
    }
    for spec in [
        format!("{host}/a:3"),
        format!("{host}/a"),
        "busybox".into(),
        format!("{host}/b@{digest}"),
        Digest::of(b"").to_string(),
        "deadbeef".into(),
    ] {
        assert!(store.find(&spec).unwrap().is_none(), "{spec}");
    }
    for spec in ["", "UPPER/:x", "a b", "sha256:"] {
        assert_eq!(store.find(spec).unwrap_err().kind(), Kind::InvalidInput, "{spec}");
    }
    let shared = (1..64).rev().find(|n| samples[1].id().hex()[..*n] == id.hex()[..*n]).unwrap_or(0);
    if shared > 0 {
        assert_eq!(store.find(&id.hex()[..shared]).unwrap_err().kind(), Kind::InvalidInput);
    }
    let image = store.find(&id.to_string()).unwrap().unwrap();
    assert_eq!(image.repo_tags, [format!("{host}/a:1"), format!("{host}/a:2")]);
}

#[test]
fn an_ambiguous_prefix_names_its_count() {
    let image = |first: &str| {
        let id = ImageId::parse(&format!("sha256:{first}{}", "0".repeat(64 - first.len()))).unwrap();
        let config = crate::config::parse(br#"{"rootfs":{}}"#).unwrap().config;
        Arc::new(Image {
            id,
            repo_tags: vec![],
            repo_digests: vec![],
            size_bytes: 1,
            config,
            layers: vec![],
            pinned: false,
        })
    };
    let images = [image("abc1"), image("abc2")];
    assert!(matches!(find::find(&images, "abc"), Err(Error::AmbiguousId { count: 2, .. })));
    assert!(matches!(find::find(&images, "abc2"), Ok(Some(_))));
}

#[tokio::test]
async fn removal_by_tag_and_by_id() {
    let (bench, store, script, samples) = filled().await;
    let host = script.host();
    let one = store.remove(&format!("{host}/a:1")).await.unwrap();
    assert_eq!((one.names, one.image), (vec![format!("{host}/a:1")], None));
    assert_eq!(store.find(&samples[0].id().to_string()).unwrap().unwrap().repo_tags, [format!("{host}/a:2")]);
    let last = store.remove(&format!("{host}/a:2")).await.unwrap();
    assert_eq!(last.image, Some(samples[0].id()));
    assert!(last.freed_bytes > 0);
    assert_eq!(bench.names("layers").len(), 2, "the shared base stays");
    assert_eq!(store.remove(&format!("{host}/a:2")).await.unwrap(), Removed::default());
    let by_id = store.remove(&samples[1].id().hex()[..16]).await.unwrap();
    assert_eq!(by_id.image, Some(samples[1].id()));
    assert!(
        store.list().is_empty()
            && bench.names("layers").is_empty()
            && bench.names("records").is_empty()
            && bench.names("blobs/sha256").is_empty()
    );
    assert_usage_is_true(&bench, &store);
    assert_eq!(store.remove("not a name").await.unwrap_err().kind(), Kind::InvalidInput);
}

#[tokio::test]
async fn held_layers_outlive_their_image_and_a_restart() {
    let (bench, store, _script, samples) = filled().await;
    let held = store.hold("container", &samples[0].id()).unwrap();
    for sample in &samples {
        store.remove(&sample.id().to_string()).await.unwrap();
    }
    assert!(store.list().is_empty());
    assert_eq!(fs::read_to_string(held.directories[1].join("base")).unwrap(), "base");
    assert_eq!(bench.names("layers").len(), 2);
    assert!(matches!(store.hold("other", &samples[0].id()), Err(Error::NotFound { .. })));
    drop(store);
    let store = bench.store();
    store.hold_layers("container", &held.layers);
    assert_eq!(store.directories(&held.layers), held.directories);
    assert_eq!(store.collect_garbage().await.unwrap().layers, 0);
    assert!(held.directories[0].join("a").is_file());
    store.release("container");
    store.release("container");
    let collected = store.collect_garbage().await.unwrap();
    assert!(collected.layers == 2 && collected.bytes > 0);
    assert!(bench.names("layers").is_empty());
    assert_usage_is_true(&bench, &store);
}

#[tokio::test]
async fn a_restart_finds_everything_and_puts_damage_aside() {
    let (bench, store, script, samples) = filled().await;
    let before = store.list();
    store.0.sync_once().unwrap();
    drop(store);
    let store = bench.store();
    assert_eq!(*store.list(), *before);
    assert_usage_is_true(&bench, &store);
    drop(store);

    let record = |sample: &Sample| bench.root().join("records").join(format!("{}.json", sample.id().hex()));
    let good = fs::read(record(&samples[0])).unwrap();
    let newer = String::from_utf8(good.clone()).unwrap().replace("\"version\": 1", "\"version\": 2");
    for damaged in [&b""[..], b"{", &good[..good.len() / 2], newer.as_bytes(), br#"{"version":1}"#] {
        fs::write(record(&samples[0]), damaged).unwrap();
        let store = bench.store();
        assert_eq!(store.list().len(), 1, "the other image is there");
        assert_eq!(bench.names("quarantine").len(), 1);
        assert_usage_is_true(&bench, &store);
    }
    for (name, directory) in [("junk", false), ("dir.json", true)] {
        let path = bench.root().join("records").join(name);
        if directory { fs::create_dir(path).unwrap() } else { fs::write(path, "x").unwrap() }
    }
    fs::write(bench.root().join("blobs/sha256").join(samples[1].id().hex()), "damaged").unwrap();
    let store = bench.store();
    assert!(store.list().is_empty());
    assert_eq!(bench.names("quarantine").len(), 4);
    // A pull repairs it all.
    pull(&store, &format!("{}/b:1", script.host())).await.unwrap();
    drop(store);
    assert_eq!(bench.store().list().len(), 1);
}

#[tokio::test]
async fn a_crash_in_the_middle_leaves_only_what_the_next_start_collects() {
    let (bench, store, _script, _) = filled().await;
    drop(store);
    let layers = bench.root().join("layers");
    for name in [".tmp-1-1", ".dead-9-9"] {
        fs::create_dir_all(layers.join(name).join("fs/deep")).unwrap();
        fs::write(layers.join(name).join("fs/deep/file"), vec![7; 100_000]).unwrap();
    }
    let broken = layers.join("0".repeat(64));
    fs::create_dir_all(broken.join("fs")).unwrap();
    fs::write(bench.root().join("records/.tmp-1-2"), "x").unwrap();
    fs::write(bench.root().join("blobs/sha256/.tmp-1-3"), "x").unwrap();
    fs::create_dir_all(bench.root().join("partial/old-boot")).unwrap();
    fs::write(bench.root().join("partial/old-boot/x"), vec![1; 50_000]).unwrap();
    let boot = layout::boot_id().unwrap();
    let (stale, fresh) = ("1".repeat(64), "2".repeat(64));
    for name in [&stale, &fresh] {
        fs::write(bench.root().join("partial").join(&boot).join(name), vec![1; 50_000]).unwrap();
    }
    let two_hours_ago = std::time::SystemTime::now() - Duration::from_secs(7200);
    fs::File::open(bench.root().join("partial").join(&boot).join(&stale)).unwrap().set_modified(two_hours_ago).unwrap();
    let store = bench.store();
    assert_eq!(store.list().len(), 2);
    assert_usage_is_true(&bench, &store);
    let collected = store.collect_garbage().await.unwrap();
    assert_eq!(collected.partials, 2);
    assert!(collected.bytes >= 300_000);
    bench.assert_tidy();
    assert_eq!(bench.names("layers").len(), 3);
    assert_eq!(bench.names("partial"), [boot.as_str()]);
    assert_eq!(bench.names(&format!("partial/{boot}")), [fresh.as_str()]);
    assert_usage_is_true(&bench, &store);
}

#[tokio::test]
async fn after_a_reboot_only_durable_layers_count() {
    let (bench, store, _script, samples) = filled().await;
    store.0.sync_once().unwrap();
    drop(store);
    let top = bench.root().join("layers").join(samples[0].layers[1].diff_id.hex());
    fs::remove_file(top.join("durable")).unwrap();
    // The same boot: the page cache is enough.
    assert_eq!(bench.store().list().len(), 2);
    let store = Store::open_in_boot(&bench.root(), bench.options(), "another-boot").unwrap();
    assert_eq!(store.list().iter().map(|image| image.id.clone()).collect::<Vec<_>>(), [samples[1].id()]);
    assert_eq!(bench.names("records").len(), 1);
    store.collect_garbage().await.unwrap();
    assert!(!top.exists());
    assert_usage_is_true(&bench, &store);
}

#[tokio::test]
async fn pinned_names_are_shown() {
    let (bench, store, script, samples) = filled().await;
    drop(store);
    let options = Options { pinned: vec![format!("{}/b:1", script.host())], ..bench.options() };
    let store = Store::open(&bench.root(), options).unwrap();
    assert!(store.find(&samples[1].id().to_string()).unwrap().unwrap().pinned);
    assert!(!store.find(&samples[0].id().to_string()).unwrap().unwrap().pinned);
}
