// SPDX-License-Identifier: Apache-2.0
//! F-RECORD, the network's part: a file of the attachment ledger → an attachment, from which a DEL is made.

use std::time::UNIX_EPOCH;

use cni_client::attachment::Attachment;
use cni_client::{ContainerId, record};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::cni_conf::check_name;
use crate::{Verdict, message};

/// The id that the file's name says; every record of the corpus is about it.
const ID: &str = "c1";

/// Reads `data` as the record of the container `c1`.
///
/// # Panics
/// When a name could lead out of its directory, or the attachment doesn't survive being printed and read again.
pub fn run(data: &[u8]) -> Verdict {
    let id = ContainerId::parse(ID).expect("it is an id");
    let parsed = record::decode(data, &id);
    match &parsed {
        Ok(attachment) => {
            check(attachment);
            // An answer that can't be read any more is told, and is no reason to panic.
            if let Err(error) = attachment.attached() {
                message::check(&error);
            }
            let printed = print(attachment);
            let again =
                record::decode(printed.as_bytes(), &id).unwrap_or_else(|error| panic!("{printed} is refused: {error}"));
            assert_eq!(print(&again), printed, "printing changed the record");
            assert_eq!(again.network, attachment.network, "printing changed the network");
        }
        Err(error) => assert!(!error.to_string().is_empty(), "an error has no text"),
    }
    Verdict::of(&parsed)
}

fn check(attachment: &Attachment) {
    assert_eq!(attachment.container_id.as_str(), ID, "the record is about another container");
    assert!(!attachment.interface.as_str().contains('/'), "the interface is a path");
    check_name(attachment.network.name.as_str());
    assert!(!attachment.network.plugins.is_empty(), "there is nothing to call DEL on");
    for plugin in &attachment.network.plugins {
        check_name(plugin.plugin_type.as_str());
    }
    let variable = attachment.args.to_variable();
    assert!(!variable.contains('\0'), "CNI_ARGS would be cut");
    if !variable.is_empty() {
        assert!(variable.split(';').all(|pair| pair.matches('=').count() == 1), "{variable:?} is not made of pairs");
    }
}

/// The record as [`record`] documents it, written a second time.
fn print(attachment: &Attachment) -> String {
    let network = &attachment.network;
    let mut value = json!({
        "version": 1,
        "bootId": attachment.boot_id,
        "containerId": attachment.container_id,
        "netns": attachment.netns,
        "interface": attachment.interface,
        "args": attachment.args,
        "capabilities": attachment.capabilities,
    });
    if let Some(failed) = &attachment.failed_del {
        let since = failed.last.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        value["failedDel"] = json!({ "attempts": failed.attempts, "lastUnixSeconds": since, "error": failed.error });
    }
    // Raw JSON must not become a `Value`, which would lose large numbers.
    let raw = |value: &RawValue| value.get().to_owned();
    let plugins: Vec<String> = network.plugins.iter().map(|plugin| raw(plugin.raw())).collect();
    let head: Value = json!({
        "name": network.name,
        "cniVersion": network.version,
        "checkDisabled": network.check_disabled,
        "gcDisabled": network.gc_disabled,
        "source": network.source,
    });
    let network = format!("{},\"plugins\":[{}]}}", open(&head), plugins.join(","));
    let result = attachment.result().map_or(String::new(), |result| format!(",\"result\":{}", raw(result)));
    format!("{},\"network\":{network}{result}}}", open(&value))
}

/// An object without its last brace.
fn open(value: &Value) -> String {
    let text = value.to_string();
    text.strip_suffix('}').unwrap_or(&text).to_owned()
}
