// SPDX-License-Identifier: Apache-2.0
//! What a plugin reads on its standard input: CNI "Section 3: Execution of Network Configurations",
//! "Deriving execution configuration from plugin configuration".

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use crate::conf::{NetworkList, PluginConf};
use crate::names::{ContainerId, InterfaceName};

/// An attachment that GC must leave alone (CNI 1.1.0, `cni.dev/valid-attachments`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ValidAttachment {
    #[serde(rename = "containerID")]
    pub(crate) container_id: ContainerId,
    #[serde(rename = "ifname")]
    pub(crate) interface: InterfaceName,
}

/// What a runtime adds to a plugin's own keys, apart from name and version.
#[derive(Default)]
pub(crate) struct Additions<'a> {
    pub(crate) previous: Option<&'a RawValue>,
    pub(crate) runtime_config: Map<String, Value>,
    pub(crate) valid: Option<&'a [ValidAttachment]>,
}

/// The plugin's keys as they were written, with ours in place of any of the same name.
pub(crate) fn derive(
    list: &NetworkList,
    plugin: &PluginConf,
    additions: &Additions<'_>,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut ours: BTreeMap<&str, Box<RawValue>> = BTreeMap::new();
    ours.insert("name", to_raw_value(&list.name)?);
    ours.insert("cniVersion", to_raw_value(&list.version)?);
    if let Some(previous) = additions.previous {
        ours.insert("prevResult", previous.to_owned());
    }
    if !additions.runtime_config.is_empty() {
        ours.insert("runtimeConfig", to_raw_value(&additions.runtime_config)?);
    }
    if let Some(valid) = additions.valid {
        ours.insert("cni.dev/valid-attachments", to_raw_value(valid)?);
    }
    let mut all: BTreeMap<&str, &RawValue> =
        plugin.keys().iter().map(|(key, value)| (key.as_str(), &**value)).collect();
    all.extend(ours.iter().map(|(key, value)| (*key, &**value)));
    serde_json::to_vec(&all)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::conf;

    #[track_caller]
    fn check(plugin: &str, additions: &Additions<'_>, expected: &str) {
        let text = format!(r#"{{"cniVersion":"1.1.0","name":"pods","plugins":[{plugin}]}}"#);
        let list = conf::parse(Path::new("/x"), text.as_bytes()).unwrap();
        let got = derive(&list, &list.plugins[0], additions).unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), expected);
    }

    #[test]
    fn ours_replace_theirs_and_the_rest_is_untouched() {
        check(
            r#"{"type":"t","name":"other","cniVersion":"0.1.0","n":1e400,"o":{ "a":1 }}"#,
            &Additions::default(),
            r#"{"cniVersion":"1.1.0","n":1e400,"name":"pods","o":{ "a":1 },"type":"t"}"#,
        );
    }

    #[test]
    fn additions_are_written_when_there_are_any() {
        let previous = RawValue::from_string(r#"{"x": 1}"#.into()).unwrap();
        let valid = [ValidAttachment {
            container_id: ContainerId::parse("c1").unwrap(),
            interface: InterfaceName::parse("eth0").unwrap(),
        }];
        let runtime_config = [("mac".to_owned(), Value::from("02:"))].into_iter().collect();
        check(
            r#"{"type":"t","runtimeConfig":{"static":true}}"#,
            &Additions { previous: Some(&previous), runtime_config, valid: Some(&valid) },
            r#"{"cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}],"cniVersion":"1.1.0","name":"pods","prevResult":{"x": 1},"runtimeConfig":{"mac":"02:"},"type":"t"}"#,
        );
        check(
            r#"{"type":"t","runtimeConfig":{"static":true}}"#,
            &Additions { valid: Some(&[]), ..Additions::default() },
            r#"{"cni.dev/valid-attachments":[],"cniVersion":"1.1.0","name":"pods","runtimeConfig":{"static":true},"type":"t"}"#,
        );
    }
}
