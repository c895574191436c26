// SPDX-License-Identifier: Apache-2.0
//! Which image a caller means (CRI `ImageSpec.image`): a name in any form, or an id, or the beginning of one.

use std::sync::Arc;

use super::{Image, Store};
use crate::digest::ImageId;
use crate::error::Error;
use crate::reference::{Reference, Selector};

/// What a specification names.
pub(super) enum Found {
    Tag(String, Arc<Image>),
    Digest(String, Arc<Image>),
    Id(Arc<Image>),
}

impl Found {
    pub(super) fn image(self) -> Arc<Image> {
        match self {
            Found::Tag(_, image) | Found::Digest(_, image) | Found::Id(image) => image,
        }
    }
}

impl Store {
    /// Finds an image by id, `sha256:` and id, unambiguous beginning of an id, name, `name:tag` or `name@digest`, short names included.
    ///
    /// # Errors
    /// `InvalidReference` for text that is neither a name nor an id, `AmbiguousId` for a beginning that fits several.
    pub fn find(&self, spec: &str) -> Result<Option<Arc<Image>>, Error> {
        Ok(find(&self.list(), spec)?.map(Found::image))
    }
}

pub(super) fn find(images: &[Arc<Image>], spec: &str) -> Result<Option<Found>, Error> {
    if let Ok(id) = ImageId::parse(spec) {
        return Ok(by_id(images, &id).map(Found::Id));
    }
    let (prefix, is_id) = match spec.strip_prefix("sha256:") {
        Some(rest) => (rest, true),
        None => (spec, false),
    };
    let hex = !prefix.is_empty()
        && prefix.len() <= 64
        && prefix.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let reference = if is_id && hex { None } else { Some(Reference::parse(spec)) };
    match reference {
        Some(Ok(reference)) => {
            if let Some(found) = by_name(images, &reference) {
                return Ok(Some(found));
            }
        }
        Some(Err(error)) if !hex => return Err(error),
        _ => {}
    }
    if !hex {
        return Ok(None);
    }
    let fits: Vec<&Arc<Image>> = images.iter().filter(|image| image.id.hex().starts_with(prefix)).collect();
    match fits.as_slice() {
        [] => Ok(None),
        [image] => Ok(Some(Found::Id(Arc::clone(image)))),
        several => Err(Error::AmbiguousId { prefix: spec.to_owned(), count: several.len() }),
    }
}

fn by_id(images: &[Arc<Image>], id: &ImageId) -> Option<Arc<Image>> {
    images.binary_search_by(|image| image.id.cmp(id)).ok().map(|at| Arc::clone(&images[at]))
}

fn by_name(images: &[Arc<Image>], reference: &Reference) -> Option<Found> {
    let name = reference.canonical();
    match reference.selector() {
        Selector::Tag(_) => {
            let image = images.iter().find(|image| image.repo_tags.contains(&name))?;
            Some(Found::Tag(name, Arc::clone(image)))
        }
        Selector::Digest(_) => {
            let image = images.iter().find(|image| image.repo_digests.contains(&name))?;
            Some(Found::Digest(name, Arc::clone(image)))
        }
    }
}
