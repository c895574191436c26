// SPDX-License-Identifier: Apache-2.0
//! Many pulls at once (threats.md R59).

use super::*;
use crate::progress::Progress;
use crate::sample::image::{Form, Sample};
use crate::sample::script::{Files, Gate, Reply, Request, Script};
use crate::sample::tar::{Tar, noise};

fn layer(seed: u64) -> (Tar, Form) {
    (Tar::new().dir("./", 0o755).file(&format!("f{seed}"), noise(seed, 300_000)), Form::Gzip)
}

fn is_blob(request: &Request) -> bool {
    request.path().contains("/blobs/")
}

fn is_layer_of(sample: &Sample, layer: usize) -> impl Fn(&Request) -> bool + Send + Sync + 'static {
    let end = Digest::of(&sample.layers[layer].blob).to_string();
    move |request| request.path().ends_with(&end)
}

#[tokio::test]
async fn fifty_pulls_fetch_each_blob_once() {
    let sample = Sample::new("shared", vec![layer(1), layer(2), layer(3)]);
    let files = Files::default().image("a", "1", &sample);
    let script = Script::start(move |request| files.answer(request));
    let bench = Bench::new();
    let store = bench.store();
    let name = format!("{}/a:1", script.host());
    let pulls: Vec<_> = (0..50).map(|_| pull(&store, &name)).collect();
    for result in futures_util::future::join_all(pulls).await {
        assert_eq!(result.unwrap().id, sample.id());
    }
    assert_eq!(script.count(is_blob), 4, "a configuration and three layers");
    bench.assert_tidy();
    assert_usage_is_true(&bench, &store);
}

#[tokio::test]
async fn images_that_share_layers_unpack_them_once() {
    let samples: Vec<Sample> =
        (0..6).map(|n| Sample::new(&format!("s{n}"), vec![layer(1), layer(2), layer(10 + n)])).collect();
    let files = samples
        .iter()
        .enumerate()
        .fold(Files::default(), |files, (n, sample)| files.image(&format!("app{n}"), "1", sample));
    let script = Script::start(move |request| files.answer(request));
    let bench = Bench::new();
    let store = bench.store();
    let names: Vec<String> = (0..6).map(|n| format!("{}/app{n}:1", script.host())).collect();
    for result in futures_util::future::join_all(names.iter().map(|name| pull(&store, name))).await {
        result.unwrap();
    }
    for shared in 0..2 {
        assert_eq!(script.count(is_layer_of(&samples[0], shared)), 1);
    }
    assert_eq!((store.list().len(), bench.names("layers").len()), (6, 8));
}

/// A registry whose layer waits for a gate at its first request.
fn gated(sample: &Sample) -> (Script, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let files = Files::default().image("a", "1", sample).image("b", "1", sample);
    let is_layer = is_layer_of(sample, 0);
    let door = Arc::clone(&gate);
    let script = Script::start(move |request| match files.answer(request) {
        reply if is_layer(request) => Reply { first: Some(280_000), gate: Some(Arc::clone(&door)), ..reply },
        reply => reply,
    });
    (script, gate)
}

/// Waits on a thread of its own until the layer was asked for so many times.
async fn asked(script: &Arc<Script>, sample: &Sample, times: usize) {
    let (script, is_layer) = (Arc::clone(script), is_layer_of(sample, 0));
    tokio::task::spawn_blocking(move || script.wait_for(times, is_layer)).await.unwrap();
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_nobody_else() {
    let sample = Sample::new("x", vec![layer(4)]);
    let (script, gate) = gated(&sample);
    let script = Arc::new(script);
    let bench = Bench::new();
    let store = bench.store();
    let name = format!("{}/a:1", script.host());
    let start = || {
        let (store, name) = (store.clone(), name.clone());
        tokio::spawn(async move { pull(&store, &name).await })
    };
    let (leader, follower) = (start(), start());
    asked(&script, &sample, 1).await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    gate.open();
    assert_eq!(follower.await.unwrap().unwrap().id, sample.id());
    assert_eq!(script.count(is_layer_of(&sample, 0)), 1);
}

#[tokio::test]
async fn a_waiter_takes_over_from_a_cancelled_pull_of_another_image() {
    let sample = Sample::new("x", vec![layer(5)]);
    let (script, gate) = gated(&sample);
    let script = Arc::new(script);
    let bench = Bench::new();
    let store = bench.store();
    let start = |repository: &str| {
        let (store, name) = (store.clone(), format!("{}/{repository}:1", script.host()));
        tokio::spawn(async move { pull(&store, &name).await })
    };
    let leader = start("a");
    asked(&script, &sample, 1).await;
    let waiter = start("b");
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    asked(&script, &sample, 2).await;
    gate.open();
    let image = waiter.await.unwrap().unwrap();
    assert_eq!(image.repo_tags, [format!("{}/b:1", script.host())], "the cancelled pull left no name");
    bench.assert_tidy();
}

#[tokio::test]
async fn the_last_caller_ends_the_work() {
    let sample = Sample::new("x", vec![layer(6)]);
    let (script, gate) = gated(&sample);
    let script = Arc::new(script);
    let bench = Bench::new();
    let store = bench.store();
    let name = format!("{}/a:1", script.host());
    let (progress, mut watcher) = Progress::channel();
    let only = {
        let (store, name) = (store.clone(), reference(&name));
        tokio::spawn(async move { store.pull(&name, None, progress).await })
    };
    watcher.wait_for(|layers| layers.first().is_some_and(|layer| layer.done_bytes > 0)).await.unwrap();
    only.abort();
    assert!(only.await.unwrap_err().is_cancelled());
    // The turn is free again only when the unpacking thread has cleaned up.
    drop(store.0.layer_turns.take(&sample.layers[0].diff_id).await);
    assert!(bench.names("layers").is_empty() && store.list().is_empty());
    gate.open();
    pull(&store, &name).await.unwrap();
    let requests = script.requests();
    let last = requests.iter().rev().find(|r| is_layer_of(&sample, 0)(r)).unwrap();
    let first: usize =
        last.header("range").unwrap().trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
    assert!(first >= 256 << 10, "what had come was kept");
}

#[tokio::test]
async fn a_failure_is_shared_and_the_next_pull_is_new() {
    let script = Script::start(|_| Reply::new(404));
    let bench = Bench::new();
    let store = bench.store();
    let name = format!("{}/a:1", script.host());
    for result in futures_util::future::join_all((0..20).map(|_| pull(&store, &name))).await {
        assert_eq!(result.unwrap_err().kind(), crate::error::Kind::NotFound);
    }
    assert_eq!(script.requests().len(), 1);
    pull(&store, &name).await.unwrap_err();
    assert_eq!(script.requests().len(), 2);
}

#[tokio::test]
async fn removal_and_collection_during_a_pull_take_nothing_from_it() {
    let sample = Sample::new("x", vec![layer(7), layer(8)]);
    let (script, gate) = gated(&sample);
    let script = Arc::new(script);
    let bench = Bench::new();
    let store = bench.store();
    let name = format!("{}/a:1", script.host());
    let running = {
        let (store, name) = (store.clone(), name.clone());
        tokio::spawn(async move { store.pull(&reference(&name), None, Progress::none()).await })
    };
    asked(&script, &sample, 1).await;
    assert_eq!(store.remove(&name).await.unwrap(), Removed::default());
    store.collect_garbage().await.unwrap();
    gate.open();
    let image = running.await.unwrap().unwrap();
    let held = store.hold("c", &image.id).unwrap();
    assert!(held.directories.iter().all(|directory| directory.join("").is_dir()));
    let removals = futures_util::future::join_all((0..10).map(|_| store.remove(&name))).await;
    assert_eq!(
        removals.iter().filter(|r| r.as_ref().unwrap().image.is_some()).count(),
        1,
        "removal is idempotent under concurrency"
    );
}
