// SPDX-License-Identifier: Apache-2.0
//! `husk image load`.

use std::path::Path;

use anyhow::Context as _;
use proto::husk::LoadImageRequest;
use proto::husk::husk_client::HuskClient;

use super::{connect, said};
use crate::cli;

/// Loads an archive and prints each image and its names.
pub(super) async fn run(socket: &Path, archive: &Path) -> anyhow::Result<()> {
    // The daemon has another working directory.
    let archive = std::fs::canonicalize(archive).with_context(|| format!("find {}", archive.display()))?;
    let path = archive.to_str().with_context(|| format!("{} is not UTF-8", archive.display()))?.to_owned();
    let mut client = HuskClient::new(connect(socket).await?);
    let response =
        client.load_image(LoadImageRequest { path, tags: Vec::new() }).await.map_err(|status| said(&status))?;
    for image in response.into_inner().images {
        let names = if image.references.is_empty() { "(no name)".to_owned() } else { image.references.join(" ") };
        cli::print(&format!("{} {names}\n", image.image_id))?;
    }
    Ok(())
}
