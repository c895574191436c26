// SPDX-License-Identifier: Apache-2.0
//! A registry that breaks off, lies and dawdles (threats.md R53 to R58).

use std::sync::atomic::AtomicU32;
use std::time::Instant;

use super::*;
use crate::error::Kind;
use crate::sample::image::{Form, Sample};
use crate::sample::script::{Files, Gate, Reply, Request, Script};
use crate::sample::tar::{Tar, noise};

fn big(seed: u64) -> Sample {
    let tar = Tar::new().dir("./", 0o755).file("noise", noise(seed, 600_000));
    Sample::new("big", vec![(tar, Form::Plain)])
}

fn is_layer(sample: &Sample) -> impl Fn(&Request) -> bool + Send + Sync + 'static {
    let end = Digest::of(&sample.layers[0].blob).to_string();
    move |request| request.path().ends_with(&end)
}

/// A registry that serves one image and answers for its layer as `bend` says, with the number of the request.
fn bent(sample: &Sample, bend: impl Fn(u32, &Request, Reply) -> Reply + Send + Sync + 'static) -> Script {
    let files = Files::default().image("a", "1", sample);
    let layer = is_layer(sample);
    let count = AtomicU32::new(0);
    Script::start(move |request| {
        let reply = files.answer(request);
        if layer(request) { bend(count.fetch_add(1, Ordering::SeqCst), request, reply) } else { reply }
    })
}

async fn pulled(script: &Script) -> (Bench, Store, Result<Arc<Image>, Error>) {
    let bench = Bench::new();
    let store = bench.store();
    let result = pull(&store, &format!("{}/a:1", script.host())).await;
    (bench, store, result)
}

#[tokio::test]
async fn truncation_everywhere_is_resumed() {
    let sample = big(1);
    let size = sample.layers[0].blob.len();
    for cut in [0, 1, 511, 512, size / 2, size - 1] {
        let script = bent(&sample, move |n, _, reply| if n == 0 { Reply { first: Some(cut), ..reply } } else { reply });
        let (bench, _, result) = pulled(&script).await;
        result.unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
        bench.assert_tidy();
        let requests = script.requests();
        let last = requests.iter().rev().find(|r| is_layer(&sample)(r)).unwrap();
        if cut > 0 {
            assert_eq!(last.header("range"), Some(format!("bytes={cut}-").as_str()), "cut at {cut}");
            assert_eq!(last.header("if-range"), Some(format!("\"{}\"", Digest::of(&sample.layers[0].blob)).as_str()));
        }
    }
}

#[tokio::test]
async fn a_body_without_a_length_that_ends_early_is_no_whole_body() {
    let sample = big(9);
    let script = bent(
        &sample,
        |n, _, reply| if n == 0 { Reply { first: Some(1000), length: Some(None), ..reply } } else { reply },
    );
    let (_, _, result) = pulled(&script).await;
    result.unwrap();
    assert_eq!(script.count(is_layer(&sample)), 2);
}

#[tokio::test]
async fn many_cuts_with_progress_are_no_failure_and_none_without() {
    let sample = big(2);
    let script = bent(&sample, |_, _, reply| Reply { first: Some(40_000), ..reply });
    let (_, _, result) = pulled(&script).await;
    result.unwrap();
    assert!(script.count(is_layer(&sample)) >= 15);

    let script =
        bent(
            &sample,
            |n, _, reply| {
                if n == 0 { Reply { first: Some(400_000), ..reply } } else { Reply { first: Some(0), ..reply } }
            },
        );
    let (bench, store, result) = pulled(&script).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().starts_with("RegistryUnavailable"), "{error}");
    assert_eq!(script.count(is_layer(&sample)), 4, "one that progressed and three fruitless ones");
    bench.assert_tidy();
    assert!(store.list().is_empty());
}

#[tokio::test]
async fn servers_without_usable_ranges_are_asked_for_the_whole() {
    let sample = big(3);
    let ignore = |n: u32, request: &Request, reply: Reply, files: &Reply| match (n, request.header("range")) {
        (0, _) => Reply { first: Some(300_000), ..reply },
        (_, Some(_)) => files.clone(),
        _ => reply,
    };
    let blob = sample.layers[0].blob.clone();
    let length = blob.len();
    let wrong_ranges = [
        // Ignores the range.
        Reply::ok(blob.clone()),
        Reply::new(416),
        // Another range than asked for, with bytes that would fit in length.
        Reply { status: 206, ..Reply::ok(&blob[..length - 300_000]) }
            .header("Content-Range", format!("bytes 0-{}/{length}", length - 300_001)),
        Reply { status: 206, ..Reply::ok(&blob[300_000..]) },
        Reply { status: 206, ..Reply::ok(&blob[300_000..]) }
            .header("Content-Range", format!("bytes 300000-{}/{}", length - 1, length + 1)),
    ];
    for wrong in wrong_ranges {
        let status = wrong.status;
        let script = bent(&sample, move |n, request, reply| ignore(n, request, reply, &wrong));
        let (bench, _, result) = pulled(&script).await;
        result.unwrap_or_else(|e| panic!("status {status}: {e}"));
        bench.assert_tidy();
    }
}

#[tokio::test]
async fn wrong_content_is_refused_and_nothing_stays() {
    let sample = big(4);
    let other = big(5).layers[0].blob.clone();
    let longer = [sample.layers[0].blob.clone(), b"more".to_vec()].concat();
    let shorter = sample.layers[0].blob[..1000].to_vec();
    let replies = [
        ("digest", Reply::ok(other)),
        ("length announced", Reply::ok(longer.clone())),
        ("length hidden", Reply { length: Some(None), ..Reply::ok(longer) }),
        ("garbage", Reply::ok(noise(9, sample.layers[0].blob.len()))),
    ];
    for (what, wrong) in replies {
        let script = bent(&sample, move |_, _, _| wrong.clone());
        let (bench, store, result) = pulled(&script).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{what}: {error}");
        assert!(
            store.list().is_empty() && bench.names("layers").is_empty() && bench.names("records").is_empty(),
            "{what}"
        );
        assert!(
            bench.names(&format!("partial/{}", layout::boot_id().unwrap())).is_empty(),
            "{what}: wrong bytes are not kept"
        );
        assert_usage_is_true(&bench, &store);
    }
    let script = bent(&sample, move |_, _, _| Reply::ok(shorter.clone()));
    let (_, _, result) = pulled(&script).await;
    assert_eq!(result.unwrap_err().kind(), Kind::Unavailable, "a short answer may be a broken one");

    let mut wrong = sample.clone();
    let id = wrong.layers[0].diff_id.to_string();
    let config = String::from_utf8(wrong.config.clone()).unwrap().replace(&id, &Digest::of(b"x").to_string());
    let manifest = String::from_utf8(wrong.manifest.clone()).unwrap();
    let old = (Digest::of(&wrong.config).to_string(), format!("\"size\":{}", wrong.config.len()));
    wrong.config = config.into_bytes();
    wrong.manifest = manifest.replace(&old.0, &Digest::of(&wrong.config).to_string()).into_bytes();
    let files = Files::default().image("a", "1", &wrong);
    let script = Script::start(move |request| files.answer(request));
    let (bench, store, result) = pulled(&script).await;
    let error = result.unwrap_err();
    assert!(error.kind() == Kind::Corrupt && error.to_string().contains("uncompressed digest"), "{error}");
    assert!(store.list().is_empty() && bench.names("layers").is_empty());
}

#[tokio::test]
async fn rate_limits_and_outages_are_waited_for() {
    let sample = Sample::small("x");
    for (status, retry_after) in
        [(429, Some("0")), (429, Some("99999")), (503, Some("Sun, 06 Nov 2044 08:49:37 GMT")), (500, None), (408, None)]
    {
        let files = Files::default().image("a", "1", &sample);
        let count = AtomicU32::new(0);
        let script = Script::start(move |request| match (count.fetch_add(1, Ordering::SeqCst), retry_after) {
            (0 | 1, Some(value)) => Reply::new(status).header("Retry-After", value),
            (0 | 1, None) => Reply::new(status),
            _ => files.answer(request),
        });
        let started = Instant::now();
        let (_, _, result) = pulled(&script).await;
        result.unwrap_or_else(|e| panic!("{status}: {e}"));
        assert!(started.elapsed() < Duration::from_secs(5), "the cap holds");
    }
    let script = Script::start(|_| Reply {
        body: b"{\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"no\\u0000more\"}]}".to_vec(),
        ..Reply::new(429)
    });
    let (_, _, result) = pulled(&script).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("TOOMANYREQUESTS: no more"), "{error}");
    assert_eq!(script.requests().len(), 3);
    for (status, kind) in [(403, Kind::Unauthorized), (404, Kind::NotFound), (410, Kind::Corrupt)] {
        let script = Script::start(move |_| Reply::new(status));
        let (_, _, result) = pulled(&script).await;
        assert_eq!(result.unwrap_err().kind(), kind);
        assert_eq!(script.requests().len(), 1, "{status} is not asked again");
    }
}

#[tokio::test]
async fn silence_and_drips_end_at_the_progress_timeout() {
    let sample = big(6);
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    // It sends a little and then nothing: less than what counts as progress.
    let script = bent(&sample, move |_, _, reply| Reply { first: Some(100), gate: Some(Arc::clone(&held)), ..reply });
    let bench = Bench::new();
    let options = Options { progress_timeout: Duration::from_millis(300), ..bench.options() };
    let store = Store::open(&bench.root(), options.clone()).unwrap();
    let error = pull(&store, &format!("{}/a:1", script.host())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout, "{error}");
    assert!(error.to_string().starts_with("RegistryUnavailable"));
    gate.open();
    bench.assert_tidy();

    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let mute = Script::start(move |_| Reply { first: Some(0), gate: Some(Arc::clone(&held)), ..Reply::new(200) });
    let error = pull(&store, &format!("{}/a:1", mute.host())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout, "{error}");
    gate.open();
}

#[tokio::test]
async fn unreachable_registries_say_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let bench = Bench::new();
    let store = bench.store();
    let error = pull(&store, &format!("{address}/a:1")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    let text = error.to_string();
    assert!(
        text.starts_with("RegistryUnavailable")
            && text.contains("Connection refused")
            && text.contains(&address.to_string()),
        "{text}"
    );
}

#[tokio::test]
async fn endless_documents_meet_their_caps() {
    let sample = Sample::small("x");
    let huge = vec![b' '; 5 << 20];
    let body = huge.clone();
    let script = Script::start(move |_| Reply { length: Some(None), ..Reply::ok(body.clone()) });
    let (_, _, result) = pulled(&script).await;
    assert_eq!(result.unwrap_err().kind(), Kind::Exhausted);
    let script = Script::start(move |_| Reply { body: huge.clone(), length: Some(None), ..Reply::new(500) });
    let (_, _, result) = pulled(&script).await;
    let error = result.unwrap_err();
    assert!(error.kind() == Kind::Unavailable && error.to_string().len() < 1000);
    let mut wrong = sample.clone();
    let manifest = String::from_utf8(wrong.manifest).unwrap();
    let size = format!("\"size\":{}", wrong.config.len());
    wrong.manifest = manifest.replacen(&size, "\"size\":9000000", 1).into_bytes();
    let files = Files::default().image("a", "1", &wrong);
    let script = Script::start(move |request| files.answer(request));
    let (_, _, result) = pulled(&script).await;
    assert_eq!(result.unwrap_err().kind(), Kind::Exhausted, "a configuration of 9 MB");
}

#[tokio::test]
async fn a_process_that_died_leaves_a_beginning_that_is_used() {
    let sample = big(7);
    let bench = Bench::new();
    let name;
    {
        let script = bent(&sample, |n, _, reply| {
            if n == 0 { Reply { first: Some(400_000), ..reply } } else { Reply { first: Some(0), ..reply } }
        });
        name = format!("{}/a:1", script.host());
        let store = bench.store();
        pull(&store, &name).await.unwrap_err();
        assert_usage_is_true(&bench, &store);
        assert_usage_is_true(&bench, &bench.store());
    }
    let partial = layout::boot_id().unwrap();
    assert_eq!(bench.names(&format!("partial/{partial}")).len(), 1);
    let script = bent(&sample, |_, _, reply| reply);
    let store = bench.store();
    pull(&store, &format!("{}/a:1", script.host())).await.unwrap();
    let requests = script.requests();
    let layer = requests.iter().find(|r| is_layer(&sample)(r)).unwrap();
    assert_eq!(layer.header("range"), Some("bytes=400000-"));
    assert!(bench.names(&format!("partial/{partial}")).is_empty());
    assert_usage_is_true(&bench, &store);
}

#[tokio::test]
async fn a_damaged_beginning_is_dropped_and_fetched_anew() {
    let sample = big(8);
    let script = bent(&sample, |_, _, reply| reply);
    let bench = Bench::new();
    let store = bench.store();
    let digest = Digest::of(&sample.layers[0].blob);
    for damaged in [noise(1, 300_000), vec![0; sample.layers[0].blob.len()], noise(2, 700_000)] {
        std::fs::write(store.0.layout.partial(&digest), damaged).unwrap();
        let image = pull(&store, &format!("{}/a:1", script.host())).await.unwrap();
        store.remove(&image.id.to_string()).await.unwrap();
    }
    // A beginning that is the whole needs no request at all.
    std::fs::write(store.0.layout.partial(&digest), &sample.layers[0].blob).unwrap();
    let before = script.count(is_layer(&sample));
    pull(&store, &format!("{}/a:1", script.host())).await.unwrap();
    assert_eq!(script.count(is_layer(&sample)), before);
}
