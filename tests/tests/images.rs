// SPDX-License-Identifier: Apache-2.0
//! Images: pulled from a real registry and loaded from archives, listed, used, removed.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use husk_tests::client::{image_spec, refused};
use husk_tests::images::{Image, Layer};
use husk_tests::registry::{Access, PASSWORD, Registry, USER};
use husk_tests::tar::Entry;
use husk_tests::world::{BUSYBOX, World};
use proto::cri::{self, AuthConfig};
use proto::husk::pull_image_progress::Event;
use proto::husk::{LayerPhase, PullImageRequest};
use serde_json::json;
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(20);

/// A registry in the world's directory.
fn registry(world: &World, access: Access) -> Result<Registry> {
    Registry::start(world.node(), &world.directory().join("registry"), access)
}

/// busybox and one more layer with a file that tells images apart.
fn marked(mark: &str) -> Result<Image> {
    let layer = Layer::of(&[Entry::file("mark", mark)]);
    Ok(Image::busybox()?.layer(layer).setting("User", json!("4711")))
}

#[tokio::test]
async fn a_pulled_image_is_listed_run_and_removed() -> Result<()> {
    World::new("pull")
        .await?
        .live(async |world| {
            let registry = registry(world, Access::Open)?;
            let built = marked("one")?.build();
            registry.push(world.node(), "team/app", "1", &built)?;
            let tag = registry.reference("team/app", "1");
            ensure!(world.client.image(&tag).await?.image.is_none(), "it is there before the pull");
            let id = world.client.pull(&tag, None).await?;
            assert_eq!(id, built.id());
            // Again: nothing to do, the same answer.
            assert_eq!(world.client.pull(&tag, None).await?, id);

            let digest = format!("{}/team/app@{}", registry.address(), built.manifest.digest);
            let status = world.client.image(&tag).await?;
            let image = status.image.context("an image")?;
            assert_eq!(image.repo_tags, [tag.as_str()]);
            assert_eq!(image.repo_digests, [digest.as_str()]);
            assert_eq!(image.uid.context("a numeric user")?.value, 4711);
            ensure!(image.size > 1_000_000, "its size is {}", image.size);
            ensure!(status.info.values().any(|text| text.contains("4711")), "verbose lacks the configuration");
            for name in [id.as_str(), &id[7..], &id[7..20], &digest] {
                let found = world.client.image(name).await?.image;
                assert_eq!(found.with_context(|| format!("no image {name}"))?.id, id);
            }
            assert_eq!(world.client.list_images(Some(&tag)).await?.len(), 1);
            assert_eq!(world.client.list_images(None).await?.len(), 2);

            let (pod_id, pod) = world.run_pod("pod").await?;
            let mut config = world.container_config("main", &["sh", "-c", "cat /mark; id -u"]);
            config.image = Some(image_spec(&id));
            let container = world.client.launch(&pod_id, &pod, &config).await?;
            world.client.wait_exited(&container, LIMIT).await?;
            assert_eq!(world.log(&pod, "main")?.stdout()?, "one4711\n");
            assert_eq!(world.client.container(&container).await?.image_id, id);

            world.client.remove_pod(&pod_id).await?;
            world.client.remove_image(&tag).await?;
            world.client.remove_image(&tag).await?;
            ensure!(world.client.image(&tag).await?.image.is_none(), "it is still there");
            assert_eq!(world.client.list_images(None).await?.len(), 1);
            drop(registry);
            world.assert_clean()
        })
        .await
}

#[tokio::test]
async fn a_pull_by_digest_gets_that_image_and_no_tag() -> Result<()> {
    World::new("digest")
        .await?
        .live(async |world| {
            let registry = registry(world, Access::Open)?;
            let (old, new) = (marked("old")?.build(), marked("new")?.build());
            registry.push(world.node(), "app", "latest", &old)?;
            registry.push(world.node(), "app", "latest", &new)?;
            let digest = format!("{}/app@{}", registry.address(), old.manifest.digest);
            let id = world.client.pull(&digest, None).await?;
            assert_eq!(id, old.id());
            let image = world.client.image(&digest).await?.image.context("an image")?;
            assert!(image.repo_tags.is_empty(), "{:?}", image.repo_tags);
            assert_eq!(image.repo_digests, [digest]);
            // The tag moves to the new image, and the old one stays under its digest.
            let tag = registry.reference("app", "latest");
            assert_eq!(world.client.pull(&tag, None).await?, new.id());
            assert_eq!(world.client.list_images(None).await?.len(), 3);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_closed_registry_wants_credentials_and_nobody_prints_them() -> Result<()> {
    World::new("auth")
        .await?
        .live(async |world| {
            let registry = registry(world, Access::Basic)?;
            let built = marked("secret")?.build();
            registry.push(world.node(), "private", "1", &built)?;
            let tag = registry.reference("private", "1");
            let anonymous = world.client.pull(&tag, None).await;
            ensure!(anonymous.is_err(), "a pull without credentials succeeded");
            let auth = |password: &str| AuthConfig {
                username: USER.to_owned(),
                password: password.to_owned(),
                ..Default::default()
            };
            let wrong = world.client.pull(&tag, Some(auth("a-wrong-password"))).await;
            let message = wrong.err().context("a pull with a wrong password succeeded")?.message().to_owned();
            ensure!(!message.contains("a-wrong-password"), "the error has the password: {message}");
            assert_eq!(world.client.pull(&tag, Some(auth(PASSWORD))).await?, built.id());
            let log = world.daemon.log();
            ensure!(!log.contains(PASSWORD) && !log.contains("a-wrong-password"), "the log has a password");
            use base64::Engine as _;
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
            ensure!(!log.contains(&pair), "the log has the header");
            world.client.remove_image(&tag).await?;
            let encoded = AuthConfig { auth: pair, ..Default::default() };
            assert_eq!(world.client.pull(&tag, Some(encoded)).await?, built.id());
            Ok(())
        })
        .await
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_nobody_there_is_unavailable() -> Result<()> {
    World::new("absent")
        .await?
        .live(async |world| {
            let registry = registry(world, Access::Open)?;
            registry.push(world.node(), "app", "1", &marked("x")?.build())?;
            for absent in ["app:2", "nobody:1"] {
                let reference = format!("{}/{absent}", registry.address());
                refused(world.client.pull(&reference, None).await, Code::NotFound)?;
            }
            let digest = format!("{}/app@sha256:{}", registry.address(), "0".repeat(64));
            refused(world.client.pull(&digest, None).await, Code::NotFound)?;
            let nobody = registry.reference("app", "1");
            drop(registry);
            let message = refused(world.client.pull(&nobody, None).await, Code::Unavailable)?;
            ensure!(message.starts_with("RegistryUnavailable"), "the kubelet looks for the word: {message}");
            assert_eq!(world.client.list_images(None).await?.len(), 1);
            world.assert_clean()
        })
        .await
}

#[tokio::test]
async fn a_mirror_of_the_hosts_file_answers_for_another_registry() -> Result<()> {
    World::new("mirror")
        .await?
        .live(async |world| {
            let registry = registry(world, Access::Open)?;
            let built = marked("mirrored")?.build();
            registry.push(world.node(), "library/app", "1", &built)?;
            let directory = world.ground.hosts_directory().join("docker.io");
            fs::create_dir_all(&directory)?;
            let table = format!("[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n", registry.address());
            fs::write(directory.join("hosts.toml"), table)?;
            assert_eq!(world.client.pull("app:1", None).await?, built.id());
            let image = world.client.image("app:1").await?.image.context("an image")?;
            assert_eq!(image.repo_tags, ["docker.io/library/app:1"]);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn an_image_in_use_can_be_removed_and_its_container_goes_on() -> Result<()> {
    World::new("inuse")
        .await?
        .live(async |world| {
            let registry = registry(world, Access::Open)?;
            registry.push(world.node(), "app", "1", &marked("kept")?.build())?;
            let tag = registry.reference("app", "1");
            let id = world.client.pull(&tag, None).await?;
            let (pod_id, pod) = world.run_pod("pod").await?;
            let mut config = world.container_config("main", &["sleep", "1000"]);
            config.image = Some(image_spec(&tag));
            let running = world.client.launch(&pod_id, &pod, &config).await?;
            let mut later = world.container_config("later", &["cat", "/mark"]);
            later.image = Some(image_spec(&id));
            let created = world.client.create(&pod_id, &pod, &later).await?;
            world.client.remove_image(&id).await?;
            ensure!(world.client.image(&id).await?.image.is_none(), "it is still listed");
            assert_eq!(world.client.output(&running, &["cat", "/mark"]).await?, "kept");
            world.client.start(&created).await?;
            assert_eq!(world.client.wait_exited(&created, LIMIT).await?.exit_code, 0);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn three_tags_of_one_image_are_one_image_with_three_tags() -> Result<()> {
    World::new("tags")
        .await?
        .live(async |world| {
            let registry = registry(world, Access::Open)?;
            let built = marked("same")?.build();
            let mut tags = Vec::new();
            for tag in ["1", "2", "3"] {
                registry.push(world.node(), "app", tag, &built)?;
                tags.push(registry.reference("app", tag));
                world.client.pull(&tags[tags.len() - 1], None).await?;
            }
            let images = world.client.list_images(Some(&tags[0])).await?;
            let [image] = images.as_slice() else {
                anyhow::bail!("{} images", images.len());
            };
            let mut listed = image.repo_tags.clone();
            listed.sort();
            assert_eq!(listed, tags);
            // By one tag, that tag goes; by the id, all do.
            world.client.remove_image(&tags[0]).await?;
            assert_eq!(world.client.image(built.id()).await?.image.context("an image")?.repo_tags.len(), 2);
            world.client.remove_image(built.id()).await?;
            assert_eq!(world.client.list_images(None).await?.len(), 1);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn both_archive_forms_are_loaded() -> Result<()> {
    World::new("load")
        .await?
        .live(async |world| {
            let built = marked("archived")?.build();
            let names = ["localhost/from/archive:1"];
            for (file, bytes) in [("oci.tar", built.oci_archive(&names)), ("docker.tar", built.docker_archive(&names))]
            {
                let path = world.directory().join(file);
                fs::write(&path, bytes)?;
                assert_eq!(world.client.load(&path, &[]).await?, built.id(), "{file}");
                let image = world.client.image(names[0]).await?.image.context("an image")?;
                assert_eq!(image.repo_tags, names, "{file}");
                world.client.load(&path, &["localhost/renamed:2"]).await?;
                ensure!(world.client.image("localhost/renamed:2").await?.image.is_some(), "{file} was not renamed");
                world.client.remove_image(built.id()).await?;
                fs::remove_file(&path)?;
            }
            world.assert_clean()
        })
        .await
}

#[tokio::test]
async fn concurrent_pulls_of_one_image_and_removals_agree() -> Result<()> {
    World::new("together")
        .await?
        .live(async |world| {
            let registry = registry(world, Access::Open)?;
            let built = marked("wanted by all")?.build();
            registry.push(world.node(), "app", "1", &built)?;
            let tag = registry.reference("app", "1");
            let mut pulls = tokio::task::JoinSet::new();
            for _ in 0..10 {
                let (client, tag) = (world.client.clone(), tag.clone());
                pulls.spawn(async move { client.pull(&tag, None).await });
            }
            while let Some(pull) = pulls.join_next().await {
                assert_eq!(pull??, built.id());
            }
            for blob in &built.layers {
                let fetches = registry.fetches("app", &blob.digest);
                // The layer of busybox is there already: every world has it.
                ensure!(fetches <= 1, "{} was fetched {fetches} times", blob.digest);
            }
            let top = built.layers.last().context("a layer")?;
            assert_eq!(registry.fetches("app", &top.digest), 1);
            let (one, two) = tokio::join!(world.client.remove_image(&tag), world.client.remove_image(&tag));
            one?;
            two?;
            assert_eq!(world.client.list_images(None).await?.len(), 1);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn the_image_file_system_is_reported_true_to_a_percent() -> Result<()> {
    World::new("fsinfo")
        .await?
        .live(async |world| {
            let answer = world.client.image_fs().await?;
            let usage = answer.image_filesystems.first().context("an empty list is an error to the kubelet")?;
            let mountpoint = usage.fs_id.as_ref().context("a mount point")?.mountpoint.clone();
            ensure!(fs::metadata(&mountpoint)?.is_dir(), "{mountpoint} is no directory");
            let reported = usage.used_bytes.as_ref().context("bytes")?.value;
            let images = world.daemon.settings().root.join("images");
            let du = world.node().output("du", &["-s", "-B1", &images.display().to_string()])?;
            let measured: u64 = du.split_whitespace().next().context("du")?.parse()?;
            ensure!(reported.abs_diff(measured) * 100 <= measured, "reported {reported}, du says {measured}");
            ensure!(usage.timestamp > 1_600_000_000_000_000_000, "nanoseconds since 1970");
            ensure!(world.client.image(BUSYBOX).await?.image.is_some(), "the world's image");
            let list: Vec<cri::Image> = world.client.list_images(None).await?;
            assert_eq!(list.len(), 1);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_pull_with_progress_tells_of_every_layer_and_ends_with_the_image() -> Result<()> {
    World::new("progress")
        .await?
        .live(async |world| {
            let registry = registry(world, Access::Open)?;
            let built = marked("watched")?.build();
            registry.push(world.node(), "app", "1", &built)?;
            let request = PullImageRequest { reference: registry.reference("app", "1"), auth: None };
            let mut husk = world.client.husk.clone();
            let mut stream = husk.pull_image(request).await?.into_inner();
            let mut events = Vec::new();
            while let Some(message) = stream.message().await? {
                events.push(message.event.context("a message without an event")?);
            }
            let Some(Event::Resolved(resolved)) = events.first() else {
                anyhow::bail!("the first message is {:?}", events.first());
            };
            let digests: Vec<&str> = built.layers.iter().map(|layer| layer.digest.as_str()).collect();
            let told: Vec<&str> = resolved.layers.iter().map(|layer| layer.digest.as_str()).collect();
            assert_eq!(told, digests);
            let Some(Event::Done(done)) = events.last() else {
                anyhow::bail!("the last message is {:?}", events.last());
            };
            assert_eq!(done.image_id, built.id());
            for digest in digests {
                let last = events.iter().rev().find_map(|event| match event {
                    Event::Layer(layer) if layer.digest == digest => Some(layer),
                    _ => None,
                });
                let phase = last.with_context(|| format!("nothing about {digest}"))?.phase();
                ensure!([LayerPhase::Done, LayerPhase::Present].contains(&phase), "{digest} ends as {phase:?}");
            }
            Ok(())
        })
        .await
}
