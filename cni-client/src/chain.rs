// SPDX-License-Identifier: Apache-2.0
//! One verb over a whole list: CNI "Section 3: Execution of Network Configurations".

use std::path::Path;

use serde_json::value::RawValue;

use crate::attachment::{Attached, Attachment};
use crate::conf::{NetworkList, PluginConf};
use crate::config_bytes::{Additions, ValidAttachment, derive};
use crate::error::{Error, Verb};
use crate::exec::{BinDirs, Call, Deadline, run};
use crate::names::PluginType;
use crate::result::{self, AddResult};
use crate::version::SpecVersion;

/// Where the namespace is, as a verb is told it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NetnsPath<'a> {
    /// It is pinned here.
    At(&'a Path),
    /// It is gone; plugins then release what they can without it (CNI "DEL", CNI_NETNS).
    Gone,
}

/// Why ADD failed, and what its DEL has to cover.
#[derive(Debug)]
pub(crate) struct AddFailure {
    pub(crate) error: Error,
    pub(crate) extent: Extent,
}

/// How much of a list a DEL covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it: whatever ran may have left something, and DEL of the others costs nothing.
    Whole,
    /// Only the plugins before this index: this one cannot be executed, so neither its ADD nor any
    /// later one ever ran, and its DEL would fail for ever.
    Before(usize),
}

/// Runs ADD in order, each plugin with the result of the one before it.
pub(crate) async fn add(
    bin_dirs: &BinDirs,
    attachment: &Attachment,
    deadline: Deadline,
) -> Result<Attached, AddFailure> {
    let list = &attachment.network;
    let mut previous: Option<(AddResult, &PluginType)> = None;
    for (index, plugin) in list.plugins.iter().enumerate() {
        let call = Step {
            attachment,
            plugin,
            verb: Verb::Add,
            netns: NetnsPath::At(&attachment.netns),
            previous: previous.as_ref().map(|(result, _)| result.raw()),
            deadline,
        };
        let stdout = call.run(bin_dirs).await.map_err(|error| AddFailure {
            extent: match error {
                Error::PluginMissing { .. } | Error::Start { .. } => Extent::Before(index),
                _ => Extent::Whole,
            },
            error,
        })?;
        let answer = result::parse(list.version, &stdout).map_err(|e| bad_answer(&plugin.plugin_type, &e))?;
        previous = Some((answer, &plugin.plugin_type));
    }
    // A list has at least one plugin, so there is a last result.
    let (result, last) = previous.ok_or_else(|| AddFailure {
        error: Error::InvalidInput { what: "the list", why: format!("network {} has no plugin", list.name) },
        extent: Extent::Whole,
    })?;
    let ips = result.addresses_of(&attachment.interface).map_err(|e| bad_answer(last, &e))?;
    Ok(Attached::of(&result, ips))
}

/// Runs DEL in reverse order, each plugin with the result of the ADD. It stops at the first failure, as
/// the specification wants: an address must not be free again while a rule for it still stands.
pub(crate) async fn del(
    bin_dirs: &BinDirs,
    attachment: &Attachment,
    (netns, extent): (NetnsPath<'_>, Extent),
    deadline: Deadline,
) -> Result<(), Error> {
    let with_result = attachment.network.version.has_result_at_del();
    let count = match extent {
        Extent::Whole => attachment.network.plugins.len(),
        Extent::Before(index) => index,
    };
    for plugin in attachment.network.plugins.iter().take(count).rev() {
        let call = Step {
            attachment,
            plugin,
            verb: Verb::Del,
            netns,
            previous: attachment.result().filter(|_| with_result),
            deadline,
        };
        call.run(bin_dirs).await?;
    }
    Ok(())
}

/// Runs CHECK in order, each plugin with the result of the ADD.
pub(crate) async fn check(
    bin_dirs: &BinDirs,
    attachment: &Attachment,
    result: &RawValue,
    deadline: Deadline,
) -> Result<(), Error> {
    for plugin in &attachment.network.plugins {
        let call = Step {
            attachment,
            plugin,
            verb: Verb::Check,
            netns: NetnsPath::At(&attachment.netns),
            previous: Some(result),
            deadline,
        };
        call.run(bin_dirs).await?;
    }
    Ok(())
}

/// Runs STATUS of each plugin in order; the first that is not ready speaks for the network.
pub(crate) async fn status(bin_dirs: &BinDirs, list: &NetworkList, deadline: Deadline) -> Result<(), Error> {
    for plugin in &list.plugins {
        let additions = Additions::default();
        run_on_list(bin_dirs, list, plugin, (Verb::Status, &additions), deadline).await?;
    }
    Ok(())
}

/// Runs GC of every plugin in order, also after a failure, and gives the failures.
pub(crate) async fn gc(
    bin_dirs: &BinDirs,
    list: &NetworkList,
    valid: &[ValidAttachment],
    deadline: Deadline,
) -> Vec<Error> {
    let mut failures = Vec::new();
    for plugin in &list.plugins {
        let additions = Additions { valid: Some(valid), ..Additions::default() };
        let done = run_on_list(bin_dirs, list, plugin, (Verb::Gc, &additions), deadline).await;
        failures.extend(done.err());
    }
    failures
}

/// Asks a plugin which versions it speaks.
pub(crate) async fn version(bin_dirs: &BinDirs, plugin: &PluginType, deadline: Deadline) -> Result<Vec<String>, Error> {
    #[derive(serde::Deserialize)]
    struct Answer {
        #[serde(rename = "supportedVersions")]
        versions: Vec<String>,
    }
    let unused = || "unused".to_owned();
    let call = Call {
        plugin,
        verb: Verb::Version,
        // Plugins built with a library from before 0.2.0 of the specification insist on them.
        variables: vec![("CNI_CONTAINERID", unused()), ("CNI_NETNS", unused()), ("CNI_IFNAME", unused())],
        stdin: format!(r#"{{"cniVersion":"{}"}}"#, SpecVersion::V1_1_0).into_bytes(),
        deadline,
    };
    let stdout = run(bin_dirs, &call).await?;
    let answer: Answer = serde_json::from_slice(&stdout).map_err(|e| Error::BadAnswer {
        plugin: plugin.clone(),
        verb: Verb::Version,
        why: e.to_string(),
    })?;
    Ok(answer.versions)
}

/// One plugin's part in a verb about an attachment.
struct Step<'a> {
    attachment: &'a Attachment,
    plugin: &'a PluginConf,
    verb: Verb,
    netns: NetnsPath<'a>,
    previous: Option<&'a RawValue>,
    deadline: Deadline,
}

impl Step<'_> {
    async fn run(&self, bin_dirs: &BinDirs) -> Result<Vec<u8>, Error> {
        let attachment = self.attachment;
        let capabilities = &attachment.capabilities;
        let additions = Additions {
            previous: self.previous,
            runtime_config: capabilities.runtime_config(&self.plugin.capabilities),
            valid: None,
        };
        let netns = match self.netns {
            NetnsPath::At(path) => path.to_string_lossy().into_owned(),
            NetnsPath::Gone => String::new(),
        };
        let call = Call {
            plugin: &self.plugin.plugin_type,
            verb: self.verb,
            variables: vec![
                ("CNI_CONTAINERID", attachment.container_id.to_string()),
                ("CNI_NETNS", netns),
                ("CNI_IFNAME", attachment.interface.to_string()),
                ("CNI_ARGS", attachment.args.to_variable()),
            ],
            stdin: stdin(&attachment.network, self.plugin, &additions)?,
            deadline: self.deadline,
        };
        run(bin_dirs, &call).await
    }
}

async fn run_on_list(
    bin_dirs: &BinDirs,
    list: &NetworkList,
    plugin: &PluginConf,
    (verb, additions): (Verb, &Additions<'_>),
    deadline: Deadline,
) -> Result<(), Error> {
    let call = Call {
        plugin: &plugin.plugin_type,
        verb,
        variables: Vec::new(),
        stdin: stdin(list, plugin, additions)?,
        deadline,
    };
    run(bin_dirs, &call).await?;
    Ok(())
}

fn stdin(list: &NetworkList, plugin: &PluginConf, additions: &Additions<'_>) -> Result<Vec<u8>, Error> {
    derive(list, plugin, additions).map_err(|e| Error::call("encode a plugin's input", e))
}

fn bad_answer(plugin: &PluginType, why: &result::ResultError) -> AddFailure {
    AddFailure {
        error: Error::BadAnswer { plugin: plugin.clone(), verb: Verb::Add, why: why.to_string() },
        extent: Extent::Whole,
    }
}
