// SPDX-License-Identifier: Apache-2.0
//! The `manifest.json` of `docker save` (moby image spec v1.2): paths of a configuration and of layers, and tags.

use serde::Deserialize;

use super::{Archive, Planned, PlannedLayer};
use crate::config;
use crate::digest::{Digest, ImageId};
use crate::error::Error;
use crate::limits;
use crate::platform::Platform;
use crate::reference::Reference;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

pub(super) fn plan(archive: &Archive, platform: &Platform) -> Result<Vec<Planned>, Error> {
    let bytes = archive.bytes("manifest.json", limits::ARCHIVE_INDEX_BYTES)?;
    let items: Vec<Item> =
        serde_json::from_slice(&bytes).map_err(|e| archive.unusable(&format!("manifest.json is malformed: {e}")))?;
    items.into_iter().map(|item| image(archive, item, platform)).collect()
}

fn image(archive: &Archive, item: Item, platform: &Platform) -> Result<Planned, Error> {
    let bytes = archive.bytes(&item.config, limits::CONFIG_BYTES)?;
    let parsed = config::parse(&bytes)?;
    let id = Digest::of(&bytes);
    let paths = item.layers.unwrap_or_default();
    parsed.check(paths.len(), platform, &item.config)?;
    let layers = paths
        .iter()
        .zip(&parsed.diff_ids)
        .map(|(path, diff_id)| {
            let section = archive.section(path)?;
            let blob = digest_of_path(path).map(|digest| (digest, section.length()));
            Ok(PlannedLayer { section, blob, diff_id: diff_id.clone() })
        })
        .collect::<Result<_, Error>>()?;
    let tags = item
        .repo_tags
        .unwrap_or_default()
        .iter()
        .map(|tag| Ok(Reference::parse(tag)?.canonical()))
        .collect::<Result<_, Error>>()?;
    Ok(Planned {
        id: ImageId::new(id.clone()),
        parsed,
        tags,
        digests: Vec::new(),
        layers,
        documents: vec![(id, bytes)],
    })
}

/// Newer archives have the blobs of an OCI layout, whose names say what they must hash to.
fn digest_of_path(path: &str) -> Option<Digest> {
    let (algorithm, hex) = path.strip_prefix("blobs/")?.split_once('/')?;
    Digest::parse(&format!("{algorithm}:{hex}")).ok()
}
