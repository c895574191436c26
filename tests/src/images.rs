// SPDX-License-Identifier: Apache-2.0
//! Images made from raw bytes: layers, configuration, manifest, and the two archive forms.
//!
//! Sources: OCI image-spec ("manifest", "config", "image-layout") and the format of `docker save`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::tar::{Archive, Entry};

/// Media type of an OCI manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an OCI image configuration.
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of an uncompressed OCI layer.
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A blob's name: `sha256:` and 64 hex digits.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A layer: the bytes of its tar archive.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The archive, uncompressed.
    pub tar: Vec<u8>,
}

impl Layer {
    /// A layer of these entries.
    #[must_use]
    pub fn of(entries: &[Entry]) -> Layer {
        Layer { tar: Archive::new().entries(entries).finish() }
    }

    /// A root file system made from Debian's static busybox: every applet as a link in `/bin`, the
    /// files of users and groups, and an empty `/tmp`, `/etc`, `/root`, `/var/www`.
    ///
    /// # Errors
    /// When `/bin/busybox` is missing: install `busybox-static`.
    pub fn busybox() -> Result<Layer> {
        let program = Path::new("/bin/busybox");
        let bytes = fs::read(program).context("read /bin/busybox: install busybox-static")?;
        let applets = Command::new(program).arg("--list").output().context("list the applets of /bin/busybox")?;
        ensure!(applets.status.success(), "busybox --list failed");
        let mut entries = vec![
            Entry::directory("bin"),
            Entry::directory("dev"),
            Entry::directory("etc"),
            Entry::directory("proc"),
            Entry::directory("root").mode(0o700),
            Entry::directory("sys"),
            Entry::directory("tmp").mode(0o1777),
            Entry::directory("var"),
            Entry::directory("var/www"),
            Entry::file(
                "etc/passwd",
                "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
            ),
            Entry::file("etc/group", "root:x:0:\nwww-data:x:33:\nextra:x:1234:www-data\nnogroup:x:65534:\n"),
            Entry::file("var/www/index.html", "served by busybox\n"),
            Entry::program("bin/busybox", bytes),
        ];
        for applet in String::from_utf8_lossy(&applets.stdout).lines() {
            if applet != "busybox" {
                entries.push(Entry::symlink(&format!("bin/{applet}"), "busybox"));
            }
        }
        Ok(Layer::of(&entries))
    }
}

/// An image: its layers from the bottom to the top, and the `config` object of its configuration.
#[derive(Clone, Debug)]
pub struct Image {
    layers: Vec<Layer>,
    /// The object `config` of the image configuration: `Env`, `Cmd`, `User` and so on.
    settings: Value,
}

impl Image {
    /// An image of these layers that sets PATH and nothing else.
    #[must_use]
    pub fn new(layers: Vec<Layer>) -> Image {
        Image { layers, settings: json!({ "Env": ["PATH=/bin:/sbin:/usr/bin"] }) }
    }

    /// The usual image of the tests: busybox, and the command `sh`.
    ///
    /// # Errors
    /// When `/bin/busybox` is missing.
    pub fn busybox() -> Result<Image> {
        Ok(Image::new(vec![Layer::busybox()?]).setting("Cmd", json!(["sh"])))
    }

    /// The same image with one key of its `config` object set.
    #[must_use]
    pub fn setting(mut self, key: &str, value: Value) -> Image {
        self.settings[key] = value;
        self
    }

    /// The same image with one more layer on top.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Image {
        self.layers.push(layer);
        self
    }

    /// All its documents, ready to be pushed or archived.
    #[must_use]
    pub fn build(&self) -> Built {
        let layers: Vec<Blob> = self.layers.iter().map(|layer| Blob::new(OCI_LAYER, layer.tar.clone())).collect();
        let diff_ids: Vec<&str> = layers.iter().map(|blob| blob.digest.as_str()).collect();
        let config = Blob::json(
            OCI_CONFIG,
            &json!({
                "architecture": "amd64",
                "os": "linux",
                "created": "2026-01-01T00:00:00Z",
                "config": self.settings,
                "rootfs": { "type": "layers", "diff_ids": diff_ids },
            }),
        );
        let manifest = Blob::json(
            OCI_MANIFEST,
            &json!({
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": config.descriptor(),
                "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
            }),
        );
        Built { layers, config, manifest }
    }
}

/// Some bytes with a name and a type.
#[derive(Clone, Debug)]
pub struct Blob {
    /// What a descriptor calls `mediaType`.
    pub media_type: String,
    /// Digest of the bytes.
    pub digest: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// A blob of this type.
    #[must_use]
    pub fn new(media_type: &str, bytes: Vec<u8>) -> Blob {
        Blob { media_type: media_type.to_owned(), digest: digest(&bytes), bytes }
    }

    /// A document as a blob.
    #[must_use]
    pub fn json(media_type: &str, document: &Value) -> Blob {
        Blob::new(media_type, document.to_string().into_bytes())
    }

    /// What refers to it: OCI image-spec, "descriptor".
    #[must_use]
    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }

    /// The digits of the digest.
    fn hex(&self) -> &str {
        self.digest.strip_prefix("sha256:").unwrap_or(&self.digest)
    }
}

/// An image as documents. The fields are open so that a test can spoil them.
#[derive(Clone, Debug)]
pub struct Built {
    /// Layers from the bottom to the top.
    pub layers: Vec<Blob>,
    /// The configuration, whose digest is the image's id.
    pub config: Blob,
    /// The manifest.
    pub manifest: Blob,
}

impl Built {
    /// What the CRI calls the image's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.config.digest
    }

    /// A tar archive of an OCI image layout that holds the image under these names.
    #[must_use]
    pub fn oci_archive(&self, names: &[&str]) -> Vec<u8> {
        let manifests: Vec<Value> = names
            .iter()
            .map(|name| {
                let mut descriptor = self.manifest.descriptor();
                descriptor["annotations"] = json!({
                    "io.containerd.image.name": name,
                    "org.opencontainers.image.ref.name": name,
                });
                descriptor
            })
            .collect();
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
        let mut entries = vec![
            Entry::file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
            Entry::file("index.json", index.to_string()),
            Entry::directory("blobs"),
            Entry::directory("blobs/sha256"),
        ];
        for blob in self.layers.iter().chain([&self.config, &self.manifest]) {
            let name = format!("blobs/sha256/{}", blob.hex());
            entries.push(Entry::file(&name, blob.bytes.clone()));
        }
        Archive::new().entries(&entries).finish()
    }

    /// The tar archive that `docker save` would write, under these names.
    #[must_use]
    pub fn docker_archive(&self, names: &[&str]) -> Vec<u8> {
        let config = format!("{}.json", self.config.hex());
        let mut entries = vec![Entry::file(&config, self.config.bytes.clone())];
        let mut layers = Vec::new();
        for layer in &self.layers {
            let name = format!("{}/layer.tar", layer.hex());
            entries.push(Entry::directory(layer.hex()));
            entries.push(Entry::file(&name, layer.bytes.clone()));
            layers.push(name);
        }
        let manifest = json!([{ "Config": config, "RepoTags": names, "Layers": layers }]);
        entries.push(Entry::file("manifest.json", manifest.to_string()));
        Archive::new().entries(&entries).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_the_standard() {
        assert_eq!(digest(b"abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn both_archives_unpack_to_documents_that_refer_to_each_other() {
        let built = Image::busybox().unwrap().build();
        let directory = tempfile::tempdir().unwrap();
        for (name, bytes) in
            [("oci", built.oci_archive(&["localhost/x:1"])), ("docker", built.docker_archive(&["localhost/x:1"]))]
        {
            let at = directory.path().join(name);
            fs::create_dir(&at).unwrap();
            fs::write(at.join("a.tar"), bytes).unwrap();
            let tar = Command::new("tar").args(["-xf", "a.tar"]).current_dir(&at).status().unwrap();
            assert!(tar.success());
        }
        let read = |path: &str| fs::read(directory.path().join(path)).unwrap();
        let index: Value = serde_json::from_slice(&read("oci/index.json")).unwrap();
        let blob = |descriptor: &Value| {
            let hex = descriptor["digest"].as_str().unwrap()[7..].to_owned();
            let bytes = read(&format!("oci/blobs/sha256/{hex}"));
            assert_eq!(descriptor["size"], bytes.len());
            assert_eq!(digest(&bytes)[7..], hex);
            bytes
        };
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        let layer = blob(&manifest["layers"][0]);
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer));
        let saved: Value = serde_json::from_slice(&read("docker/manifest.json")).unwrap();
        let config = saved[0]["Config"].as_str().unwrap();
        assert_eq!(digest(&read(&format!("docker/{config}"))), built.id());
        let layer = saved[0]["Layers"][0].as_str().unwrap();
        assert_eq!(digest(&read(&format!("docker/{layer}"))), built.layers[0].digest);
    }
}
