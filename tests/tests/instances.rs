// SPDX-License-Identifier: Apache-2.0
//! Two daemons on one node, and two daemons that want the same state.

use std::fs;

use anyhow::{Result, ensure};
use husk_tests::images::Image;
use husk_tests::world::{BUSYBOX, World};
use proto::cri::{ContainerState, PodSandboxFilter};

#[tokio::test]
async fn two_daemons_live_side_by_side() -> Result<()> {
    World::new("sides")
        .await?
        .live(async |world| {
            let mut other = world.ground.daemon("other").await?;
            let client = other.connect().await?;
            let archive = world.directory().join("again.tar");
            fs::write(&archive, Image::busybox()?.build().oci_archive(&[BUSYBOX]))?;
            client.load(&archive, &[]).await?;

            let (mine, pod) = world.run_pod("pod").await?;
            let main = world.container_config("main", &["sleep", "1000"]);
            let id = world.client.launch(&mine, &pod, &main).await?;
            let theirs_config = world.pod_config("pod")?;
            let theirs = client.run_pod(&theirs_config).await?;
            let their_id = client.launch(&theirs, &theirs_config, &main).await?;
            assert_ne!(world.client.pod_ip(&mine).await?, client.pod_ip(&theirs).await?);
            let ids = |pods: Vec<proto::cri::PodSandbox>| pods.into_iter().map(|pod| pod.id).collect::<Vec<_>>();
            assert_eq!(ids(world.client.pods(PodSandboxFilter::default()).await?), [mine.as_str()]);
            assert_eq!(ids(client.pods(PodSandboxFilter::default()).await?), [theirs.as_str()]);

            // A restart of one cleans nothing of the other.
            world.kill_and_restart().await?;
            assert_eq!(client.output(&their_id, &["echo", "here"]).await?, "here\n");
            other.kill();
            other.start_again(world.node()).await?;
            let client = other.connect().await?;
            assert_eq!(world.client.container(&id).await?.state(), ContainerState::ContainerRunning);
            assert_eq!(client.container(&their_id).await?.state(), ContainerState::ContainerRunning);
            client.remove_all_pods().await?;
            assert_eq!(world.client.output(&id, &["echo", "here"]).await?, "here\n");
            assert_eq!(world.ground.network.leased().len(), 1);
            let ended = other.terminate().await?;
            ensure!(ended.success(), "the other daemon ended with {ended}");
            for directory in world.ground.cgroup.tree().into_iter().rev() {
                if directory.file_name().is_some_and(|name| name == "other") {
                    fs::remove_dir(&directory)?;
                }
            }
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_second_daemon_on_the_same_state_is_refused_and_harms_nothing() -> Result<()> {
    World::new("second")
        .await?
        .live(async |world| {
            let (pod_id, _) = world.run_pod("pod").await?;
            let (status, said) = world.daemon.run_a_second(world.node()).await?;
            ensure!(!status.success(), "a second daemon ended with {status}");
            let state = world.daemon.settings().state.display().to_string();
            ensure!(said.contains(&state), "it does not say which directory is taken:\n{said}");
            assert_eq!(world.client.pods(PodSandboxFilter::default()).await?.len(), 1);
            assert_eq!(world.client.pod(&pod_id).await?.id, pod_id);
            // The socket of the first is still the one that answers.
            let fresh = world.daemon.connect().await?;
            assert_eq!(fresh.version().await?.runtime_name, "husk");
            Ok(())
        })
        .await
}
