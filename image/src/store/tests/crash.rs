// SPDX-License-Identifier: Apache-2.0
//! SIGKILL in the middle of a pull (threats.md R6): the pull runs in a process of its own.

use std::process::{Command, Stdio};

use super::*;
use crate::sample::image::{Form, Sample};
use crate::sample::script::{Files, Gate, Reply, Script};
use crate::sample::tar::{Tar, noise};

const ROOT: &str = "HUSK_TEST_ROOT";
const NAME: &str = "HUSK_TEST_NAME";

#[test]
fn a_killed_pull_leaves_nothing_half_made() {
    let tar = |seed: u64| (Tar::new().dir("./", 0o755).file("noise", noise(seed, 600_000)), Form::Gzip);
    let sample = Sample::new("killed", vec![tar(1), tar(2)]);
    let moments = [
        "/manifests/1".to_owned(),
        format!("/blobs/{}", Digest::of(&sample.config)),
        format!("/blobs/{}", Digest::of(&sample.layers[0].blob)),
        format!("/blobs/{}", Digest::of(&sample.layers[1].blob)),
    ];
    for moment in moments {
        let gate = Arc::new(Gate::default());
        let files = Files::default().image("a", "1", &sample);
        let (door, at) = (Arc::clone(&gate), moment.clone());
        let script = Script::start(move |request| match files.answer(request) {
            reply if request.path().ends_with(&at) => {
                Reply { first: Some(reply.body.len() / 2), gate: Some(Arc::clone(&door)), ..reply }
            }
            reply => reply,
        });
        let bench = Bench::new();
        let name = format!("{}/a:1", script.host());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::crash::in_a_process_to_be_killed", "--ignored"])
            .env(ROOT, bench.root())
            .env(NAME, &name)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        script.wait_for(1, |request| request.path().ends_with(&moment));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = bench.store();
        assert!(store.list().is_empty(), "killed at {moment}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            assert_usage_is_true(&bench, &store);
            store.collect_garbage().await.unwrap();
            bench.assert_tidy();
            gate.open();
            assert_eq!(pull(&store, &name).await.unwrap().id, sample.id(), "killed at {moment}");
            bench.assert_tidy();
            assert_usage_is_true(&bench, &store);
        });
    }
}

#[tokio::test]
#[ignore = "run by a_killed_pull_leaves_nothing_half_made, which kills it"]
async fn in_a_process_to_be_killed() {
    let root = PathBuf::from(std::env::var_os(ROOT).unwrap());
    let store = Store::open(&root, Bench::new().options()).unwrap();
    pull(&store, &std::env::var(NAME).unwrap()).await.unwrap();
}
