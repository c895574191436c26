// SPDX-License-Identifier: Apache-2.0
//! From a reference to the image's parts: index, manifest, configuration.

use super::Inner;
use super::records;
use crate::config::{self, Parsed};
use crate::digest::{Digest, ImageId};
use crate::error::Error;
use crate::limits;
use crate::manifest::{self, Descriptor, Document, Manifest};
use crate::platform::Platform;
use crate::reference::{Reference, Selector};
use crate::registry::Session;

/// An image whose documents are here and whose layers may not be.
pub(super) struct Resolved {
    pub(super) id: ImageId,
    pub(super) parsed: Parsed,
    /// Compressed layers, base first, as many as diff ids.
    pub(super) blobs: Vec<Descriptor>,
    /// The digest that the tag means: of the index if there is one.
    pub(super) top: Digest,
    pub(super) documents: Vec<(Digest, Vec<u8>)>,
}

impl Inner {
    pub(super) async fn resolve(&self, session: &Session, reference: &Reference) -> Result<Resolved, Error> {
        let fetched = session.manifest(reference.selector()).await?;
        let top = fetched.digest.clone();
        let mut document = manifest::parse(&fetched.bytes, fetched.content_type.as_deref())?;
        let mut documents = vec![(fetched.digest, fetched.bytes)];
        for _ in 0..limits::INDEX_DEPTH {
            let index = match document {
                Document::Manifest(manifest) => {
                    return self.with_config(session, reference, manifest, (top, documents)).await;
                }
                Document::Index(index) => index,
            };
            let chosen = choose(&index, &self.options.platform, reference)?;
            let fetched = session.manifest(&Selector::Digest(chosen.digest.clone())).await?;
            if fetched.bytes.len() as u64 != chosen.size {
                let what = format!("manifest {} from {}", chosen.digest, fetched.host);
                return Err(Error::corrupt(
                    what,
                    format!("it has {} bytes and its index says {}", fetched.bytes.len(), chosen.size),
                ));
            }
            document = manifest::parse(&fetched.bytes, Some(&chosen.media_type))?;
            documents.push((fetched.digest, fetched.bytes));
        }
        Err(Error::corrupt(reference.canonical(), "its indexes are nested too deeply"))
    }

    async fn with_config(
        &self,
        session: &Session,
        reference: &Reference,
        manifest: Manifest,
        (top, mut documents): (Digest, Vec<(Digest, Vec<u8>)>),
    ) -> Result<Resolved, Error> {
        let digest = manifest.config.digest.clone();
        let bytes = match records::blob(&self.layout, &digest, limits::CONFIG_BYTES) {
            Some(known) => known,
            None => session.small_blob(&manifest.config, limits::CONFIG_BYTES).await?,
        };
        let parsed = config::parse(&bytes)?;
        parsed.check(manifest.layers.len(), &self.options.platform, &reference.canonical())?;
        documents.push((digest.clone(), bytes));
        Ok(Resolved { id: ImageId::new(digest), parsed, blobs: manifest.layers, top, documents })
    }
}

/// The manifest of an index for this machine.
pub(super) fn choose<'a>(
    index: &'a [Descriptor],
    platform: &Platform,
    reference: &Reference,
) -> Result<&'a Descriptor, Error> {
    manifest::select(index, platform).ok_or_else(|| Error::NoPlatform {
        reference: reference.canonical(),
        wanted: platform.to_string(),
        available: manifest::offers(index),
    })
}
