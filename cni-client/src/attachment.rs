// SPDX-License-Identifier: Apache-2.0
//! An attachment: one CNI network on one container id.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::value::RawValue;

use crate::args::CniArgs;
use crate::capability::CapabilityArgs;
use crate::conf::NetworkList;
use crate::names::{ContainerId, InterfaceName};
use crate::result::{self, AddResult, Dns, Interface, IpConfig, ResultError, Route};

/// What a caller asks for: attach this to the current network.
#[derive(Clone, Debug)]
pub struct Attach {
    /// CNI_CONTAINERID.
    pub container_id: ContainerId,
    /// CNI_NETNS: the absolute path of the pinned namespace.
    pub netns: PathBuf,
    /// CNI_IFNAME, usually `eth0`.
    pub interface: InterfaceName,
    /// CNI_ARGS, in order.
    pub args: CniArgs,
    /// What plugins are told that declare the capability.
    pub capabilities: CapabilityArgs,
}

/// What a caller gets: the network works.
#[derive(Clone, Debug)]
pub struct Attached {
    /// All interfaces that the plugins report, also those on the node.
    pub interfaces: Vec<Interface>,
    /// The addresses of the interface that was asked for, in the plugins' order; never empty. The
    /// first is the container's own.
    pub ips: Vec<IpConfig>,
    /// The routes that the plugins report.
    pub routes: Vec<Route>,
    /// What the network says about DNS.
    pub dns: Dns,
    /// The result of the list as it was written.
    pub raw: Box<RawValue>,
}

impl Attached {
    pub(crate) fn of(result: &AddResult, ips: Vec<IpConfig>) -> Self {
        Self {
            interfaces: result.interfaces.clone(),
            ips,
            routes: result.routes.clone(),
            dns: result.dns.clone(),
            raw: result.raw().to_owned(),
        }
    }
}

/// An entry of the ledger: all that DEL needs, whatever the configuration is by then.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// CNI_CONTAINERID.
    pub container_id: ContainerId,
    /// CNI_NETNS at ADD.
    pub netns: PathBuf,
    /// CNI_IFNAME.
    pub interface: InterfaceName,
    /// CNI_ARGS.
    pub args: CniArgs,
    /// The capability arguments.
    pub capabilities: CapabilityArgs,
    /// The list exactly as it was at ADD.
    pub network: Arc<NetworkList>,
    /// The boot (boot_id(5)) in which ADD ran: in a later one, the namespace is gone for sure.
    pub boot_id: String,
    /// How far ADD came.
    pub progress: Progress,
    /// The failures of DEL so far, if it was tried.
    pub failed_del: Option<FailedDel>,
}

/// How far ADD came.
#[derive(Clone, Debug)]
pub enum Progress {
    /// ADD may have begun; what it acquired is not known.
    Intended,
    /// ADD succeeded with this result.
    Attached(Box<RawValue>),
}

/// A DEL that has to be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedDel {
    /// How often it was tried.
    pub attempts: u32,
    /// When it was tried last.
    pub last: SystemTime,
    /// What went wrong then, as one line.
    pub error: String,
}

impl Attachment {
    /// What the caller of the ADD was told, for one that starts anew and finds the attachment. Nothing
    /// when the ADD did not finish.
    ///
    /// # Errors
    /// When the recorded result cannot be read; it could when it was recorded.
    pub fn attached(&self) -> Result<Option<Attached>, ResultError> {
        let Some(raw) = self.result() else {
            return Ok(None);
        };
        let result = result::parse(self.network.version, raw.get().as_bytes())?;
        let ips = result.addresses_of(&self.interface)?;
        Ok(Some(Attached::of(&result, ips)))
    }

    /// The result of the ADD, when it succeeded.
    pub fn result(&self) -> Option<&RawValue> {
        match &self.progress {
            Progress::Intended => None,
            Progress::Attached(result) => Some(result),
        }
    }
}
