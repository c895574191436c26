// SPDX-License-Identifier: Apache-2.0
//! Images from archives: what `docker save`, `podman save`, `skopeo copy … oci-archive:` and buildx write, plain, gzip or zstd.
//!
//! The archive is indexed once, by seeking over its content, and then its layers are unpacked in parallel from where they lie in the
//! file, through the same stream that a pull uses.

mod archive;
mod docker;
mod oci;

use std::path::Path;
use std::sync::Arc;

use crate::config::Parsed;
use crate::digest::{DiffId, Digest, ImageId};
use crate::error::Error;
use crate::platform::Platform;

pub(crate) use archive::{Archive, Section};

/// An image that came out of an archive.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The image as it is now.
    pub image: Arc<crate::store::Image>,
    /// The names that the archive gave it; empty if it gave none.
    pub names: Vec<String>,
}

/// One image of an archive, ready to be unpacked.
pub(crate) struct Planned {
    pub(crate) id: ImageId,
    pub(crate) parsed: Parsed,
    /// Canonical tags.
    pub(crate) tags: Vec<String>,
    /// Canonical `name@digest`, where the archive has the manifest.
    pub(crate) digests: Vec<String>,
    /// Base first, as many as diff ids.
    pub(crate) layers: Vec<PlannedLayer>,
    pub(crate) documents: Vec<(Digest, Vec<u8>)>,
}

/// One layer's bytes in the archive.
#[derive(Clone)]
pub(crate) struct PlannedLayer {
    pub(crate) section: Section,
    /// What the bytes must hash to, where the archive says so.
    pub(crate) blob: Option<(Digest, u64)>,
    pub(crate) diff_id: DiffId,
}

/// Reads what an archive holds for this machine. Blocking.
///
/// # Errors
/// `Archive` for a file that is none, `NoPlatform`, and the errors of manifests and configurations.
pub(crate) fn plan(path: &Path, scratch: &Path, most_bytes: u64, platform: &Platform) -> Result<Vec<Planned>, Error> {
    let archive = Archive::open(path, scratch, most_bytes)?;
    let planned = if archive.has("manifest.json") {
        docker::plan(&archive, platform)?
    } else if archive.has("index.json") {
        oci::plan(&archive, platform)?
    } else {
        return Err(archive.unusable("it has neither index.json nor manifest.json"));
    };
    if planned.is_empty() {
        return Err(archive.unusable("it holds no image"));
    }
    Ok(planned)
}
