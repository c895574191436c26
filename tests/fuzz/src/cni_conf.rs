// SPDX-License-Identifier: Apache-2.0
//! F-CNICONF: a file of `/etc/cni/net.d` → a list of plugins, whose types are names of programs that run as root.

use std::path::Path;

use cni_client::conf::{self, NetworkList};
use serde_json::json;
use serde_json::value::RawValue;

use crate::{Verdict, limits, message};

/// Reads `data` as a configuration.
///
/// # Panics
/// When a name could lead out of its directory, a plugin's part is not what the file says, or the list doesn't survive being printed.
pub fn run(data: &[u8]) -> Verdict {
    let source = Path::new("/etc/cni/net.d/10-fuzz.conflist");
    let parsed = conf::parse(source, data);
    match &parsed {
        Ok(list) => {
            check(data, list);
            let printed = print(list);
            let again =
                conf::parse(source, printed.as_bytes()).unwrap_or_else(|error| panic!("{printed} is refused: {error}"));
            assert_eq!(again, *list, "printing changed the list");
        }
        Err(error) => message::check(error),
    }
    Verdict::of(&parsed)
}

fn check(data: &[u8], list: &NetworkList) {
    assert!((1..=limits::CNI_PLUGINS).contains(&list.plugins.len()), "the list has {} plugins", list.plugins.len());
    check_name(list.name.as_str());
    for plugin in &list.plugins {
        check_name(plugin.plugin_type.as_str());
        // Unknown keys, numbers of any size and their notation reach the plugin unchanged.
        let raw = plugin.raw().get().as_bytes();
        assert!(data.windows(raw.len()).any(|part| part == raw), "a plugin's part is not as it was written");
        assert!(raw.starts_with(b"{") && raw.ends_with(b"}"), "a plugin's part is no object");
    }
}

/// CNI "Configuration format": the rule for names, written a second time.
pub(crate) fn check_name(name: &str) {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let others = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    assert!(first && others && name.len() <= limits::CNI_NAME_BYTES, "{name:?} is no name");
}

fn print(list: &NetworkList) -> String {
    let parts: Vec<&RawValue> = list.plugins.iter().map(|plugin| plugin.raw()).collect();
    let parts = serde_json::to_string(&parts).expect("raw JSON is written as it is");
    let head = json!({
        "cniVersion": list.version,
        "name": list.name,
        "disableCheck": list.check_disabled,
        "disableGC": list.gc_disabled,
    });
    let head = head.to_string();
    format!("{},\"plugins\":{parts}}}", head.strip_suffix('}').unwrap_or(&head))
}
