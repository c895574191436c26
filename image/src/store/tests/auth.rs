// SPDX-License-Identifier: Apache-2.0
//! Tokens, redirects and who gets to see credentials (threats.md 1F).

use std::sync::atomic::AtomicU32;

use super::*;
use crate::credentials::{AuthFields, Credentials};
use crate::error::Kind;
use crate::progress::Progress;
use crate::sample::image::Sample;
use crate::sample::script::{Files, Reply, Request, Script};

fn login(fields: AuthFields<'_>) -> Option<Credentials> {
    Credentials::from_fields(&fields).unwrap()
}

fn password() -> Option<Credentials> {
    login(AuthFields { username: "user", password: "s3cret", ..AuthFields::default() })
}

/// `user:s3cret` in base64.
const BASIC: &str = "Basic dXNlcjpzM2NyZXQ=";

/// A registry that wants tokens of a server of its own, which accepts what `accepts` says.
fn with_tokens(sample: &Sample, life: u64, accepts: fn(&Request) -> bool) -> (Script, Script) {
    let issued = AtomicU32::new(0);
    let tokens = Script::start(move |request| {
        if !accepts(request) {
            return Reply::new(401);
        }
        let number = issued.fetch_add(1, Ordering::SeqCst);
        Reply::ok(format!(r#"{{"token":"t{number}","expires_in":{life}}}"#))
    });
    let realm = format!("http://{}/token", tokens.host());
    let files = Files::default().image("team/app", "1", sample);
    let registry = Script::start(move |request| match request.header("authorization") {
        Some(token) if token.starts_with("Bearer t") => files.answer(request),
        _ => Reply::new(401).header(
            "WWW-Authenticate",
            format!("Bearer realm=\"{realm}\",service=\"reg\",scope=\"repository:team/app:pull\""),
        ),
    });
    (registry, tokens)
}

async fn try_pull(registry: &Script, credentials: Option<Credentials>) -> Result<Arc<Image>, Error> {
    let bench = Bench::new();
    let store = bench.store();
    store.pull(&reference(&format!("{}/team/app:1", registry.host())), credentials, Progress::none()).await
}

#[tokio::test]
async fn a_token_is_fetched_once_and_remembered() {
    let sample = Sample::small("x");
    let (registry, tokens) = with_tokens(&sample, 300, |request| {
        request.method == "GET"
            && request.target.contains("service=reg")
            && request.target.contains("scope=repository%3Ateam%2Fapp%3Apull")
            && request.header("authorization") == Some(BASIC)
    });
    let bench = Bench::new();
    let store = bench.store();
    let name = reference(&format!("{}/team/app:1", registry.host()));
    let image = store.pull(&name, password(), Progress::none()).await.unwrap();
    store.remove(&image.id.to_string()).await.unwrap();
    store.pull(&name, password(), Progress::none()).await.unwrap();
    assert_eq!(tokens.requests().len(), 1, "one token for two pulls");
    assert!(
        registry.requests().iter().all(|r| r.header("authorization") != Some(BASIC)),
        "the password goes to the token server only"
    );
    // Other credentials don't profit from it.
    let error = store.pull(&name, None, Progress::none()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
}

#[tokio::test]
async fn other_logins() {
    let sample = Sample::small("x");
    let (registry, _tokens) = with_tokens(&sample, 300, |request| request.header("authorization").is_none());
    try_pull(&registry, None).await.unwrap();
    let (registry, tokens) = with_tokens(&sample, 300, |request| {
        let form = |part: &str| request.body.split('&').any(|pair| pair == part);
        request.method == "POST"
            && form("grant_type=refresh_token")
            && form("refresh_token=re%2Ffresh")
            && form("service=reg")
    });
    try_pull(&registry, login(AuthFields { identity_token: "re/fresh", ..AuthFields::default() })).await.unwrap();
    assert!(tokens.requests().iter().all(|r| !r.target.contains("fresh")), "a refresh token is never in a URL");
    let (registry, tokens) = with_tokens(&sample, 300, |_| false);
    try_pull(&registry, login(AuthFields { registry_token: "t-mine", ..AuthFields::default() })).await.unwrap();
    assert!(tokens.requests().is_empty());
    let error = try_pull(&registry, login(AuthFields { registry_token: "bad-token", ..AuthFields::default() }))
        .await
        .unwrap_err();
    assert!(error.kind() == Kind::Unauthorized && !error.to_string().contains("bad-token"), "{error}");
}

#[tokio::test]
async fn a_stale_token_is_renewed_once_and_loops_end() {
    let sample = Sample::small("x");
    let files = Files::default().image("team/app", "1", &sample);
    let issued = Arc::new(AtomicU32::new(0));
    let tokens = {
        let issued = Arc::clone(&issued);
        Script::start(move |_| Reply::ok(format!(r#"{{"access_token":"t{}"}}"#, issued.fetch_add(1, Ordering::SeqCst))))
    };
    let realm = format!("http://{}/", tokens.host());
    let challenge = format!("Bearer realm=\"{realm}\"");
    let refuse_first = challenge.clone();
    // The first token stops working after two requests.
    let uses = AtomicU32::new(0);
    let registry = Script::start(move |request| match request.header("authorization") {
        Some("Bearer t0") if uses.fetch_add(1, Ordering::SeqCst) >= 2 => {
            Reply::new(401).header("WWW-Authenticate", &refuse_first)
        }
        Some(_) => files.answer(request),
        None => Reply::new(401).header("WWW-Authenticate", &refuse_first),
    });
    try_pull(&registry, None).await.unwrap();
    assert!(issued.load(Ordering::SeqCst) >= 2);

    let registry = Script::start(move |_| Reply::new(401).header("WWW-Authenticate", &challenge));
    let error = try_pull(&registry, password()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert_eq!(registry.requests().len(), 2, "asked, answered, refused, done");
    let registry = Script::start(|_| Reply::new(401));
    assert_eq!(try_pull(&registry, password()).await.unwrap_err().kind(), Kind::Unauthorized);
    let registry = Script::start(|_| Reply::new(401).header("WWW-Authenticate", "Basic realm=x"));
    assert_eq!(try_pull(&registry, password()).await.unwrap_err().kind(), Kind::Unauthorized);
    assert_eq!(registry.requests().len(), 2);
}

#[tokio::test]
async fn redirects_take_no_credentials_along() {
    let sample = Sample::small("x");
    let files = Files::default().image("team/app", "1", &sample);
    let storage_files = files.clone();
    let storage = Script::start(move |request| {
        let plain = Request { target: request.path().replace("/store", "/v2/team/app/blobs"), ..request.clone() };
        storage_files.answer(&plain)
    });
    let target = storage.host();
    let registry = Script::start(move |request| {
        if request.header("authorization") != Some(BASIC) {
            return Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        match request.path().strip_prefix("/v2/team/app/blobs") {
            Some(rest) => Reply::new(307).header("Location", format!("http://{target}/store{rest}?X-Signature=sekrit")),
            None => files.answer(request),
        }
    });
    try_pull(&registry, password()).await.unwrap();
    assert!(!storage.requests().is_empty());
    assert!(storage.requests().iter().all(|r| r.header("authorization").is_none()), "no credentials on another port");

    // The signature of a presigned link never reaches an error.
    let broken = Script::start(|_| Reply::new(403));
    let target = broken.host();
    let files = Files::default().image("team/app", "1", &sample);
    let registry = Script::start(move |request| match request.path().contains("/blobs/") {
        true => Reply::new(302).header("Location", format!("http://{target}/b?X-Signature=sekrit")),
        false => files.answer(request),
    });
    let error = try_pull(&registry, None).await.unwrap_err();
    assert!(error.kind() == Kind::Unauthorized && !error.to_string().contains("sekrit"), "{error}");
}

#[tokio::test]
async fn redirects_that_are_not_followed() {
    let loops = Script::start(|request| Reply::new(302).header("Location", format!("{}x", request.target)));
    let error = try_pull(&loops, None).await.unwrap_err();
    assert!(error.to_string().contains("ten redirects"), "{error}");
    assert_eq!(loops.requests().len(), 11);
    for location in ["file:///etc/passwd", "http://user:pw@127.0.0.1/", "gopher://x"] {
        let script = Script::start(move |_| Reply::new(302).header("Location", location));
        let error = try_pull(&script, None).await.unwrap_err();
        assert!(error.kind() == Kind::Corrupt && !error.to_string().contains("pw@"), "{error}");
    }
}

#[tokio::test]
async fn mirrors_get_no_credentials_of_the_registry() {
    let sample = Sample::small("x");
    let files = Files::default().image("team/app", "1", &sample);
    let own = files.clone();
    let mirror = Script::start(|_| Reply::new(401).header("WWW-Authenticate", "Basic realm=x"));
    let upstream = Script::start(move |request| match request.header("authorization") {
        Some(BASIC) => own.answer(request),
        _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
    });
    let bench = Bench::new();
    bench.hosts("r.io", &format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", upstream.host(), mirror.host()));
    let store = bench.store();
    store.pull(&reference("r.io/team/app:1"), password(), Progress::none()).await.unwrap();
    assert!(mirror.requests().iter().all(|r| r.header("authorization").is_none()) && !mirror.requests().is_empty());
    // Credentials for somebody else go nowhere.
    let foreign = login(AuthFields {
        username: "user",
        password: "s3cret",
        server_address: "https://other.io",
        ..AuthFields::default()
    });
    let fresh = Bench::new();
    let store = Store::open(&fresh.root(), bench.options()).unwrap();
    let error = store.pull(&reference("r.io/team/app:1"), foreign, Progress::none()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
}

/// Proxies come from the environment, which a test can set for a process of its own only.
#[test]
fn proxies_of_the_environment_are_used() {
    let sample = Sample::small("x");
    let files = Files::default().image("team/app", "1", &sample);
    let proxy = Script::start(move |request| {
        let path = request.target.strip_prefix("http://registry.invalid").unwrap_or("/not-proxied");
        files.answer(&Request { target: path.to_owned(), ..request.clone() })
    });
    let run = |no_proxy: &str| {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::auth::in_a_process_with_a_proxy", "--ignored"])
            .env("HTTP_PROXY", format!("http://{}", proxy.host()))
            .env("NO_PROXY", no_proxy)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap()
            .success()
    };
    assert!(run("other.invalid"), "the proxy answers for a host that has no address");
    let asked = proxy.requests().len();
    assert!(asked >= 4 && proxy.requests().iter().all(|r| r.target.starts_with("http://registry.invalid/v2/")));
    assert!(!run("registry.invalid"), "without the proxy the host has no address");
    assert_eq!(proxy.requests().len(), asked);
}

#[tokio::test]
#[ignore = "run by proxies_of_the_environment_are_used, with a proxy in its environment"]
async fn in_a_process_with_a_proxy() {
    let bench = Bench::new();
    bench.hosts("registry.invalid", "server = \"http://registry.invalid\"");
    pull(&bench.store(), "registry.invalid/team/app:1").await.unwrap();
}
