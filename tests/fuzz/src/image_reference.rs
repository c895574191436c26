// SPDX-License-Identifier: Apache-2.0
//! F-REF: a text → an image reference, which becomes a part of URLs and of file names.

use image::reference::Reference;

use crate::{Verdict, limits, message};

/// Parses `data` as a reference.
///
/// # Panics
/// When an accepted reference doesn't survive being printed and parsed again, or has a part that could lead elsewhere.
pub fn run(data: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(data) else { return Verdict::Refused };
    let parsed = Reference::parse(text);
    match &parsed {
        Ok(reference) => check(reference),
        Err(error) => message::check(error),
    }
    Verdict::of(&parsed)
}

fn check(reference: &Reference) {
    let canonical = reference.canonical();
    for (form, printed) in [("canonical", &canonical), ("familiar", &reference.familiar())] {
        let again =
            Reference::parse(printed).unwrap_or_else(|error| panic!("the {form} form {printed:?} is refused: {error}"));
        assert_eq!(again.canonical(), canonical, "the {form} form {printed:?} names something else");
        assert_eq!(again.selector(), reference.selector(), "the {form} form {printed:?} selects something else");
    }
    assert_eq!(reference.name(), format!("{}/{}", reference.domain(), reference.path()));
    assert!(reference.name().len() <= limits::IMAGE_NAME_BYTES, "the name of {canonical:?} is too long");
    assert!(canonical.bytes().all(|byte| byte.is_ascii_graphic()), "{canonical:?} has a character that is not plain");
    for component in reference.path().split('/') {
        assert!(!component.starts_with('.') && !component.is_empty(), "{canonical:?} has a part that leads elsewhere");
    }
    // A tag may have dots in its middle ("1..2"), which lead nowhere: it has no slash and doesn't begin with one.
    let tag_is_a_word = reference.written_tag().is_none_or(|tag| !tag.starts_with('.') && !tag.contains('/'));
    assert!(tag_is_a_word && !reference.name().contains(".."), "{canonical:?} leads upwards");
    assert!(!reference.domain().contains('/'), "{canonical:?} has a registry with a path");
    assert!(!reference.path().contains([':', '@', '?', '#', '%', '\\']), "{canonical:?} would change a URL");
    if let Some(digest) = reference.digest() {
        assert_eq!(reference.clone().with_digest(digest.clone()).canonical(), canonical);
    }
}
