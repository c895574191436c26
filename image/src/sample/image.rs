// SPDX-License-Identifier: Apache-2.0
//! Images for tests: configuration, manifest and layers that fit together, as blobs and as archives.

use super::tar::{Tar, gzip, zstd};
use crate::digest::{DiffId, Digest, ImageId};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// How a layer travels.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Plain,
    Gzip,
    Zstd,
    /// gzip under Docker's media types.
    Docker,
}

#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) blob: Vec<u8>,
    pub(crate) diff_id: DiffId,
    media_type: &'static str,
}

#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
    pub(crate) manifest_type: &'static str,
    pub(crate) layers: Vec<Layer>,
}

impl Sample {
    /// An image of these layers, base first. `name` makes its configuration its own.
    pub(crate) fn new(name: &str, layers: Vec<(Tar, Form)>) -> Sample {
        let docker = layers.iter().any(|(_, form)| matches!(form, Form::Docker));
        let layers: Vec<Layer> = layers.into_iter().map(|(tar, form)| layer(&tar.bytes(), form)).collect();
        let diff_ids: Vec<String> = layers.iter().map(|layer| format!("\"{}\"", layer.diff_id)).collect();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"User":"1000","Env":["NAME={name}"],"Cmd":["/bin/sh"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            diff_ids.join(",")
        )
        .into_bytes();
        let (manifest_type, config_type) = if docker {
            (DOCKER_MANIFEST, "application/vnd.docker.container.image.v1+json")
        } else {
            (OCI_MANIFEST, "application/vnd.oci.image.config.v1+json")
        };
        let list: Vec<String> = layers.iter().map(|layer| descriptor(layer.media_type, &layer.blob, "")).collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{manifest_type}","config":{},"layers":[{}]}}"#,
            descriptor(config_type, &config, ""),
            list.join(",")
        );
        Sample { config, manifest: manifest.into_bytes(), manifest_type, layers }
    }

    /// Two small layers, the upper one with a whiteout and an opaque directory.
    pub(crate) fn small(name: &str) -> Sample {
        let base = Tar::new()
            .dir("./", 0o755)
            .dir("etc", 0o755)
            .file("etc/gone", "1")
            .file("etc/stays", "2")
            .dir("opt", 0o755)
            .file("opt/old", "3");
        let top = Tar::new()
            .dir("etc", 0o755)
            .file("etc/.wh.gone", "")
            .dir("opt", 0o755)
            .file("opt/.wh..wh..opq", "")
            .file("opt/new", name);
        Sample::new(name, vec![(base, Form::Gzip), (top, Form::Zstd)])
    }

    pub(crate) fn id(&self) -> ImageId {
        ImageId::new(Digest::of(&self.config))
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    pub(crate) fn descriptor(&self, extra: &str) -> String {
        descriptor(self.manifest_type, &self.manifest, extra)
    }

    /// All blobs with their digests, the configuration first.
    pub(crate) fn blobs(&self) -> Vec<(Digest, Vec<u8>)> {
        let all = std::iter::once(&self.config).chain(self.layers.iter().map(|layer| &layer.blob));
        all.map(|bytes| (Digest::of(bytes), bytes.clone())).collect()
    }

    /// An OCI layout in a tar file.
    pub(crate) fn oci_archive(&self, name: &str) -> Vec<u8> {
        let annotations = format!(r#","annotations":{{"org.opencontainers.image.ref.name":"{name}"}}"#);
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#,
            self.descriptor(&annotations)
        );
        let mut tar = Tar::new()
            .file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
            .dir("blobs/", 0o755)
            .dir("blobs/sha256/", 0o755);
        for (digest, bytes) in self.blobs().into_iter().chain([(self.digest(), self.manifest.clone())]) {
            tar = tar.file(&format!("blobs/sha256/{}", digest.hex()), bytes);
        }
        tar.file("index.json", index).bytes()
    }

    /// What `docker save` wrote for years: layers in directories, a repeated one as a link. Layers must be plain.
    pub(crate) fn docker_archive(&self, name: &str) -> Vec<u8> {
        let config = format!("{}.json", Digest::of(&self.config).hex());
        let mut tar = Tar::new();
        let mut paths = Vec::new();
        for (number, layer) in self.layers.iter().enumerate() {
            let path = format!("layer{number}/layer.tar");
            tar = match self.layers[..number].iter().position(|earlier| earlier.diff_id == layer.diff_id) {
                Some(earlier) => tar.symlink(&path, &format!("../layer{earlier}/layer.tar")),
                None => tar.file(&path, &layer.blob),
            };
            paths.push(format!("\"{path}\""));
        }
        let manifest = format!(r#"[{{"Config":"{config}","RepoTags":["{name}"],"Layers":[{}]}}]"#, paths.join(","));
        tar.file(&config, &self.config).file("manifest.json", manifest).bytes()
    }
}

fn layer(plain: &[u8], form: Form) -> Layer {
    let (blob, media_type) = match form {
        Form::Plain => (plain.to_vec(), "application/vnd.oci.image.layer.v1.tar"),
        Form::Gzip => (gzip(plain), "application/vnd.oci.image.layer.v1.tar+gzip"),
        Form::Zstd => (zstd(plain), "application/vnd.oci.image.layer.v1.tar+zstd"),
        Form::Docker => (gzip(plain), "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    };
    Layer { blob, diff_id: DiffId::new(Digest::of(plain)), media_type }
}

/// A descriptor of `bytes`; `extra` is JSON that begins with a comma.
pub(crate) fn descriptor(media_type: &str, bytes: &[u8], extra: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}{extra}}}"#, Digest::of(bytes), bytes.len())
}
