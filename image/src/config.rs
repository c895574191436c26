// SPDX-License-Identifier: Apache-2.0
//! The image configuration (image-spec, "config"), read leniently: fields that are absent or null are simply not set, as Docker wrote
//! them for years, but what is there must have the right type.
//!
//! Image labels and annotations are the image author's words. They stay in this type and are never merged into anything that husk acts on
//! (threats.md 1G, CVE-2026-53488).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::digest::DiffId;
use crate::error::Error;
use crate::limits;
use crate::platform::Platform;

/// What an image asks of the container that runs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// `User`: name or number, with an optional group after a colon. Hostile text.
    pub user: Option<String>,
    /// `Env`: `KEY=value` entries in order.
    pub env: Vec<String>,
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub cmd: Vec<String>,
    /// `WorkingDir`.
    pub working_dir: Option<String>,
    /// `Volumes`: destinations, sorted. Hostile paths.
    pub volumes: Vec<String>,
    /// `StopSignal`.
    pub stop_signal: Option<String>,
    /// `Labels`.
    pub labels: BTreeMap<String, String>,
    /// `ExposedPorts`: `80/tcp` and the like, sorted.
    pub exposed_ports: Vec<String>,
    /// The whole document as the author wrote it, for verbose answers.
    pub raw: Arc<str>,
}

/// A parsed configuration with what the store needs of it.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The part for containers.
    pub config: ImageConfig,
    /// Uncompressed layers, base first.
    pub diff_ids: Vec<DiffId>,
    /// What the image runs on, if it says so.
    pub platform: Option<Platform>,
}

impl Parsed {
    /// Whether configuration, manifest and machine fit together. `layers` is the manifest's number of layers.
    ///
    /// # Errors
    /// `Corrupt` if the numbers of layers differ, `NoPlatform` if the image is for another machine.
    pub fn check(&self, layers: usize, platform: &Platform, name: &str) -> Result<(), Error> {
        if self.diff_ids.len() != layers {
            let reason = format!("its manifest has {layers} layers and its configuration {}", self.diff_ids.len());
            return Err(Error::corrupt(name, reason));
        }
        match &self.platform {
            Some(own) if own.os != platform.os || own.architecture != platform.architecture => Err(Error::NoPlatform {
                reference: name.to_owned(),
                wanted: platform.to_string(),
                available: crate::secret::printable(&own.to_string(), 60),
            }),
            _ => Ok(()),
        }
    }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    config: Option<WireConfig>,
    #[serde(default)]
    rootfs: Option<Rootfs>,
}

#[derive(Deserialize)]
struct Rootfs {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    diff_ids: Option<Vec<DiffId>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct WireConfig {
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    env: Option<Vec<String>>,
    #[serde(default)]
    entrypoint: Option<Vec<String>>,
    #[serde(default)]
    cmd: Option<Vec<String>>,
    #[serde(default)]
    working_dir: Option<String>,
    #[serde(default)]
    volumes: Option<BTreeMap<String, IgnoredAny>>,
    #[serde(default)]
    stop_signal: Option<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    exposed_ports: Option<BTreeMap<String, IgnoredAny>>,
}

/// Parses an image configuration.
///
/// # Errors
/// `Corrupt` for text that isn't such a document, `Unsupported` for one whose root file system isn't made of layers, `Limit` beyond 8 MiB
/// or too many layers.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Error> {
    const WHAT: &str = "the image configuration";
    if bytes.len() as u64 > limits::CONFIG_BYTES {
        return Err(Error::Limit { what: WHAT.to_owned(), limit: "8 MiB".to_owned() });
    }
    let corrupt = |reason: String| Error::corrupt(WHAT, crate::secret::printable(&reason, 200));
    let text = std::str::from_utf8(bytes).map_err(|e| corrupt(e.to_string()))?;
    let wire: Wire = serde_json::from_str(text).map_err(|e| corrupt(e.to_string()))?;
    let rootfs = wire.rootfs.ok_or_else(|| corrupt("it has no rootfs".to_owned()))?;
    if let Some(kind) = rootfs.kind.filter(|kind| kind != "layers") {
        let what = format!("rootfs type {}", crate::secret::printable(&kind, 60));
        return Err(Error::Unsupported { what, reason: "only \"layers\" is".to_owned() });
    }
    let diff_ids = rootfs.diff_ids.unwrap_or_default();
    if diff_ids.len() > limits::LAYERS {
        return Err(Error::Limit {
            what: "the number of layers of the image".to_owned(),
            limit: limits::LAYERS.to_string(),
        });
    }
    let platform = match (wire.os, wire.architecture) {
        (Some(os), Some(architecture)) if !os.is_empty() && !architecture.is_empty() => {
            Some(Platform { os, architecture, variant: wire.variant })
        }
        _ => None,
    };
    let set = |value: Option<String>| value.filter(|text| !text.is_empty());
    let wire = wire.config.unwrap_or_default();
    let config = ImageConfig {
        user: set(wire.user),
        env: wire.env.unwrap_or_default(),
        entrypoint: wire.entrypoint.unwrap_or_default(),
        cmd: wire.cmd.unwrap_or_default(),
        working_dir: set(wire.working_dir),
        volumes: wire.volumes.unwrap_or_default().into_keys().collect(),
        stop_signal: set(wire.stop_signal),
        labels: wire.labels.unwrap_or_default(),
        exposed_ports: wire.exposed_ports.unwrap_or_default().into_keys().collect(),
        raw: text.into(),
    };
    Ok(Parsed { config, diff_ids, platform })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn fields_and_absence() {
        let full = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"User":"1000:50","Env":["A=b"],"Entrypoint":["/e"],"Cmd":null,
            "WorkingDir":"/w","Volumes":{{"/v":{{}}}},"StopSignal":"SIGINT","Labels":{{"k":"v"}},"ExposedPorts":{{"80/tcp":{{}}}}}},
            "rootfs":{{"type":"layers","diff_ids":["{D}","{D}"]}},"history":[{{"created_by":"x"}}],"unknown":1}}"#
        );
        let parsed = parse(full.as_bytes()).unwrap();
        assert_eq!(parsed.diff_ids.len(), 2);
        assert_eq!(parsed.platform.unwrap().to_string(), "linux/amd64");
        let config = parsed.config;
        assert_eq!((config.user.as_deref(), config.working_dir.as_deref()), (Some("1000:50"), Some("/w")));
        assert_eq!(
            (config.env, config.entrypoint, config.cmd),
            (vec!["A=b".to_owned()], vec!["/e".to_owned()], vec![])
        );
        assert_eq!((config.volumes, config.exposed_ports), (vec!["/v".to_owned()], vec!["80/tcp".to_owned()]));
        assert_eq!(
            (config.stop_signal.as_deref(), config.labels["k"].as_str(), &*config.raw),
            (Some("SIGINT"), "v", full.as_str())
        );

        let bare = parse(br#"{"config":null,"rootfs":{"diff_ids":null}}"#).unwrap();
        assert!(bare.platform.is_none() && bare.diff_ids.is_empty() && bare.config.user.is_none());
    }

    #[test]
    fn wrong_documents() {
        let table: [(&[u8], Kind); 6] = [
            (b"{}", Kind::Corrupt),
            (b"\xff", Kind::Corrupt),
            (br#"{"rootfs":{"type":"erofs"}}"#, Kind::Unsupported),
            (br#"{"rootfs":{"diff_ids":["sha256:../x"]}}"#, Kind::Corrupt),
            (br#"{"rootfs":{},"config":{"Env":"A=b"}}"#, Kind::Corrupt),
            (br#"{"rootfs":{},"rootfs":{}}"#, Kind::Corrupt),
        ];
        for (bytes, kind) in table {
            assert_eq!(parse(bytes).unwrap_err().kind(), kind, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
