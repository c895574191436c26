// SPDX-License-Identifier: Apache-2.0
//! Images.

use std::collections::HashMap;

use image::Image;
use proto::cri;

/// The `image_ref` of each image on the node: its first digest reference, which is what Kubernetes shows as a
/// container's `imageID`.
#[derive(Debug, Default)]
pub(crate) struct Digests(HashMap<String, String>);

impl Digests {
    /// Those of a picture of the image store.
    pub(crate) fn of<'a>(images: impl IntoIterator<Item = &'a Image>) -> Self {
        let first = |image: &Image| Some((image.id.to_string(), image.repo_digests.first()?.clone()));
        Self(images.into_iter().filter_map(first).collect())
    }

    /// The `image_ref` for an image id: the id itself for an image that has no digest reference, or is gone.
    pub(crate) fn reference(&self, image_id: &str) -> String {
        self.0.get(image_id).map_or(image_id, String::as_str).to_owned()
    }
}

/// An image.
pub(crate) fn image(image: &Image) -> cri::Image {
    let (uid, username) = user(image.config.user.as_deref().unwrap_or_default());
    cri::Image {
        id: image.id.to_string(),
        repo_tags: image.repo_tags.clone(),
        repo_digests: image.repo_digests.clone(),
        // The kubelet takes 0 for a fault; an image without any file still has its documents.
        size: image.size_bytes.max(1),
        uid,
        username,
        spec: None,
        pinned: image.pinned,
    }
}

/// What `USER` says about who a container runs as, for the kubelet's `runAsNonRoot`: a number, or else a name. An
/// image without one runs as root.
fn user(text: &str) -> (Option<cri::Int64Value>, String) {
    let name = text.split(':').next().unwrap_or_default();
    if name.is_empty() {
        return (Some(cri::Int64Value { value: 0 }), String::new());
    }
    match name.parse::<u32>() {
        Ok(uid) if name.bytes().all(|byte| byte.is_ascii_digit()) => {
            (Some(cri::Int64Value { value: i64::from(uid) }), String::new())
        }
        // Hostile text: one line is enough for every real name.
        _ => (None, name.chars().filter(|c| !c.is_control()).take(256).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_images() {
        let table = [
            ("", Some(0), ""),
            (":1000", Some(0), ""),
            ("1002", Some(1002), ""),
            ("1003:users", Some(1003), ""),
            ("www-data", None, "www-data"),
            ("www-data:100", None, "www-data"),
            ("+5", None, "+5"),
            ("99999999999", None, "99999999999"),
            ("a\nb", None, "ab"),
        ];
        for (text, uid, username) in table {
            let expected = (uid.map(|value| cri::Int64Value { value }), username.to_owned());
            assert_eq!(user(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_image_that_is_gone_is_named_by_its_id() {
        let digests = Digests(HashMap::from([("sha256:a".to_owned(), "r.io/a@sha256:m".to_owned())]));
        assert_eq!(digests.reference("sha256:a"), "r.io/a@sha256:m");
        assert_eq!(digests.reference("sha256:b"), "sha256:b");
    }
}
