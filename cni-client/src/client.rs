// SPDX-License-Identifier: Apache-2.0
//! The client: what the rest of husk calls.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::attachment::{Attach, Attached, Attachment, Progress};
use crate::chain::{self, AddFailure, Extent, NetnsPath};
use crate::config_bytes::ValidAttachment;
use crate::error::Error;
use crate::exec::{BinDirs, Deadline};
use crate::keyed_mutex::{KeyedMutex, Turn};
use crate::ledger::Ledger;
use crate::names::{ContainerId, PluginType};
use crate::snapshot::Snapshot;
use crate::watch::Watcher;

/// The file system of namespace files (NSFS_MAGIC in linux/magic.h).
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// Where everything is and how long it may take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The configuration directory, for example `/etc/cni/net.d`. Need not exist yet.
    pub conf_dir: PathBuf,
    /// Directories of plugins, in the order of search.
    pub bin_dirs: Vec<PathBuf>,
    /// The directory of the ledger, which this client alone writes.
    pub ledger_dir: PathBuf,
    /// How long verbs may take.
    pub timeouts: Timeouts,
}

/// How long a verb may take over a whole list; then the plugin that runs is killed.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// ADD. Together with `del`, which follows a failure, it must stay below the kubelet's four minutes
    /// for RunPodSandbox.
    pub add: Duration,
    /// DEL.
    pub del: Duration,
    /// CHECK.
    pub check: Duration,
    /// STATUS and VERSION.
    pub status: Duration,
    /// GC.
    pub gc: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            add: Duration::from_secs(60),
            del: Duration::from_secs(60),
            check: Duration::from_secs(30),
            status: Duration::from_secs(10),
            gc: Duration::from_secs(120),
        }
    }
}

/// Attaches containers to the node's network and detaches them.
///
/// Dropping a future of any method kills the plugin that it runs, with its process group. After an
/// [`Client::add`] that was dropped, the intent is on record: call [`Client::del`].
#[derive(Debug)]
pub struct Client {
    watcher: Watcher,
    bin_dirs: BinDirs,
    timeouts: Timeouts,
    ledger: Ledger,
    locks: KeyedMutex,
}

/// Whether a verb that a list need not have was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// All plugins were asked, and all said yes.
    Asked,
    /// The list's version has no such verb, or the administrator switched it off.
    NotAsked,
}

impl Client {
    /// Reads configuration and ledger and begins to watch the former. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// When the ledger cannot be opened. A missing or damaged configuration is no error.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let dir = settings.ledger_dir;
        let ledger = tokio::task::spawn_blocking(move || Ledger::open(&dir))
            .await
            .map_err(|e| Error::call("read the ledger", std::io::Error::other(e)))??;
        Ok(Self {
            watcher: Watcher::start(settings.conf_dir).await,
            bin_dirs: BinDirs(settings.bin_dirs),
            timeouts: settings.timeouts,
            ledger,
            locks: KeyedMutex::default(),
        })
    }

    /// The current configuration, or why there is none. Never waits.
    pub fn configuration(&self) -> Arc<Snapshot> {
        self.watcher.current()
    }

    /// A receiver that is told whenever the configuration changes.
    pub fn watch_configuration(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.watcher.subscribe()
    }

    /// The record of all attachments. Never waits for a plugin or the disk.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The attachment of a container id, whatever its progress.
    pub fn attached(&self, id: &ContainerId) -> Option<Arc<Attachment>> {
        self.ledger.entry(id)
    }

    /// Attaches a container to the current network (ADD over the list). What an unfinished ADD left on
    /// record is taken back first. On failure, DEL runs over the whole list within its own time; if that
    /// fails too, the entry stays in [`Ledger::pending`].
    ///
    /// # Errors
    /// Without a configuration, for a request that is not valid or attached already, and for a plugin
    /// that fails, takes too long, or gives no address to the interface.
    pub async fn add(&self, request: Attach) -> Result<Attached, Error> {
        check_request(&request)?;
        let turn = self.locks.lock(&request.container_id).await;
        if let Some(entry) = self.ledger.entry(&request.container_id) {
            if matches!(entry.progress, Progress::Attached(_)) && entry.failed_del.is_none() {
                return Err(Error::AlreadyAttached {
                    container_id: entry.container_id.clone(),
                    network: entry.network.name.clone(),
                });
            }
            let whole = (Some(request.netns.as_path()), Extent::Whole);
            self.detach(&entry, whole, &turn).await?;
        }
        let attachment = Attachment {
            network: Arc::clone(self.configuration().network()?),
            container_id: request.container_id,
            netns: request.netns,
            interface: request.interface,
            args: request.args,
            capabilities: request.capabilities,
            boot_id: self.ledger.boot_id().to_owned(),
            progress: Progress::Intended,
            failed_del: None,
        };
        self.ledger.put(attachment.clone(), &turn).await?;
        let failure = match self.attach(&attachment, &turn).await {
            Ok(attached) => return Ok(attached),
            Err(failure) => failure,
        };
        let back = (Some(attachment.netns.as_path()), failure.extent);
        if let Err(e) = self.detach(&attachment, back, &turn).await {
            tracing::warn!(container = %attachment.container_id, network = %attachment.network.name, error = %e.to_line(), "leave an attachment to be deleted later");
        }
        Err(failure.error)
    }

    /// Detaches a container (DEL over the list that was recorded at its ADD, in reverse) and forgets it.
    /// May be repeated; an id without an entry is fine. `netns` is where the namespace is pinned now, or
    /// nothing when it is gone; a path at which no namespace is any more counts as nothing.
    ///
    /// # Errors
    /// When a plugin fails. Then the entry stays, and is in [`Ledger::pending`].
    pub async fn del(&self, id: &ContainerId, netns: Option<&Path>) -> Result<(), Error> {
        let turn = self.locks.lock(id).await;
        match self.ledger.entry(id) {
            Some(entry) => self.detach(&entry, (netns, Extent::Whole), &turn).await,
            None => Ok(()),
        }
    }

    /// Asks the plugins whether an attachment is still as they made it (CHECK).
    ///
    /// # Errors
    /// What a plugin finds, or [`Error::InvalidInput`] when the id is not attached.
    pub async fn check(&self, id: &ContainerId) -> Result<Verified, Error> {
        let _turn = self.locks.lock(id).await;
        let entry = self.ledger.entry(id);
        let Some((entry, result)) = entry.as_ref().and_then(|entry| entry.result().map(|result| (entry, result)))
        else {
            return Err(Error::InvalidInput {
                what: "the container id",
                why: format!("{id} is not attached to a network"),
            });
        };
        if entry.network.check_disabled || !entry.network.version.has_check() {
            return Ok(Verified::NotAsked);
        }
        let deadline = Deadline::after(self.timeouts.check);
        chain::check(&self.bin_dirs, entry, result, deadline).await?;
        Ok(Verified::Asked)
    }

    /// Asks the plugins of the current list whether ADD would work (STATUS, from 1.1.0 on). Takes no
    /// lock; meant for the background.
    ///
    /// # Errors
    /// [`Error::NotConfigured`], or what the first plugin that is not ready says.
    pub async fn status(&self) -> Result<Verified, Error> {
        let snapshot = self.configuration();
        let list = snapshot.network()?;
        if !list.version.has_status_and_gc() {
            return Ok(Verified::NotAsked);
        }
        let deadline = Deadline::after(self.timeouts.status);
        chain::status(&self.bin_dirs, list, deadline).await?;
        Ok(Verified::Asked)
    }

    /// Lets the plugins of the current list take away all that belongs to no entry of the ledger (GC,
    /// from 1.1.0 on). **Also what other runtimes attached to the same network**: call it only where this
    /// client is its only user. All plugins are asked, also after a failure.
    ///
    /// # Errors
    /// All failures, in the order of the list.
    pub async fn gc(&self) -> Result<Verified, Vec<Error>> {
        let snapshot = self.configuration();
        let list = snapshot.network().map_err(|e| vec![e])?;
        if list.gc_disabled || !list.version.has_status_and_gc() {
            return Ok(Verified::NotAsked);
        }
        let entries = self.ledger.entries();
        let valid: Vec<ValidAttachment> = entries
            .iter()
            .filter(|entry| entry.network.name == list.name)
            .map(|entry| ValidAttachment {
                container_id: entry.container_id.clone(),
                interface: entry.interface.clone(),
            })
            .collect();
        let deadline = Deadline::after(self.timeouts.gc);
        let failures = chain::gc(&self.bin_dirs, list, &valid, deadline).await;
        if failures.is_empty() { Ok(Verified::Asked) } else { Err(failures) }
    }

    /// Asks a plugin which versions of the specification it speaks (VERSION).
    ///
    /// # Errors
    /// When it is missing, fails, or answers nonsense.
    pub async fn versions(&self, plugin: &PluginType) -> Result<Vec<String>, Error> {
        let deadline = Deadline::after(self.timeouts.status);
        chain::version(&self.bin_dirs, plugin, deadline).await
    }

    async fn attach(&self, attachment: &Attachment, turn: &Turn) -> Result<Attached, AddFailure> {
        let deadline = Deadline::after(self.timeouts.add);
        let attached = chain::add(&self.bin_dirs, attachment, deadline).await?;
        let recorded = Attachment { progress: Progress::Attached(attached.raw.clone()), ..attachment.clone() };
        let put = self.ledger.put(recorded, turn).await;
        put.map(|()| attached).map_err(|error| AddFailure { error, extent: Extent::Whole })
    }

    async fn detach(
        &self,
        entry: &Attachment,
        (netns, extent): (Option<&Path>, Extent),
        turn: &Turn,
    ) -> Result<(), Error> {
        // After a reboot the same path may be another namespace.
        let same_boot = entry.boot_id == self.ledger.boot_id();
        let netns = match netns {
            Some(path) if same_boot && is_namespace(path) => NetnsPath::At(path),
            _ => NetnsPath::Gone,
        };
        let deadline = Deadline::after(self.timeouts.del);
        if let Err(e) = chain::del(&self.bin_dirs, entry, (netns, extent), deadline).await {
            self.ledger.note_failure(entry, &e, turn).await;
            return Err(e);
        }
        self.ledger.remove(&entry.container_id, turn).await
    }
}

fn check_request(request: &Attach) -> Result<(), Error> {
    let invalid = |why: &str| Error::InvalidInput {
        what: "the namespace path",
        why: format!("{} {why}", request.netns.display()),
    };
    let text = request.netns.to_str().ok_or_else(|| invalid("is not UTF-8"))?;
    if !request.netns.is_absolute() || text.chars().any(char::is_control) {
        return Err(invalid("is not absolute or has a control character"));
    }
    if !is_namespace(&request.netns) {
        return Err(invalid("is not a namespace"));
    }
    request.capabilities.check()
}

/// Whether a namespace is at the path, and not only the file on which one was mounted.
fn is_namespace(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(NSFS_MAGIC))
}
