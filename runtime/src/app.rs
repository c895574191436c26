// SPDX-License-Identifier: Apache-2.0
//! Wiring: from a configuration to a node that can answer calls.

use std::sync::Arc;

use anyhow::Context as _;
use sandbox::Pods;

use crate::config::Config;
use crate::cri::{Node, Selinux};
use crate::ports::{Backlog, CniNetwork, StoredImages};
use crate::{embedded, embedded_network};

/// Where pods get their network from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkSource {
    /// The configuration in `[cni] conf_dir`.
    Configured,
    /// husk's own bridge.
    Embedded,
}

/// Opens everything and recovers what is there; this is also the normal start.
pub(crate) async fn start(config: Config, source: NetworkSource) -> anyhow::Result<Node> {
    let programs = embedded::programs()?;
    let cgroups = cgroups::Hierarchy::detect().context("look for this machine's cgroups")?;
    let network = Arc::new(network(&config, source).await?);
    let images = open_images(&config).await?;
    let options = sandbox::Options {
        root: config.root.clone(),
        state: config.state.clone(),
        netns_dir: config.network.netns_dir.clone(),
        cgroup_parent: config.cgroup.parent.clone(),
        monitor_program: programs.monitor,
        pause_program: programs.pause,
        build: embedded::BUILD.to_owned(),
        cgroups,
    };
    let stored = Arc::new(StoredImages::new(images.clone()));
    let backlog = Arc::new(Backlog::new(Arc::clone(&network)));
    let cni = Arc::new(CniNetwork { client: Arc::clone(&network), backlog: Arc::clone(&backlog) });
    let recovered = Pods::recover(options, cni, Arc::clone(&stored) as Arc<dyn sandbox::ports::Images>).await;
    let (pods, recovered) = recovered.context("recover pods and containers")?;
    for reason in &recovered.put_aside {
        tracing::warn!(reason, "put a record aside");
    }
    let (ready, not_ready, rolled_back) = (recovered.ready, recovered.not_ready, recovered.rolled_back);
    tracing::info!(ready, not_ready, rolled_back, "recover pods");
    // Only now every pod that has an attachment, and every container that stands on layers, is known.
    tokio::spawn(backlog.work_off(orphans(&network, &pods)));
    tokio::spawn(async move { stored.collect_garbage().await });
    Ok(Node { pods, images, network, config: Arc::new(config), selinux: Selinux::detect() })
}

/// The attachments that no pod has, or only one that is stopped: a DEL that failed or a record that was lost.
fn orphans(network: &cni_client::Client, pods: &Pods) -> Vec<cni_client::ContainerId> {
    let snapshot = pods.snapshot();
    let ids = network.ledger().entries().into_iter().map(|entry| entry.container_id.clone());
    let is_in_use = |id: &cni_client::ContainerId| {
        snapshot.pod(&id.to_string()).is_ok_and(|pod| !matches!(pod.state, sandbox::PodState::Stopped))
    };
    ids.filter(|id| !is_in_use(id)).collect()
}

async fn network(config: &Config, source: NetworkSource) -> anyhow::Result<cni_client::Client> {
    let conf_dir = match source {
        NetworkSource::Configured => config.cni.conf_dir.clone(),
        NetworkSource::Embedded => embedded_network::write(config)?,
    };
    let settings = cni_client::Settings {
        conf_dir,
        bin_dirs: config.cni.bin_dirs.clone(),
        ledger_dir: config.root.join("network"),
        timeouts: cni_client::Timeouts { add: config.cni.timeout, del: config.cni.timeout, ..Default::default() },
    };
    cni_client::Client::start(settings).await.context("open the ledger of network attachments")
}

async fn open_images(config: &Config) -> anyhow::Result<image::Store> {
    let root = config.root.join("images");
    let options = image::Options {
        registry_config: Some(config.image.registry_config.clone()),
        max_parallel_layers: config.image.max_parallel_layers,
        progress_timeout: config.image.progress_timeout,
        pinned: config.image.pinned.clone(),
        ..image::Options::default()
    };
    let opened = tokio::task::spawn_blocking(move || image::Store::open(&root, options)).await;
    opened.context("open the image store")?.context("open the image store")
}
