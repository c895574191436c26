// SPDX-License-Identifier: Apache-2.0
//! An attachment as it is written to disk.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::args::CniArgs;
use crate::attachment::{Attachment, FailedDel, Progress};
use crate::capability::CapabilityArgs;
use crate::conf::{ConfError, NetworkList, PluginConf};
use crate::names::{ContainerId, InterfaceName, NetworkName};
use crate::version::SpecVersion;

/// The version of this format. A reader refuses a newer one and need not know an older one yet.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Record<'a> {
    version: u32,
    boot_id: Cow<'a, str>,
    container_id: Cow<'a, ContainerId>,
    netns: Cow<'a, str>,
    interface: Cow<'a, InterfaceName>,
    args: Cow<'a, CniArgs>,
    capabilities: Cow<'a, CapabilityArgs>,
    network: NetworkRecord<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_del: Option<FailedDelRecord<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NetworkRecord<'a> {
    name: Cow<'a, NetworkName>,
    cni_version: SpecVersion,
    check_disabled: bool,
    gc_disabled: bool,
    source: Cow<'a, str>,
    plugins: Vec<Box<RawValue>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FailedDelRecord<'a> {
    attempts: u32,
    last_unix_seconds: u64,
    error: Cow<'a, str>,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It is no JSON, lacks a key, or has one too many or a value that is not allowed.
    #[error("it is not a record of an attachment: {0}")]
    Syntax(serde_json::Error),
    /// Another version of this program wrote it.
    #[error("it has format {0}, and this program knows {VERSION}; a newer one may have written it")]
    Version(u64),
    /// Its network could not be used.
    #[error("its network is not valid: {0}")]
    Network(ConfError),
    /// It was renamed or copied.
    #[error("it is about {0} and not about what its name says")]
    Name(ContainerId),
}

/// Writes an attachment. Paths that are not UTF-8 were refused before.
pub(crate) fn encode(attachment: &Attachment) -> Result<Vec<u8>, serde_json::Error> {
    let network = &attachment.network;
    serde_json::to_vec(&Record {
        version: VERSION,
        boot_id: Cow::Borrowed(&attachment.boot_id),
        container_id: Cow::Borrowed(&attachment.container_id),
        netns: attachment.netns.to_string_lossy(),
        interface: Cow::Borrowed(&attachment.interface),
        args: Cow::Borrowed(&attachment.args),
        capabilities: Cow::Borrowed(&attachment.capabilities),
        network: NetworkRecord {
            name: Cow::Borrowed(&network.name),
            cni_version: network.version,
            check_disabled: network.check_disabled,
            gc_disabled: network.gc_disabled,
            source: network.source.to_string_lossy(),
            plugins: network.plugins.iter().map(|p| p.raw().to_owned()).collect(),
        },
        result: attachment.result().map(ToOwned::to_owned),
        failed_del: attachment.failed_del.as_ref().map(|failed| FailedDelRecord {
            attempts: failed.attempts,
            last_unix_seconds: failed.last.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            error: Cow::Borrowed(&failed.error),
        }),
    })
}

/// Reads a record. Pure. `expected` is the id that the file's name says.
///
/// # Errors
/// When it is damaged, of another format, about another id, or names what is not allowed.
pub fn decode(bytes: &[u8], expected: &ContainerId) -> Result<Attachment, RecordError> {
    #[derive(Deserialize)]
    struct Format {
        version: u64,
    }
    let Format { version } = serde_json::from_slice(bytes).map_err(RecordError::Syntax)?;
    if version != u64::from(VERSION) {
        return Err(RecordError::Version(version));
    }
    let record: Record<'_> = serde_json::from_slice(bytes).map_err(RecordError::Syntax)?;
    if *record.container_id != *expected {
        return Err(RecordError::Name(record.container_id.into_owned()));
    }
    let plugins: Vec<PluginConf> = record
        .network
        .plugins
        .into_iter()
        .map(PluginConf::parse)
        .collect::<Result<_, _>>()
        .map_err(RecordError::Network)?;
    if plugins.is_empty() {
        return Err(RecordError::Network(ConfError::Plugins(0)));
    }
    Ok(Attachment {
        container_id: record.container_id.into_owned(),
        netns: PathBuf::from(record.netns.as_ref()),
        interface: record.interface.into_owned(),
        args: record.args.into_owned(),
        capabilities: record.capabilities.into_owned(),
        network: Arc::new(NetworkList {
            name: record.network.name.into_owned(),
            version: record.network.cni_version,
            check_disabled: record.network.check_disabled,
            gc_disabled: record.network.gc_disabled,
            plugins,
            source: PathBuf::from(record.network.source.as_ref()),
        }),
        boot_id: record.boot_id.into_owned(),
        progress: record.result.map_or(Progress::Intended, Progress::Attached),
        failed_del: record.failed_del.map(|failed| FailedDel {
            attempts: failed.attempts,
            last: at(failed.last_unix_seconds),
            error: failed.error.into_owned(),
        }),
    })
}

/// A time beyond what the clock can tell is no reason to refuse a record.
fn at(unix_seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(unix_seconds)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::conf;

    fn attachment(progress: Progress) -> Attachment {
        let text = r#"{"cniVersion":"0.4.0","name":"n","plugins":[{"type":"a", "x": 1e400},{"type":"b"}]}"#;
        Attachment {
            container_id: ContainerId::parse("c1").unwrap(),
            netns: "/run/netns/c1".into(),
            interface: InterfaceName::parse("eth0").unwrap(),
            args: CniArgs::parse(vec![("K".into(), "V".into())]).unwrap(),
            capabilities: CapabilityArgs { mac: Some("02:00:00:00:00:01".into()), ..CapabilityArgs::default() },
            network: Arc::new(conf::parse(Path::new("/x/10.conflist"), text.as_bytes()).unwrap()),
            boot_id: "boot".into(),
            progress,
            failed_del: Some(FailedDel { attempts: 3, last: at(1_700_000_000), error: "no".into() }),
        }
    }

    #[test]
    fn a_record_gives_back_all_of_it_byte_for_byte() {
        let result = RawValue::from_string(r#"{"ips": [ ], "n": 1e400}"#.into()).unwrap();
        for progress in [Progress::Intended, Progress::Attached(result)] {
            let before = attachment(progress);
            let bytes = encode(&before).unwrap();
            let after = decode(&bytes, &before.container_id).unwrap();
            assert_eq!(after.network, before.network);
            assert_eq!(after.network.plugins[0].raw().get(), r#"{"type":"a", "x": 1e400}"#);
            assert_eq!(after.result().map(RawValue::get), before.result().map(RawValue::get));
            assert_eq!(after.failed_del, before.failed_del);
            assert_eq!((after.netns, after.boot_id), (before.netns, before.boot_id));
            assert_eq!((after.args, after.capabilities), (before.args, before.capabilities));
        }
    }

    #[test]
    fn what_is_not_a_record_is_refused_with_the_reason() {
        let before = attachment(Progress::Intended);
        let good = String::from_utf8(encode(&before).unwrap()).unwrap();
        let check = |from: &str, to: &str, because: &str| {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good);
            let error = decode(text.as_bytes(), &before.container_id).unwrap_err().to_string();
            assert!(error.contains(because), "{to}: {error}");
        };
        check("\"version\":1", "\"version\":2", "format 2");
        check("\"version\":1", "\"version\":1,\"x\":1", "unknown field");
        check("\"containerId\":\"c1\"", "\"containerId\":\"c2\"", "about c2");
        check("\"type\":\"a\"", "\"type\":\"../a\"", "the plugin type");
        check("[[\"K\",\"V\"]]", "[[\"K\",\"V;X=1\"]]", "CNI_ARGS");
        for end in 0..good.len() {
            assert!(decode(&good.as_bytes()[..end], &before.container_id).is_err());
        }
    }
}
