// SPDX-License-Identifier: Apache-2.0
//! Manifests and indexes of both families (OCI image-spec v1.1, Docker image manifest v2 schema 2).
//!
//! A document must have exactly one shape, and every place that names its type must agree with that shape: one digest must never mean
//! two things (CVE-2021-41190).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::digest::Digest;
use crate::error::Error;
use crate::limits;
use crate::platform::Platform;

/// Media types that a manifest request accepts, best first.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
const LAYERS: [&str; 6] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];

/// A parsed document.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// Several manifests, one for each platform.
    Index(Vec<Descriptor>),
    /// One image.
    Manifest(Manifest),
}

/// One image: its configuration and its layers, base first.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The configuration blob.
    pub config: Descriptor,
    /// The layer blobs, base first.
    pub layers: Vec<Descriptor>,
}

/// A pointer to content (image-spec, "descriptor").
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Type of the content.
    #[serde(default)]
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Length of the content in bytes.
    pub size: u64,
    /// What the content runs on; only in an index.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// Free text; `org.opencontainers.image.ref.name` names an image of an archive.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    schema_version: u64,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    fs_layers: Option<IgnoredAny>,
    #[serde(default)]
    blobs: Option<IgnoredAny>,
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Index,
    Manifest,
}

impl Shape {
    fn of_media_type(media_type: &str) -> Option<Shape> {
        if INDEXES.contains(&media_type) {
            Some(Shape::Index)
        } else if MANIFESTS.contains(&media_type) {
            Some(Shape::Manifest)
        } else {
            None
        }
    }
}

/// Parses a manifest or index. `content_type` is what the registry or the descriptor called it; a type that isn't one of the four known
/// ones (registries say `application/json`) decides nothing.
///
/// # Errors
/// `Corrupt` for anything malformed or ambiguous, `Unsupported` for Docker schema 1 and artifacts, `Limit` for too many entries.
pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Document, Error> {
    if bytes.len() as u64 > limits::MANIFEST_BYTES {
        return Err(Error::Limit { what: "the manifest".to_owned(), limit: "4 MiB".to_owned() });
    }
    let corrupt = |reason: String| Error::corrupt("the manifest", reason);
    let wire: Wire = serde_json::from_slice(bytes).map_err(|e| explain_json(bytes, &e))?;
    if wire.schema_version == 1 || wire.fs_layers.is_some() {
        return Err(schema1());
    }
    if wire.schema_version != 2 {
        return Err(corrupt(format!("its schemaVersion is {}, not 2", wire.schema_version)));
    }
    if wire.blobs.is_some() {
        return Err(Error::Unsupported {
            what: "the manifest".to_owned(),
            reason: "it describes an artifact, not an image".to_owned(),
        });
    }
    let shape = match (&wire.manifests, wire.config.is_some() || wire.layers.is_some()) {
        (Some(_), false) => Shape::Index,
        (None, true) => Shape::Manifest,
        (Some(_), true) => return Err(corrupt("it is an index and a manifest at once".to_owned())),
        (None, false) => return Err(corrupt("it has neither manifests nor layers".to_owned())),
    };
    let content_type = content_type.map(|t| t.split(';').next().unwrap_or_default().trim());
    for (place, media_type) in [("mediaType", wire.media_type.as_deref()), ("Content-Type", content_type)] {
        let Some(media_type) = media_type.filter(|t| !t.is_empty()) else { continue };
        match Shape::of_media_type(media_type) {
            Some(named) if named == shape => {}
            Some(_) => return Err(corrupt(format!("its {place} names another kind of document than its content"))),
            None if place == "mediaType" => {
                let what = format!("media type {}", crate::secret::printable(media_type, 120));
                return Err(Error::Unsupported { what, reason: "only OCI and Docker schema 2 images are".to_owned() });
            }
            None => {}
        }
    }
    if let (Some(inner), Some(outer)) = (wire.media_type.as_deref(), content_type)
        && Shape::of_media_type(outer).is_some()
        && inner != outer
        && !inner.is_empty()
    {
        return Err(corrupt("its mediaType and its Content-Type differ".to_owned()));
    }
    finish(shape, wire)
}

fn finish(shape: Shape, wire: Wire) -> Result<Document, Error> {
    let bounded = |list: Vec<Descriptor>, most: usize, what: &str| {
        if list.len() > most {
            return Err(Error::Limit { what: format!("the number of {what}"), limit: most.to_string() });
        }
        Ok(list)
    };
    match shape {
        Shape::Index => Ok(Document::Index(bounded(
            wire.manifests.unwrap_or_default(),
            limits::DESCRIPTORS,
            "manifests in the index",
        )?)),
        Shape::Manifest => {
            let config = wire.config.ok_or_else(|| Error::corrupt("the manifest", "it has no config"))?;
            let layers = bounded(wire.layers.unwrap_or_default(), limits::LAYERS, "layers of the image")?;
            check_config_type(&config)?;
            layers.iter().try_for_each(check_layer_type)?;
            Ok(Document::Manifest(Manifest { config, layers }))
        }
    }
}

fn check_config_type(config: &Descriptor) -> Result<(), Error> {
    if CONFIGS.contains(&config.media_type.as_str()) {
        return Ok(());
    }
    let what = format!("config type {}", crate::secret::printable(&config.media_type, 120));
    Err(Error::Unsupported { what, reason: "it is not the configuration of a container image".to_owned() })
}

fn check_layer_type(layer: &Descriptor) -> Result<(), Error> {
    if LAYERS.contains(&layer.media_type.as_str()) {
        return Ok(());
    }
    let what = format!("layer type {}", crate::secret::printable(&layer.media_type, 120));
    let reason = if layer.media_type.contains("nondistributable") || layer.media_type.contains("foreign") {
        "foreign layers would be fetched from hosts that the image names"
    } else {
        "only tar, gzip and zstd layers are"
    };
    Err(Error::Unsupported { what, reason: reason.to_owned() })
}

fn schema1() -> Error {
    Error::Unsupported {
        what: "Docker schema 1".to_owned(),
        reason: "push the image again with a current tool".to_owned(),
    }
}

/// Schema 1 documents lack fields that [`Wire`] needs, so they are told apart after a failed parse.
fn explain_json(bytes: &[u8], error: &serde_json::Error) -> Error {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        schema_version: u64,
    }
    match serde_json::from_slice::<Version>(bytes) {
        Ok(Version { schema_version: 1 }) => schema1(),
        _ => Error::corrupt("the manifest", crate::secret::printable(&error.to_string(), 200)),
    }
}

/// The manifest of an index that suits `host` best: the highest fitness, the first among equals. Entries without a platform come last.
pub fn select<'a>(index: &'a [Descriptor], host: &Platform) -> Option<&'a Descriptor> {
    let usable = |d: &&Descriptor| Shape::of_media_type(&d.media_type).is_some();
    let mut best: Option<(u32, &Descriptor)> = None;
    for entry in index.iter().filter(usable) {
        let fitness = match &entry.platform {
            Some(platform) => host.fitness(platform),
            None => Some(0),
        };
        if let Some(fitness) = fitness
            && best.is_none_or(|(top, _)| fitness > top)
        {
            best = Some((fitness, entry));
        }
    }
    best.map(|(_, entry)| entry)
}

/// The platforms of an index as one line of text.
pub fn offers(index: &[Descriptor]) -> String {
    let mut names: Vec<String> = index
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
        .filter(|platform| platform.os != "unknown")
        .map(|platform| crate::secret::printable(&platform.to_string(), 40))
        .take(12)
        .collect();
    names.dedup();
    if names.is_empty() { "no platform".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest(extra: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,{extra}"config":{{"mediaType":"{}","digest":"{D}","size":2}},
            "layers":[{{"mediaType":"{}","digest":"{D}","size":3,"annotations":null,"urls":["http://evil/"]}}]}}"#,
            CONFIGS[0], LAYERS[1]
        )
    }

    #[test]
    fn both_shapes_parse() {
        let Document::Manifest(image) = parse(manifest("").as_bytes(), Some("application/json")).unwrap() else {
            panic!()
        };
        assert_eq!((image.layers.len(), image.layers[0].size), (1, 3));
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[
            {{"mediaType":"{m}","digest":"{D}","size":1,"platform":{{"os":"unknown","architecture":"unknown"}}}},
            {{"mediaType":"{m}","digest":"{D}","size":2,"platform":{{"os":"linux","architecture":"amd64"}}}},
            {{"mediaType":"{m}","digest":"{D}","size":3,"platform":{{"os":"linux","architecture":"amd64","variant":"v2"}}}},
            {{"mediaType":"{m}","digest":"{D}","size":4}}]}}"#,
            INDEXES[0],
            m = MANIFESTS[0]
        );
        let Document::Index(list) = parse(index.as_bytes(), Some(&format!("{}; charset=utf-8", INDEXES[0]))).unwrap()
        else {
            panic!()
        };
        let host = |variant: &str| Platform {
            os: "linux".into(),
            architecture: "amd64".into(),
            variant: Some(variant.into()),
        };
        assert_eq!(select(&list, &host("v1")).unwrap().size, 2);
        assert_eq!(select(&list, &host("v3")).unwrap().size, 3);
        let arm = Platform { os: "linux".into(), architecture: "arm64".into(), variant: None };
        assert_eq!(select(&list, &arm).unwrap().size, 4);
        assert!(select(&list[..3], &arm).is_none());
        assert_eq!(offers(&list), "linux/amd64, linux/amd64/v2");
    }

    #[test]
    fn ambiguous_and_foreign_documents_are_refused() {
        let index_type = format!("\"mediaType\":\"{}\",", INDEXES[0]);
        let table = [
            (manifest("\"manifests\":[],"), None, Kind::Corrupt),
            (manifest(&index_type), None, Kind::Corrupt),
            (manifest(""), Some(INDEXES[1]), Kind::Corrupt),
            (manifest(&format!("\"mediaType\":\"{}\",", MANIFESTS[0])), Some(MANIFESTS[1]), Kind::Corrupt),
            (manifest("\"layers\":[],"), None, Kind::Corrupt),
            (manifest("\"mediaType\":\"application/x\","), None, Kind::Unsupported),
            (manifest("").replace(CONFIGS[0], "application/vnd.oci.empty.v1+json"), None, Kind::Unsupported),
            (manifest("").replace("layer.v1.tar", "layer.nondistributable.v1.tar"), None, Kind::Unsupported),
            (manifest("").replace(D, "sha256:../../etc"), None, Kind::Corrupt),
            (manifest("").replace("\"size\":3", "\"size\":-3"), None, Kind::Corrupt),
            (manifest("").replace(":2,", ":3,"), None, Kind::Corrupt),
            (r#"{"schemaVersion":1,"name":"x","fsLayers":[]}"#.to_owned(), None, Kind::Unsupported),
            (r#"{"schemaVersion":2}"#.to_owned(), None, Kind::Corrupt),
            ("[".repeat(100_000), None, Kind::Corrupt),
            (format!("{}{}", manifest(""), " ".repeat(4 << 20)), None, Kind::Exhausted),
        ];
        for (text, content_type, kind) in table {
            let error = parse(text.as_bytes(), content_type).unwrap_err();
            assert_eq!(error.kind(), kind, "{error} for {}", &text[..text.len().min(120)]);
        }
    }
}
