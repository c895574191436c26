// SPDX-License-Identifier: Apache-2.0
//! F-MANIFEST: a document and what the registry calls it → an index or a manifest, and never both.

use std::collections::BTreeMap;

use image::manifest::{self, Descriptor, Document};
use image::platform::Platform;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::{Verdict, message};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Parses `data` under every name that a registry could give it. The verdict is that of the document alone, without a name.
///
/// # Panics
/// When one document has two meanings, an ambiguous one is accepted, or a parsed one doesn't survive being printed and parsed again.
pub fn run(data: &[u8]) -> Verdict {
    let plain = manifest::parse(data, None);
    let named = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST].map(|name| manifest::parse(data, Some(name)));
    for (at, parsed) in named.iter().enumerate() {
        match parsed {
            Ok(document) => {
                assert_eq!(plain.as_ref().ok(), Some(document), "the name changes what the document means");
                assert_eq!(matches!(document, Document::Index(_)), at < 2, "the name contradicts the document");
            }
            Err(error) => message::check(error),
        }
    }
    let unknown = manifest::parse(data, Some("application/json; charset=utf-8"));
    assert_eq!(plain.as_ref().ok(), unknown.as_ref().ok(), "an unknown name changes what the document means");
    match &plain {
        Ok(document) => {
            refuse_ambiguity(data);
            check(document);
        }
        Err(error) => message::check(error),
    }
    Verdict::of(&plain)
}

/// CVE-2021-41190: what another reader could take for the other kind of document.
fn refuse_ambiguity(data: &[u8]) {
    // The parser skips what it does not know without decoding it, so bytes that are not UTF-8 can be in there.
    let text = String::from_utf8_lossy(data);
    let whole: BTreeMap<String, &RawValue> = serde_json::from_str(&text).expect("an accepted document is an object");
    let written = |key: &str| whole.get(key).map(|value| value.get());
    let has = |key: &str| written(key).is_some_and(|value| value != "null");
    assert!(!(has("manifests") && (has("layers") || has("config"))), "an index that is a manifest too was accepted");
    assert!(!has("fsLayers") && !has("blobs"), "a document of another family was accepted");
    assert_eq!(written("schemaVersion"), Some("2"), "a document of another schema was accepted");
}

fn check(document: &Document) {
    let printed = print(document);
    let again =
        manifest::parse(printed.as_bytes(), None).unwrap_or_else(|error| panic!("{printed} is refused: {error}"));
    assert_eq!(again, *document, "printing changed the document");
    if let Document::Index(entries) = document {
        let host = Platform { os: "linux".into(), architecture: "amd64".into(), variant: Some("v3".into()) };
        if let Some(chosen) = manifest::select(entries, &host) {
            assert!(entries.contains(chosen));
            let other = chosen
                .platform
                .as_ref()
                .is_some_and(|platform| platform.os != "linux" || platform.architecture != "amd64");
            assert!(!other, "a manifest for another machine was chosen");
        }
        message::check(&manifest::offers(entries));
    }
}

fn print(document: &Document) -> String {
    let list = |descriptors: &[Descriptor]| descriptors.iter().map(descriptor).collect::<Vec<_>>();
    let value = match document {
        Document::Index(entries) => json!({ "schemaVersion": 2, "manifests": list(entries) }),
        Document::Manifest(image) => {
            json!({ "schemaVersion": 2, "config": descriptor(&image.config), "layers": list(&image.layers) })
        }
    };
    value.to_string()
}

fn descriptor(descriptor: &Descriptor) -> Value {
    let platform = descriptor.platform.as_ref().map(
        |platform| json!({ "os": platform.os, "architecture": platform.architecture, "variant": platform.variant }),
    );
    json!({
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest.to_string(),
        "size": descriptor.size,
        "platform": platform,
        "annotations": descriptor.annotations,
    })
}
