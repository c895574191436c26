// SPDX-License-Identifier: Apache-2.0
//! An OCI image layout in a tar file (image-spec, "image-layout").

use super::{Archive, Planned, PlannedLayer};
use crate::config;
use crate::digest::{Digest, ImageId};
use crate::error::Error;
use crate::limits;
use crate::manifest::{self, Descriptor, Document, Manifest};
use crate::platform::Platform;
use crate::reference::Reference;

/// Where tools put an image's name, the most telling first.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

pub(super) fn plan(archive: &Archive, platform: &Platform) -> Result<Vec<Planned>, Error> {
    let bytes = archive.bytes("index.json", limits::MANIFEST_BYTES)?;
    let Document::Index(index) = manifest::parse(&bytes, None)? else {
        return Err(archive.unusable("index.json is no image index"));
    };
    let fits = |entry: &&Descriptor| entry.platform.as_ref().is_none_or(|own| platform.fitness(own).is_some());
    let chosen: Vec<&Descriptor> = index.iter().filter(fits).collect();
    if chosen.is_empty() && !index.is_empty() {
        let reference = archive.name();
        return Err(Error::NoPlatform { reference, wanted: platform.to_string(), available: manifest::offers(&index) });
    }
    chosen.into_iter().map(|entry| image(archive, entry, platform)).collect()
}

fn image(archive: &Archive, entry: &Descriptor, platform: &Platform) -> Result<Planned, Error> {
    let mut documents = Vec::new();
    let mut descriptor = entry.clone();
    for _ in 0..limits::INDEX_DEPTH {
        let bytes = blob(archive, &descriptor, limits::MANIFEST_BYTES)?;
        let document = manifest::parse(&bytes, Some(&descriptor.media_type))?;
        documents.push((descriptor.digest.clone(), bytes));
        match document {
            Document::Manifest(manifest) => return finish(archive, entry, manifest, documents, platform),
            Document::Index(index) => {
                let chosen = manifest::select(&index, platform).ok_or_else(|| Error::NoPlatform {
                    reference: archive.name(),
                    wanted: platform.to_string(),
                    available: manifest::offers(&index),
                })?;
                descriptor = chosen.clone();
            }
        }
    }
    Err(archive.unusable("its indexes are nested too deeply"))
}

fn finish(
    archive: &Archive,
    entry: &Descriptor,
    manifest: Manifest,
    mut documents: Vec<(Digest, Vec<u8>)>,
    platform: &Platform,
) -> Result<Planned, Error> {
    let bytes = blob(archive, &manifest.config, limits::CONFIG_BYTES)?;
    let parsed = config::parse(&bytes)?;
    parsed.check(manifest.layers.len(), platform, &archive.name())?;
    let layers = manifest
        .layers
        .iter()
        .zip(&parsed.diff_ids)
        .map(|(layer, diff_id)| {
            let section = archive.section(&path(&layer.digest))?;
            Ok(PlannedLayer { section, blob: Some((layer.digest.clone(), layer.size)), diff_id: diff_id.clone() })
        })
        .collect::<Result<_, Error>>()?;
    let name = NAMES.iter().filter_map(|key| entry.annotations.get(*key)).find_map(|name| named(name));
    let digests = name.iter().map(|name| name.with_digest(entry.digest.clone()).canonical()).collect();
    let tags = name.iter().map(Reference::canonical).collect();
    documents.push((manifest.config.digest.clone(), bytes));
    Ok(Planned { id: ImageId::new(manifest.config.digest), parsed, tags, digests, layers, documents })
}

/// `org.opencontainers.image.ref.name` is a whole name or, from some tools, a bare tag, which names nothing.
fn named(text: &str) -> Option<Reference> {
    if !text.contains([':', '/']) {
        return None;
    }
    Reference::parse(text).ok().filter(|reference| reference.tag().is_some())
}

fn path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// A small blob, verified.
fn blob(archive: &Archive, descriptor: &Descriptor, most_bytes: u64) -> Result<Vec<u8>, Error> {
    let bytes = archive.bytes(&path(&descriptor.digest), most_bytes)?;
    let found = descriptor.digest.same_algorithm_of(&bytes);
    if found != descriptor.digest || bytes.len() as u64 != descriptor.size {
        return Err(Error::corrupt(
            format!("blob {} of the archive", descriptor.digest),
            format!("its digest is {found}"),
        ));
    }
    Ok(bytes)
}
