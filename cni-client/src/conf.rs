// SPDX-License-Identifier: Apache-2.0
//! A network configuration: CNI "Section 1: Network configuration format".
//!
//! The bytes of each plugin's part are kept as they are in the file: unknown keys, numbers of any size
//! and their notation reach the plugin unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::limits;
use crate::names::{InvalidName, NetworkName, PluginType};
use crate::version::{SpecVersion, UnknownVersion};

/// A list of plugins that make one network. A file with a single plugin becomes a list of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkList {
    /// Its name; IPAM plugins keep their state under it.
    pub name: NetworkName,
    /// The version that plugins are spoken to in: the newest that the list and this client know.
    pub version: SpecVersion,
    /// `disableCheck`: the administrator does not want CHECK.
    pub check_disabled: bool,
    /// `disableGC`: the network is shared with another runtime, whose attachments GC would take away.
    pub gc_disabled: bool,
    /// In the order of ADD; never empty.
    pub plugins: Vec<PluginConf>,
    /// The file that it came from.
    pub source: PathBuf,
}

/// One plugin of a list.
#[derive(Clone, Debug)]
pub struct PluginConf {
    /// Its type, which is the name of its binary.
    pub plugin_type: PluginType,
    /// The capabilities that it declares with `true`.
    pub capabilities: BTreeSet<String>,
    keys: BTreeMap<String, Box<RawValue>>,
    raw: Box<RawValue>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Read(std::io::Error),
    /// The file is no regular file, or a very long one.
    #[error("it is not a regular file of at most {max} KiB", max = limits::CONF_BYTES / 1024)]
    NotAFile,
    /// It is not JSON, or a key has the wrong type.
    #[error("it is not a CNI configuration: {0}")]
    Syntax(serde_json::Error),
    /// A key is missing.
    #[error("the key {0:?} is missing")]
    Missing(&'static str),
    /// It has no plugin, or too many.
    #[error("it has {0} plugins instead of 1 to {max}", max = limits::PLUGINS)]
    Plugins(usize),
    /// The name or a type is not valid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// No version that this client speaks.
    #[error(transparent)]
    Version(#[from] UnknownVersion),
}

#[derive(Deserialize)]
struct File {
    name: Option<String>,
    #[serde(rename = "cniVersion")]
    version: Option<String>,
    #[serde(rename = "cniVersions", default)]
    versions: Vec<String>,
    #[serde(rename = "disableCheck", default)]
    disable_check: Option<Flag>,
    #[serde(rename = "disableGC", default)]
    disable_gc: Option<Flag>,
    plugins: Option<Vec<Box<RawValue>>>,
}

/// The reference library takes both notations.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Bool(bool),
    Text(String),
}

impl Flag {
    fn is_set(&self) -> bool {
        match self {
            Self::Bool(set) => *set,
            Self::Text(text) => text.eq_ignore_ascii_case("true"),
        }
    }
}

/// Reads a list, or a single plugin's configuration (no key `plugins`), which becomes a list of one.
/// Pure: `source` is only remembered.
///
/// # Errors
/// When it is not JSON, lacks a key, has a version that this client does not speak, or a name that is
/// not allowed.
pub fn parse(source: &Path, bytes: &[u8]) -> Result<NetworkList, ConfError> {
    if bytes.len() as u64 > limits::CONF_BYTES {
        return Err(ConfError::NotAFile);
    }
    let whole: &RawValue = serde_json::from_slice(bytes).map_err(ConfError::Syntax)?;
    let file: File = serde_json::from_str(whole.get()).map_err(ConfError::Syntax)?;
    let version = choose_version(file.version.as_deref(), &file.versions)?;
    let name = file.name.ok_or(ConfError::Missing("name"))?;
    let parts = file.plugins.unwrap_or_else(|| vec![whole.to_owned()]);
    if parts.is_empty() || parts.len() > limits::PLUGINS {
        return Err(ConfError::Plugins(parts.len()));
    }
    Ok(NetworkList {
        name: NetworkName::parse(&name)?,
        version,
        check_disabled: file.disable_check.is_some_and(|flag| flag.is_set()),
        gc_disabled: file.disable_gc.is_some_and(|flag| flag.is_set()),
        plugins: parts.into_iter().map(PluginConf::parse).collect::<Result<_, _>>()?,
        source: source.into(),
    })
}

/// CNI 1.1.0, `cniVersions`: the runtime takes the newest that it speaks. An unknown one beside a known
/// one is no fault: that is what the key is for.
fn choose_version(one: Option<&str>, several: &[String]) -> Result<SpecVersion, ConfError> {
    let mut newest = None;
    let mut unknown = None;
    for text in several.iter().map(String::as_str).chain(one) {
        match text.parse::<SpecVersion>() {
            Ok(version) => newest = newest.max(Some(version)),
            Err(error) => unknown = Some(error),
        }
    }
    newest.ok_or_else(|| unknown.map_or(ConfError::Missing("cniVersion"), ConfError::Version))
}

impl PluginConf {
    /// Reads one plugin's part.
    ///
    /// # Errors
    /// When it is no object, or its `type` is missing or not valid.
    pub fn parse(raw: Box<RawValue>) -> Result<Self, ConfError> {
        #[derive(Deserialize)]
        struct Known {
            #[serde(rename = "type")]
            plugin_type: Option<String>,
            #[serde(default)]
            capabilities: Option<BTreeMap<String, bool>>,
        }
        let known: Known = serde_json::from_str(raw.get()).map_err(ConfError::Syntax)?;
        let keys = serde_json::from_str(raw.get()).map_err(ConfError::Syntax)?;
        let plugin_type = known.plugin_type.ok_or(ConfError::Missing("type"))?;
        Ok(Self {
            plugin_type: PluginType::parse(&plugin_type)?,
            capabilities: known
                .capabilities
                .unwrap_or_default()
                .into_iter()
                .filter_map(|(name, declared)| declared.then_some(name))
                .collect(),
            keys,
            raw,
        })
    }

    /// All keys of the part, each value as it was written.
    pub(crate) fn keys(&self) -> &BTreeMap<String, Box<RawValue>> {
        &self.keys
    }

    /// The part exactly as it was written.
    pub fn raw(&self) -> &RawValue {
        &self.raw
    }
}

impl PartialEq for PluginConf {
    fn eq(&self, other: &Self) -> bool {
        self.raw.get() == other.raw.get()
    }
}

impl Eq for PluginConf {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<NetworkList, ConfError> {
        parse(Path::new("/etc/cni/net.d/10-test.conflist"), text.as_bytes())
    }

    #[track_caller]
    fn refused(text: &str, because: &str) {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(because), "{text}: {error}");
    }

    #[test]
    fn a_list_keeps_the_bytes_of_its_plugins() {
        let list = read(
            r#"{"cniVersion":"1.0.0","name":"pods","disableCheck":"True","disableGC":true,"unknown":[1],
                "plugins":[{"type":"bridge","mtu": 1e3, "big":123456789012345678901234567890},
                           {"type":"portmap","capabilities":{"portMappings":true,"x":false}}]}"#,
        )
        .unwrap();
        assert_eq!((list.name.as_str(), list.version), ("pods", SpecVersion::V1_0_0));
        assert!(list.check_disabled && list.gc_disabled);
        assert_eq!(
            list.plugins[0].raw().get(),
            r#"{"type":"bridge","mtu": 1e3, "big":123456789012345678901234567890}"#
        );
        assert_eq!(list.plugins[0].keys()["mtu"].get(), "1e3");
        assert!(list.plugins[1].capabilities.iter().eq(["portMappings"]));
    }

    #[test]
    fn a_single_plugin_becomes_a_list() {
        let list = read(r#" {"cniVersion":"0.3.1","name":"n","type":"macvlan","ipam":{}} "#).unwrap();
        assert_eq!(list.plugins.len(), 1);
        assert_eq!(list.plugins[0].plugin_type.as_str(), "macvlan");
        assert!(!list.check_disabled && !list.gc_disabled);
    }

    #[test]
    fn the_newest_common_version_is_spoken() {
        let version = |keys: &str| read(&format!(r#"{{{keys}"name":"n","type":"t"}}"#)).ok().map(|list| list.version);
        assert_eq!(version(r#""cniVersion":"0.4.0","#), Some(SpecVersion::V0_4_0));
        assert_eq!(
            version(r#""cniVersion":"0.4.0","cniVersions":["9.0.0","1.1.0","1.0.0"],"#),
            Some(SpecVersion::V1_1_0)
        );
        assert_eq!(version(r#""cniVersions":["1.0.0"],"#), Some(SpecVersion::V1_0_0));
        assert_eq!(version(r#""cniVersion":"9.0.0","cniVersions":["1.0.0"],"#), Some(SpecVersion::V1_0_0));
        assert_eq!(version(r#""cniVersion":"0.2.0","#), None);
        assert_eq!(version(r#""cniVersions":["9.0.0"],"#), None);
        assert_eq!(version(""), None);
    }

    #[test]
    fn what_is_not_a_configuration_is_refused_with_the_reason() {
        refused("", "EOF");
        refused("{", "EOF");
        refused("[]", "not a CNI configuration");
        refused(r#"{"cniVersion":"1.0.0","name":"n"}"#, "\"type\"");
        refused(r#"{"cniVersion":"1.0.0","type":"t"}"#, "\"name\"");
        refused(r#"{"name":"n","type":"t"}"#, "\"cniVersion\"");
        refused(r#"{"cniVersion":"0.1.0","name":"n","type":"t"}"#, "\"0.1.0\"");
        refused(r#"{"cniVersion":"1.0.0","name":"n","plugins":[]}"#, "0 plugins");
        refused(r#"{"cniVersion":"1.0.0","name":"n","plugins":[1]}"#, "invalid type");
        refused(r#"{"cniVersion":"1.0.0","name":"n","plugins":[{}]}"#, "\"type\"");
        refused(r#"{"cniVersion":"1.0.0","name":"n","plugins":{"type":"t"}}"#, "invalid type");
        refused(r#"{"cniVersion":"1.0.0","name":"../n","type":"t"}"#, "the network name");
        refused(r#"{"cniVersion":"1.0.0","name":"n","type":"../../tmp/evil"}"#, "the plugin type");
        refused(r#"{"cniVersion":"1.0.0","name":"n","type":"t","capabilities":{"a":1}}"#, "boolean");
        refused(r#"{"cniVersion":"1.0.0","name":"n","type":"t"}x"#, "trailing");
        let many = r#"{"type":"t"},"#.repeat(32) + r#"{"type":"t"}"#;
        refused(&format!(r#"{{"cniVersion":"1.0.0","name":"n","plugins":[{many}]}}"#), "33 plugins");
        refused(&" ".repeat(300_000), "256 KiB");
        refused(&"[".repeat(200_000), "not a CNI configuration");
    }
}
