// SPDX-License-Identifier: Apache-2.0
//! The network configuration at one moment. Each operation uses one snapshot from begin to end.

use std::path::PathBuf;
use std::sync::Arc;

use crate::conf::{ConfError, NetworkList};
use crate::error::Error;

/// What the configuration directory says.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The directory.
    pub dir: PathBuf,
    /// The list that is in force: the first valid file in the order of names, or the last good state
    /// of a file that is damaged now.
    pub network: Option<Arc<NetworkList>>,
    /// Every file that cannot be used, in the order of names, also when another one is in force.
    pub faults: Vec<Fault>,
}

/// A file, or the directory itself, that cannot be used.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub error: Arc<ConfError>,
}

impl Snapshot {
    /// The list in force.
    ///
    /// # Errors
    /// [`Error::NotConfigured`], which names what was found instead.
    pub fn network(&self) -> Result<&Arc<NetworkList>, Error> {
        self.network.as_ref().ok_or_else(|| Error::NotConfigured {
            dir: self.dir.clone(),
            why: match self.faults.as_slice() {
                [] => "there is no .conflist, .conf or .json file; install a network plugin".into(),
                [fault, ..] => format!("{}: {}", fault.path.display(), fault.error),
            },
        })
    }

    /// Whether two snapshots mean the same to everybody who reads them.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let faults = |snapshot: &Self| -> Vec<(PathBuf, String)> {
            let faults = snapshot.faults.iter();
            faults.map(|f| (f.path.clone(), f.error.to_string())).collect()
        };
        self.network == other.network && faults(self) == faults(other)
    }
}
