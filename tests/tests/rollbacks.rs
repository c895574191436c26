// SPDX-License-Identifier: Apache-2.0
//! Runs that fail half-way, clients that go away, and requests that are repeated: nothing is left, and the same request
//! then succeeds. The census of every world is the judge.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use husk_tests::client::refused;
use husk_tests::limits;
use husk_tests::world::World;
use proto::cri;
use tonic::{Code, Request};

/// Failing runs side by side, as many as a small node sees when its network is not there yet.
const CROWD: usize = 12;

/// Waits until the daemon has noticed that the network's configuration came or went; the CRI announces neither.
async fn until_network_ready_is(world: &World, wanted: bool) -> Result<()> {
    let deadline = Instant::now() + limits::CALL;
    loop {
        let conditions = world.client.status().await?.status.context("a status")?.conditions;
        let ready = conditions.iter().find(|one| one.r#type == "NetworkReady").context("NetworkReady")?;
        if ready.status == wanted {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "NetworkReady does not become {wanted}");
        tokio::time::sleep(limits::TICK).await;
    }
}

#[tokio::test]
async fn runs_without_a_network_leave_nothing_and_then_succeed() -> Result<()> {
    World::new("no-network")
        .await?
        .live(async |world| {
            world.ground.network.disable()?;
            until_network_ready_is(world, false).await?;
            let configs = (0..CROWD).map(|_| world.pod_config("early")).collect::<Result<Vec<_>>>()?;
            for _ in 0..3 {
                let mut runs = tokio::task::JoinSet::new();
                for config in configs.clone() {
                    let client = world.client.clone();
                    runs.spawn(async move { client.run_pod(&config).await });
                }
                for answer in runs.join_all().await {
                    let message = refused(answer, Code::Unavailable)?;
                    ensure!(message.contains("network"), "the refusal does not name the network: {message}");
                }
                ensure!(
                    world.client.pods(cri::PodSandboxFilter::default()).await?.is_empty(),
                    "a failed pod is listed"
                );
                world.assert_clean()?;
            }
            world.ground.network.enable()?;
            until_network_ready_is(world, true).await?;
            for config in &configs[..2] {
                world.client.run_pod(config).await?;
            }
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_client_that_went_away_gets_the_same_pod_when_it_asks_again() -> Result<()> {
    World::new("gone")
        .await?
        .live(async |world| {
            for round in 0..10 {
                let config = world.pod_config("impatient")?;
                let request = cri::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
                let mut hasty = Request::new(request);
                // A real client's deadline, at a different moment of the run each time.
                hasty.set_timeout(Duration::from_millis(1 + round * 3));
                let mut runtime = world.client.runtime.clone();
                let hasty = runtime.run_pod_sandbox(hasty).await.map(|answer| answer.into_inner().pod_sandbox_id);
                let id = world.client.run_pod(&config).await?;
                if let Ok(first) = hasty {
                    ensure!(first == id, "the same request made two pods");
                }
                ensure!(world.client.run_pod(&config).await? == id, "a third request made another pod");
                let listed = world.client.pods(cri::PodSandboxFilter::default()).await?;
                ensure!(listed.len() == usize::try_from(round)? + 1, "{} pods are listed", listed.len());
            }
            Ok(())
        })
        .await
}

#[tokio::test]
async fn another_configuration_of_a_claimed_pod_is_told_what_differs() -> Result<()> {
    World::new("differs")
        .await?
        .live(async |world| {
            let (_, config) = world.run_pod("claimed").await?;
            let mut other = config.clone();
            other.annotations.insert("changed".to_owned(), "yes".to_owned());
            let message = refused(world.client.run_pod(&other).await, Code::FailedPrecondition)?;
            ensure!(message.contains("annotations"), "it does not say what differs: {message}");
            ensure!(!message.contains("reserved"), "{message}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_container_that_cannot_be_made_leaves_nothing() -> Result<()> {
    World::new("unmade")
        .await?
        .live(async |world| {
            let (pod, config) = world.run_pod("pod").await?;
            let mut container = world.container_config("main", &["true"]);
            container.image.as_mut().context("an image")?.image = "localhost/husk-test/absent:1".to_owned();
            let message = refused(world.client.create(&pod, &config, &container).await, Code::NotFound)?;
            ensure!(message.contains("absent"), "it does not name the image: {message}");
            // The same metadata with an image that is there: nothing stands in the way.
            let container = world.container_config("main", &["true"]);
            let id = world.client.create(&pod, &config, &container).await?;
            ensure!(
                world.client.create(&pod, &config, &container).await? == id,
                "the same request made two containers"
            );
            Ok(())
        })
        .await
}
