// SPDX-License-Identifier: Apache-2.0
//! Archives of both kinds, and archives that are none.

use std::fs;

use super::*;
use crate::error::Kind;
use crate::sample::image::{Form, Sample};
use crate::sample::tar::{Tar, gzip, zstd};

fn sample() -> Sample {
    let base = || Tar::new().dir("./", 0o755).file("f", "content");
    let middle = Tar::new().dir("./", 0o755).file("g", "other");
    Sample::new("archive", vec![(base(), Form::Plain), (middle, Form::Plain), (base(), Form::Plain)])
}

async fn load(bytes: &[u8]) -> (Bench, Store, Result<Vec<crate::Loaded>, Error>) {
    let bench = Bench::new();
    let store = bench.store();
    let path = bench.directory.path().join("archive");
    fs::write(&path, bytes).unwrap();
    let result = store.load(path, &[]).await;
    bench.assert_tidy();
    (bench, store, result)
}

#[tokio::test]
async fn both_kinds_in_all_compressions() {
    let sample = sample();
    let oci = sample.oci_archive("docker.io/library/app:1");
    let docker = sample.docker_archive("app:1");
    for archive in [oci.clone(), gzip(&oci), zstd(&oci), docker.clone(), gzip(&docker), zstd(&docker)] {
        let (bench, store, result) = load(&archive).await;
        let loaded = result.unwrap();
        assert_eq!((loaded.len(), loaded[0].names.as_slice()), (1, &["docker.io/library/app:1".to_owned()][..]));
        assert_eq!(loaded[0].image.id, sample.id());
        let held = store.hold("c", &store.find("app:1").unwrap().unwrap().id).unwrap();
        assert_eq!(held.directories.len(), 2);
        assert_eq!(fs::read_to_string(held.directories[0].join("f")).unwrap(), "content");
        assert_usage_is_true(&bench, &store);
        drop(store);
        assert_eq!(bench.store().list().len(), 1);
    }
    let (_, store, result) = load(&sample.oci_archive("latest")).await;
    assert!(result.unwrap()[0].names.is_empty(), "a bare tag names nothing");
    assert_eq!(store.list().len(), 1);
}

#[tokio::test]
async fn names_of_the_caller_take_the_place_of_those_in_the_archive() {
    let bench = Bench::new();
    let store = bench.store();
    let path = bench.directory.path().join("archive");
    fs::write(&path, sample().oci_archive("app:1")).unwrap();
    let names = ["other:2", "localhost/third"].map(|name| Reference::parse(name).unwrap());
    let loaded = store.load(path, &names).await.unwrap();
    assert_eq!(loaded[0].names, ["docker.io/library/other:2", "localhost/third:latest"]);
    assert!(store.find("other:2").unwrap().is_some() && store.find("app:1").unwrap().is_none());
}

#[tokio::test]
async fn archives_that_are_refused() {
    let sample = sample();
    let oci = sample.oci_archive("app:1");
    let mut flipped = oci.clone();
    let places: Vec<usize> = (0..flipped.len() - 7).filter(|at| &flipped[*at..at + 7] == b"content").collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| flipped[at] ^= 1);
    let upward = Tar::new().file("../manifest.json", "[]").bytes();
    let outside = Tar::new().symlink("manifest.json", "../../../../etc/passwd").bytes();
    let looping = Tar::new().symlink("manifest.json", "a").symlink("a", "manifest.json").bytes();
    let wrong_layers = String::from_utf8_lossy(&sample.docker_archive("app:1"))
        .replace("\"layer1/layer.tar\",", "                   ");
    let table = [
        (b"no archive at all".repeat(100), Kind::InvalidInput),
        (Vec::new(), Kind::InvalidInput),
        (Tar::new().file("x", "y").bytes(), Kind::InvalidInput),
        (oci[..oci.len() / 2].to_vec(), Kind::InvalidInput),
        (gzip(&oci)[..oci.len() / 20].to_vec(), Kind::InvalidInput),
        (flipped, Kind::Corrupt),
        (upward, Kind::Corrupt),
        (outside, Kind::InvalidInput),
        (looping, Kind::InvalidInput),
        (wrong_layers.into_bytes(), Kind::Corrupt),
        (sample.docker_archive("UPPER"), Kind::InvalidInput),
        (Tar::new().file("manifest.json", "[]").bytes(), Kind::InvalidInput),
        (Tar::new().file("manifest.json", "{}").bytes(), Kind::InvalidInput),
    ];
    for (number, (archive, kind)) in table.into_iter().enumerate() {
        let (bench, store, result) = load(&archive).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), kind, "row {number}: {error}");
        assert!(store.list().is_empty() && bench.names("records").is_empty(), "row {number}");
    }
    let bench = Bench::new();
    let store = bench.store();
    assert!(store.load(bench.directory.path().join("absent"), &[]).await.is_err());
    assert!(store.load(bench.directory.path().to_owned(), &[]).await.is_err());
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bench.directory.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    assert_eq!(store.load(bench.directory.path().join("fifo"), &[]).await.unwrap_err().kind(), Kind::InvalidInput);
}
