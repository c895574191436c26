// SPDX-License-Identifier: Apache-2.0
//! From a record to what callers see, and the one place where an image gets names.

use std::collections::HashMap;
use std::sync::Arc;

use super::layers::Layer;
use super::records::{self, Record};
use super::{Image, Inner, Options, Stored};
use crate::config::ImageConfig;
use crate::digest::{DiffId, Digest, ImageId};
use crate::error::Error;
use crate::limits;

/// What callers see of a record.
pub(super) fn image(record: &Record, config: ImageConfig, layers: &HashMap<DiffId, Layer>, options: &Options) -> Image {
    let mut distinct: Vec<&DiffId> = record.layers.iter().collect();
    distinct.sort();
    distinct.dedup();
    let layer_bytes: u64 = distinct.iter().filter_map(|id| layers.get(*id)).map(|layer| layer.measure.bytes).sum();
    let repo_tags: Vec<String> = record.tags.iter().map(|tag| tag.name.clone()).collect();
    Image {
        id: record.id.clone(),
        pinned: repo_tags.iter().any(|tag| options.pinned.contains(tag)),
        repo_tags,
        repo_digests: record.digests.clone(),
        size_bytes: layer_bytes + record.document_bytes,
        config,
        layers: record.layers.clone(),
    }
}

/// A complete image with the names that it gets now.
pub(super) struct Arrival {
    pub(super) id: ImageId,
    pub(super) config: ImageConfig,
    pub(super) layers: Vec<DiffId>,
    /// Canonical `name:tag`.
    pub(super) tags: Vec<String>,
    /// Canonical `name@digest`.
    pub(super) digests: Vec<String>,
    /// Configuration, manifest and index, with checked digests.
    pub(super) documents: Vec<(Digest, Vec<u8>)>,
}

impl Inner {
    /// Registers an image whose layers are all present and pinned, and takes its tags from the images that had them. Blocking.
    pub(super) fn register(self: &Arc<Inner>, arrival: Arrival) -> Result<Arc<Image>, Error> {
        let _change = self.change();
        self.adopt_directories(&arrival.layers)?;
        for (digest, bytes) in &arrival.documents {
            records::keep_blob(&self.layout, digest, bytes)?;
        }
        let known = self.state().images.get(&arrival.id).map(|stored| stored.record.clone());
        let mut record = known.unwrap_or_else(|| Record::new(arrival.id.clone(), arrival.layers.clone()));
        let id_digest = arrival.id.digest();
        for (digest, bytes) in &arrival.documents {
            if digest == id_digest {
                record.document_bytes = record.document_bytes.max(bytes.len() as u64);
            } else if !record.documents.contains(digest) {
                record.documents.push(digest.clone());
                record.document_bytes += bytes.len() as u64;
            }
        }
        // An image that is tagged anew each night collects digests; the oldest documents are of no use to anybody.
        let surplus = record.documents.len().saturating_sub(limits::DESCRIPTORS);
        record.documents.drain(..surplus);
        arrival.tags.iter().for_each(|tag| record.add_tag(tag.clone(), self.next_sequence()));
        arrival.digests.into_iter().for_each(|digest| record.add_digest(digest));
        records::write(&self.layout, &record)?;
        self.take_tags(&arrival.tags, &arrival.id)?;
        let rest = super::usage::measure_rest(&self.layout)?;
        let mut state = self.state();
        let image = Arc::new(image(&record, arrival.config, &state.layers, &self.options));
        state.images.insert(arrival.id, Stored { image: Arc::clone(&image), record });
        state.rest = rest;
        self.publish(&state);
        drop(state);
        self.sync_soon();
        Ok(image)
    }

    /// Removes `tags` from all images but `keeper`. An image that loses its last tag stays until it is removed by id: containers may run it.
    fn take_tags(&self, tags: &[String], keeper: &ImageId) -> Result<(), Error> {
        let losers: Vec<Record> = {
            let state = self.state();
            let loses =
                |stored: &&Stored| stored.record.id != *keeper && tags.iter().any(|tag| stored.record.has_tag(tag));
            state.images.values().filter(loses).map(|stored| stored.record.clone()).collect()
        };
        for mut record in losers {
            record.tags.retain(|tag| !tags.contains(&tag.name));
            records::write_smaller(&self.layout, &record)?;
            self.update(record);
        }
        Ok(())
    }

    /// Replaces a record in memory, with the same image behind it.
    pub(super) fn update(&self, record: Record) {
        let mut state = self.state();
        let Some(stored) = state.images.get(&record.id) else { return };
        let config = stored.image.config.clone();
        let image = Arc::new(image(&record, config, &state.layers, &self.options));
        state.images.insert(record.id.clone(), Stored { image, record });
        self.publish(&state);
    }
}
