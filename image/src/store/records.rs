// SPDX-License-Identifier: Apache-2.0
//! Records of images: what is written, and what is believed when it is read again.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::layout::{Layout, names};
use crate::digest::{DiffId, Digest, ImageId};
use crate::error::Error;
use crate::{atomic_file, config, limits};

const VERSION: u32 = 1;

/// The file of one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) version: u32,
    pub(super) id: ImageId,
    pub(super) tags: Vec<Tag>,
    /// `name@digest`.
    pub(super) digests: Vec<String>,
    /// Manifests and indexes in `blobs/` that belong to it, beside the configuration.
    pub(super) documents: Vec<Digest>,
    /// Base first.
    pub(super) layers: Vec<DiffId>,
    /// Bytes of configuration and documents.
    pub(super) document_bytes: u64,
}

/// A name, and when the image got it relative to other names: a crash can leave a tag on two images, and then the newer one has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tag {
    pub(super) name: String,
    pub(super) sequence: u64,
}

impl Record {
    pub(super) fn new(id: ImageId, layers: Vec<DiffId>) -> Record {
        Record {
            version: VERSION,
            id,
            tags: Vec::new(),
            digests: Vec::new(),
            documents: Vec::new(),
            layers,
            document_bytes: 0,
        }
    }

    pub(super) fn has_tag(&self, name: &str) -> bool {
        self.tags.iter().any(|tag| tag.name == name)
    }

    /// Gives it a tag; the sequence is renewed if it has it.
    pub(super) fn add_tag(&mut self, name: String, sequence: u64) {
        self.tags.retain(|tag| tag.name != name);
        self.tags.push(Tag { name, sequence });
        self.tags.sort_by(|a, b| a.name.cmp(&b.name));
    }

    pub(super) fn add_digest(&mut self, name: String) {
        if !self.digests.contains(&name) {
            self.digests.push(name);
            self.digests.sort();
        }
    }

    fn bytes(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec_pretty(self).map_err(|e| Error::corrupt("an image record", e.to_string()))
    }
}

/// Writes a record that may have grown.
pub(super) fn write(layout: &Layout, record: &Record) -> Result<(), Error> {
    atomic_file::replace(&layout.record(&record.id), &record.bytes()?)
}

/// Writes a record that lost a name, also on a full disk.
pub(super) fn write_smaller(layout: &Layout, record: &Record) -> Result<(), Error> {
    atomic_file::shrink(&layout.record(&record.id), &record.bytes()?)
}

/// Removes a record; its documents are garbage then.
pub(super) fn remove(layout: &Layout, id: &ImageId) -> Result<(), Error> {
    let path = layout.record(id);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &path, e)),
        _ => Ok(()),
    }
}

/// Keeps a document, whose digest was checked, under its name.
pub(super) fn keep_blob(layout: &Layout, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
    let path = layout.blob(digest);
    if std::fs::metadata(&path).is_ok_and(|stat| stat.len() == bytes.len() as u64) {
        return Ok(());
    }
    atomic_file::replace(&path, bytes)
}

/// Reads a document back, if it is there and undamaged.
pub(super) fn blob(layout: &Layout, digest: &Digest, most_bytes: u64) -> Option<Vec<u8>> {
    let bytes = atomic_file::read(&layout.blob(digest), most_bytes).ok()??;
    (digest.same_algorithm_of(&bytes) == *digest).then_some(bytes)
}

/// Reads all records with their configurations. What can't be read or isn't what its name says goes to the quarantine.
pub(super) fn load(layout: &Layout) -> Result<Vec<(Record, config::Parsed)>, Error> {
    let mut found = Vec::new();
    for name in names(&layout.records())? {
        if name.starts_with(atomic_file::TEMPORARY) {
            continue;
        }
        match read(layout, &name) {
            Ok(loaded) => found.push(loaded),
            Err(reason) => {
                tracing::warn!(record = %layout.records().join(&name).display(), reason, "put an image record aside");
                if let Err(error) = put_aside(layout, &name) {
                    tracing::warn!(%error, "leave an unusable image record where it is");
                }
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
    Ok(found)
}

fn read(layout: &Layout, name: &str) -> Result<(Record, config::Parsed), String> {
    let path = layout.records().join(name);
    let bytes = atomic_file::read(&path, limits::RECORD_BYTES).map_err(|e| e.to_string())?.ok_or("it vanished")?;
    let record: Record = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    if record.version != VERSION {
        return Err(format!("its version is {}, and this husk knows {VERSION}", record.version));
    }
    if layout.record(&record.id) != path {
        return Err("its name is not that of its image".to_owned());
    }
    let config =
        blob(layout, record.id.digest(), limits::CONFIG_BYTES).ok_or("its configuration is missing or damaged")?;
    let parsed = config::parse(&config).map_err(|e| e.to_string())?;
    if parsed.diff_ids != record.layers {
        return Err("its layers are not those of its configuration".to_owned());
    }
    Ok((record, parsed))
}

fn put_aside(layout: &Layout, name: &str) -> Result<(), Error> {
    let from = layout.records().join(name);
    // The name may be taken by an earlier one; the newest evidence is the one to keep.
    let to = layout.quarantine().join(name);
    if to.is_dir() {
        std::fs::remove_dir_all(&to).map_err(|e| Error::io("remove", &to, e))?;
    }
    std::fs::rename(&from, &to).map_err(|e| Error::io("move to the quarantine", &from, e))
}

/// Where a crash left one tag on two images, only the newer image keeps it. The stale record is corrected when it is next written.
pub(super) fn without_stale_tags(mut records: Vec<(Record, config::Parsed)>) -> Vec<(Record, config::Parsed)> {
    let mut newest: HashMap<String, u64> = HashMap::new();
    for tag in records.iter().flat_map(|(record, _)| &record.tags) {
        let known = newest.entry(tag.name.clone()).or_insert(tag.sequence);
        *known = tag.sequence.max(*known);
    }
    for (record, _) in &mut records {
        record.tags.retain(|tag| newest.get(&tag.name) == Some(&tag.sequence));
    }
    records
}
