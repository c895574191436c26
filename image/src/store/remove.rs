// SPDX-License-Identifier: Apache-2.0
//! Removing names and images (CRI `RemoveImage`): by tag that tag only, by id everything. What containers hold stays on the disk.

use std::sync::Arc;

use super::find::{self, Found};
use super::records;
use super::{Image, Inner, Store, blocking};
use crate::digest::ImageId;
use crate::error::Error;

/// What a removal did. Removing what isn't there does nothing and is no error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that no image has any more.
    pub names: Vec<String>,
    /// The image, if it went as a whole.
    pub image: Option<ImageId>,
    /// Bytes that were given back at once.
    pub freed_bytes: u64,
}

impl Store {
    /// Removes a tag, a digest or, by id, an image with all its names. An image goes with its last tag, and with its last name. Its layers
    /// are freed before this returns unless something else needs them.
    ///
    /// # Errors
    /// `InvalidInput` kinds as [`Store::find`]; `Io` if the disk refuses. It needs no free space.
    pub async fn remove(&self, spec: &str) -> Result<Removed, Error> {
        let inner = Arc::clone(&self.0);
        let spec = spec.to_owned();
        blocking("the removal", move || inner.remove(&spec)).await
    }
}

impl Inner {
    fn remove(&self, spec: &str) -> Result<Removed, Error> {
        let mut removed = Removed::default();
        {
            let _change = self.change();
            let Some(found) = find::find(&self.snapshot.load_full(), spec)? else { return Ok(removed) };
            let (name, image) = match found {
                Found::Id(image) => (None, image),
                Found::Tag(name, image) | Found::Digest(name, image) => (Some(name), image),
            };
            match name {
                Some(name) if !is_last(&image, &name) => self.unname(&image, name, &mut removed)?,
                _ => self.remove_image(&image, &mut removed)?,
            }
        }
        if removed.image.is_some() {
            removed.freed_bytes = self.collect_unused()?.bytes;
        }
        Ok(removed)
    }

    fn unname(&self, image: &Arc<Image>, name: String, removed: &mut Removed) -> Result<(), Error> {
        let Some(mut record) = self.state().images.get(&image.id).map(|stored| stored.record.clone()) else {
            return Ok(());
        };
        record.tags.retain(|tag| tag.name != name);
        record.digests.retain(|digest| *digest != name);
        records::write_smaller(&self.layout, &record)?;
        self.update(record);
        removed.names.push(name);
        Ok(())
    }

    fn remove_image(&self, image: &Arc<Image>, removed: &mut Removed) -> Result<(), Error> {
        records::remove(&self.layout, &image.id)?;
        let mut state = self.state();
        state.images.remove(&image.id);
        self.publish(&state);
        removed.names.extend(image.repo_tags.iter().chain(&image.repo_digests).cloned());
        removed.image = Some(image.id.clone());
        tracing::info!(image = %image.id, "removed an image");
        Ok(())
    }
}

/// Whether the image is gone without `name`: digests alone don't keep one that had tags.
fn is_last(image: &Image, name: &str) -> bool {
    let other_tags = image.repo_tags.iter().any(|tag| tag != name);
    let was_tag = image.repo_tags.iter().any(|tag| tag == name);
    let other_digests = image.repo_digests.iter().any(|digest| digest != name);
    !other_tags && (was_tag || !other_digests)
}
