// SPDX-License-Identifier: Apache-2.0
//! Repeats the DELs that failed, until they succeed.
//!
//! A pod whose plugin fails or hangs is stopped all the same; what the plugin still holds is in the ledger. Each entry
//! has its own pace, so that one hung plugin delays nobody else's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cni_client::{Client, ContainerId};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The pause before the first repetition: long enough for a plugin's own daemon to come back.
const FIRST: Duration = Duration::from_secs(5);

/// The longest pause: an address that is held needlessly is found again within minutes of the cause's end.
const LONGEST: Duration = Duration::from_secs(300);

/// The DELs of one node that wait to be repeated.
#[derive(Debug)]
pub(crate) struct Backlog {
    client: Arc<Client>,
    changed: Notify,
    first: Duration,
}

impl Backlog {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        Self { client, changed: Notify::new(), first: FIRST }
    }

    /// A DEL has failed.
    pub(crate) fn notice(&self) {
        self.changed.notify_one();
    }

    /// Works the backlog off, for ever. `orphans` are attachments that no pod has any more: they are released at once.
    pub(crate) async fn work_off(self: Arc<Self>, orphans: Vec<ContainerId>) {
        // When each entry has its turn; none while it has it.
        let mut turns: HashMap<ContainerId, Option<Instant>> = HashMap::new();
        turns.extend(orphans.into_iter().map(|id| (id, Some(Instant::now()))));
        let mut running = JoinSet::new();
        loop {
            self.add_pending(&mut turns);
            let next = turns.values().flatten().min().copied();
            let time_has_come = async {
                match next {
                    Some(time) => tokio::time::sleep_until(time).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = time_has_come => {}
                () = self.changed.notified() => {}
                Some(ended) = running.join_next() => {
                    if let Ok(id) = ended {
                        turns.remove(&id);
                    }
                }
            }
            let now = Instant::now();
            for (id, turn) in &mut turns {
                if turn.is_some_and(|time| time <= now) {
                    *turn = None;
                    running.spawn(Arc::clone(&self).repeat(id.clone()));
                }
            }
        }
    }

    /// Gives a turn to every failed DEL that has none.
    fn add_pending(&self, turns: &mut HashMap<ContainerId, Option<Instant>>) {
        for entry in self.client.ledger().pending() {
            let attempts = entry.failed_del.as_ref().map_or(1, |failed| failed.attempts);
            let time = Instant::now() + self.pause(attempts);
            turns.entry(entry.container_id.clone()).or_insert(Some(time));
        }
    }

    /// How long to wait after so many attempts.
    fn pause(&self, attempts: u32) -> Duration {
        self.first.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(LONGEST)
    }

    async fn repeat(self: Arc<Self>, id: ContainerId) -> ContainerId {
        match self.client.del(&id, None).await {
            Ok(()) => tracing::info!(pod = %id, "release a network attachment that was left"),
            Err(error) => {
                tracing::warn!(pod = %id, error = error.to_line(), "release a network attachment that was left")
            }
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use cni_client::args::CniArgs;
    use cni_client::{Attach, InterfaceName, Settings, Timeouts};

    use super::*;

    /// A plugin that attaches anybody, and releases nobody while a file `broken` lies beside it.
    const PLUGIN: &str = r#"#!/bin/sh
cat > /dev/null
case $CNI_COMMAND in
  ADD) echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"x"}],"ips":[{"address":"10.1.2.3/24","interface":0}]}' ;;
  DEL) [ ! -e "${0%/*}/broken" ] || { echo '{"code":11,"msg":"not now"}'; exit 1; } ;;
esac
"#;

    async fn client(dir: &Path) -> Arc<Client> {
        let plugin = dir.join("fake");
        fs::write(&plugin, PLUGIN).unwrap();
        fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(dir.join("net.d")).unwrap();
        let conflist = r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"fake"}]}"#;
        fs::write(dir.join("net.d/1.conflist"), conflist).unwrap();
        let settings = Settings {
            conf_dir: dir.join("net.d"),
            bin_dirs: vec![dir.to_owned()],
            ledger_dir: dir.join("ledger"),
            timeouts: Timeouts::default(),
        };
        Arc::new(Client::start(settings).await.unwrap())
    }

    async fn attach(client: &Client) -> ContainerId {
        let id = ContainerId::parse(&"ab".repeat(32)).unwrap();
        let request = Attach {
            container_id: id.clone(),
            netns: "/proc/self/ns/net".into(),
            interface: InterfaceName::parse("eth0").unwrap(),
            args: CniArgs::parse(Vec::new()).unwrap(),
            capabilities: Default::default(),
        };
        client.add(request).await.unwrap();
        id
    }

    /// Waits until the ledger is empty: it is looked at after every change that the backlog announces.
    async fn released(client: &Client) {
        let emptied = async {
            while !client.ledger().entries().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), emptied).await.expect("the attachment is released");
    }

    #[tokio::test]
    async fn a_failed_del_is_repeated_until_it_succeeds() {
        let dir = tempfile::tempdir().unwrap();
        let client = client(dir.path()).await;
        let id = attach(&client).await;
        fs::write(dir.path().join("broken"), "").unwrap();
        let backlog =
            Arc::new(Backlog { client: Arc::clone(&client), changed: Notify::new(), first: Duration::from_millis(20) });
        let task = tokio::spawn(Arc::clone(&backlog).work_off(Vec::new()));
        assert!(client.del(&id, None).await.is_err());
        backlog.notice();
        let failed_again = async {
            while client.ledger().pending().iter().all(|entry| entry.failed_del.as_ref().is_none_or(|f| f.attempts < 3))
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), failed_again).await.expect("it is tried again and again");
        fs::remove_file(dir.path().join("broken")).unwrap();
        released(&client).await;
        task.abort();
    }

    #[tokio::test]
    async fn an_orphan_is_released_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let client = client(dir.path()).await;
        let id = attach(&client).await;
        let task = tokio::spawn(Arc::new(Backlog::new(Arc::clone(&client))).work_off(vec![id]));
        released(&client).await;
        task.abort();
    }

    #[tokio::test]
    async fn pauses_double_up_to_five_minutes() {
        let dir = tempfile::tempdir().unwrap();
        let backlog = Backlog::new(client(dir.path()).await);
        let seconds = [1, 2, 3, 7, 8, 1000].map(|attempts| backlog.pause(attempts).as_secs());
        assert_eq!(seconds, [5, 10, 20, 300, 300, 300]);
    }
}
