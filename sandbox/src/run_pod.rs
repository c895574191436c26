// SPDX-License-Identifier: Apache-2.0
//! RunPodSandbox.
//!
//! ```text
//!  record (intent) ─▶ netns ─┬─▶ CNI ADD ─────────────────────────────┬─▶ hosts file ─▶ status record ─▶ Ready
//!                            └─▶ cgroup, files, monitor ─▶ pause ─────┘
//! ```
//! The slower branch decides, not the sum. Whatever fails, the one teardown takes all of it back.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use cgroups::{CgroupPath, Limits};
use netns::Netns;
use wire::{OpenSandbox, Reply, Request};

use crate::config::{PodConfig, PodKey, Sharing};
use crate::error::Error;
use crate::ids::PodId;
use crate::monitor_client::MonitorClient;
use crate::operations::{Cancelled, Found};
use crate::pod::Pod;
use crate::pod_state::{PodEvent, PodState};
use crate::pods::Inner;
use crate::ports::AttachRequest;
use crate::records::{PodRecord, PodStatusRecord, VERSION, make_dir, save, write_atomically};
use crate::teardown::Scope;
use crate::{files, limits, monitors};

/// What the two branches of a run find out.
struct Opened {
    ips: Vec<IpAddr>,
    monitor: Arc<MonitorClient>,
    pause_pid: u32,
}

impl Inner {
    pub(crate) async fn run_pod(self: Arc<Self>, config: PodConfig) -> Result<PodId, Error> {
        let config = Arc::new(config);
        let existing = || self.existing_pod(&config);
        let start = |cancelled| Arc::clone(&self).open_pod(Arc::clone(&config), cancelled);
        let inner = Arc::clone(&self);
        let undo = |id| async move {
            tracing::info!(pod = %id, "roll back a pod sandbox that nobody has asked for again");
            if let Some(pod) = inner.pod(id)
                && let Err(error) = inner.remove_pod(pod).await
            {
                tracing::warn!(pod = %id, %error, "roll back a pod sandbox");
            }
        };
        let id = self.pod_operations.join_or_start(config.key.clone(), Arc::clone(&config), existing, start, undo);
        let id = id.await?;
        if let Some(pod) = self.pod(id) {
            self.change_pod(&pod, |status| status.revealed = true);
        }
        Ok(id)
    }

    /// The answer to a request whose pod is there already.
    fn existing_pod(&self, config: &PodConfig) -> Found<PodId> {
        // A pod that is being removed, or whose failed run could not be taken back, does not stand in the way of
        // another try of the same request; it has an id of its own.
        let is_same = |pod: &Pod| pod.config.key == config.key && pod.state() != PodState::Removing;
        let Some(pod) = self.pods_where(is_same).pop() else { return Found::Nothing };
        let state = pod.state();
        Found::Answer(if *pod.config != *config {
            Err(Error::Differs {
                what: what(&config.key),
                id: pod.id.to_string(),
                difference: difference(&pod.config, config),
            })
        } else if state == PodState::Ready {
            Ok(pod.id)
        } else {
            Err(pod.wrong_state(state, "remove it, or raise metadata.attempt for a new one"))
        })
    }

    /// Makes a pod; rolls back when it fails or is cancelled.
    async fn open_pod(self: Arc<Self>, config: Arc<PodConfig>, cancelled: Cancelled) -> Result<PodId, Error> {
        let cgroup_parent = config.cgroup_parent.clone().unwrap_or_else(|| self.default_cgroup_parent.clone());
        let record = PodRecord {
            version: VERSION,
            id: PodId::random(),
            created_at_ns: self.clock.now_ns(),
            boot_id: self.boot_id.clone(),
            made_from: self.made_from(&cgroup_parent)?,
            cgroup_parent,
            config: PodConfig::clone(&config),
        };
        let pod = Arc::new(Pod::new(record.clone(), PodState::Opening));
        let work = Arc::clone(&pod);
        let _work = work.work.lock().await;
        self.add_pod(Arc::clone(&pod));
        let result = tokio::select! {
            result = self.acquire(&pod, record) => result,
            () = cancelled.wait() => Err(Error::Superseded { what: what(&config.key) }),
        };
        let error = match result {
            Ok(()) => {
                tracing::info!(pod = %pod.id, name = %config.key, ips = ?pod.status().ips, "pod sandbox is ready");
                return Ok(pod.id);
            }
            Err(error) => error,
        };
        pod.jobs_are_done().await;
        self.change_pod(&pod, |status| status.on(PodEvent::OpenFailed))?;
        match self.tear_down(&pod, Scope::Everything).await {
            Ok(()) => self.drop_pod(pod.id),
            Err(left) => {
                // It stays listed, so that the kubelet can have it stopped and removed.
                tracing::warn!(pod = %pod.id, error = %left, "roll back a failed pod sandbox");
                self.change_pod(&pod, |status| {
                    status.reason = Some(format!("{error}; {left}"));
                    status.revealed = true;
                });
            }
        }
        Err(error)
    }

    async fn acquire(self: &Arc<Self>, pod: &Arc<Pod>, record: PodRecord) -> Result<(), Error> {
        let (id, paths) = (pod.id, self.paths.clone());
        let pin = pod.netns(&self.paths);
        let job = pod.job().await;
        let netns = self
            .blocking
            .run(move || {
                let _job = job;
                make_dir(&paths.pod(id))?;
                save(&paths.pod(id).join("record.json"), &record)?;
                Ok(pin.as_deref().map(Netns::create).transpose()?)
            })
            .await?;
        let (ips, (monitor, pause_pid)) = tokio::try_join!(self.attach(pod), self.open_sandbox(pod, netns.as_ref()))?;
        self.finish(pod, Opened { ips, monitor, pause_pid }).await
    }

    /// The topmost cgroup on the way to a parent that a pod makes; or that another pod has made, so that it goes with
    /// whichever is the last. A look at a kernel file system, which waits for no disk.
    fn made_from(&self, path: &str) -> Result<Option<String>, Error> {
        let on_the_way = |top: &String| ancestors(path).any(|ancestor| ancestor == top);
        let mut missing = self.pods_where(|_| true).iter().find_map(|pod| pod.made_from.clone().filter(on_the_way));
        if missing.is_some() {
            return Ok(missing);
        }
        for ancestor in ancestors(path) {
            let paths = self.cgroups.join_paths(&CgroupPath::parse(ancestor)?);
            if paths.unified.iter().chain(&paths.v1).any(|directory| directory.exists()) {
                break;
            }
            missing = Some(ancestor.to_owned());
        }
        Ok(missing)
    }

    async fn attach(&self, pod: &Pod) -> Result<Vec<IpAddr>, Error> {
        let Some(netns) = pod.netns(&self.paths) else { return Ok(Vec::new()) };
        let key = &pod.config.key;
        let request = AttachRequest {
            pod: pod.id,
            netns,
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            uid: key.uid.clone(),
            port_mappings: pod.config.port_mappings.iter().filter(|port| port.host_port.is_some()).cloned().collect(),
            annotations: pod.config.annotations.clone(),
            dns: pod.config.dns.clone(),
            bandwidth: pod.config.bandwidth,
            cgroup_parent: pod.cgroup_parent.clone(),
        };
        let attached = self.network.attach(request).await;
        let attached =
            attached.map_err(|error| Error::Network { pod: pod.id, kind: error.kind, message: error.message })?;
        Ok(attached.ips)
    }

    async fn open_sandbox(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        netns: Option<&Netns>,
    ) -> Result<(Arc<MonitorClient>, u32), Error> {
        self.start_monitor(pod).await?;
        let monitor = self.connect_monitor(pod).await?;
        let request = Request::OpenSandbox(OpenSandbox {
            own_network: netns.is_some(),
            own_ipc: pod.config.ipc == Sharing::Pod,
            hostname: pod.has_own_network().then(|| hostname(pod)),
            shm_bytes: limits::SHM_BYTES,
            cgroup: self.cgroup_join(pod, pod.id.wire())?,
            oom_score_adj: limits::PAUSE_OOM_SCORE_ADJ,
        });
        let mut fds = vec![self.programs.pause.as_fd()];
        fds.extend(netns.map(Netns::fd));
        let answer = monitor.call(request, &fds, limits::MONITOR_ANSWER).await;
        match answer.map_err(|error| Error::MonitorLost { pod: pod.id, cause: error.to_string() })? {
            (Reply::SandboxOpened { pause_pid }, _) => Ok((monitor, pause_pid)),
            (reply, _) => Err(unexpected(format!("start pause of pod sandbox {}", pod.id), reply)),
        }
    }

    /// Makes the pod's cgroup and generated files, and starts its monitor.
    async fn start_monitor(&self, pod: &Arc<Pod>) -> Result<(), Error> {
        let cgroup = self.cgroup_path(pod, pod.id.wire())?;
        let (hierarchy, programs) = (self.cgroups.clone(), self.programs.clone());
        let live_dir = self.paths.live_pod(pod.id);
        let (pod, job) = (Arc::clone(pod), pod.job().await);
        self.blocking
            .run(move || {
                let _job = job;
                make_dir(&live_dir)?;
                write_shared(live_dir.join("hostname"), files::hostname(&hostname_in(&pod)).as_bytes())?;
                let resolver = match &pod.config.dns {
                    Some(dns) => files::resolv_conf(dns).into_bytes(),
                    None => host_file("/etc/resolv.conf")?,
                };
                write_shared(live_dir.join("resolv.conf"), &resolver)?;
                hierarchy.create(&cgroup, &Limits::default())?;
                monitors::spawn(&programs, pod.id, &live_dir)
            })
            .await
    }

    async fn finish(&self, pod: &Arc<Pod>, opened: Opened) -> Result<(), Error> {
        let status = PodStatusRecord { version: VERSION, stopped: false, ips: opened.ips.clone() };
        let (record_path, hosts_path) =
            (self.paths.pod(pod.id).join("status.json"), self.paths.live_pod(pod.id).join("hosts"));
        let (for_files, job) = (Arc::clone(pod), pod.job().await);
        self.blocking
            .run(move || {
                let _job = job;
                let hosts = if for_files.has_own_network() {
                    files::hosts(&hostname(&for_files), &status.ips).into_bytes()
                } else {
                    host_file("/etc/hosts")?
                };
                write_shared(hosts_path, &hosts)?;
                save(&record_path, &status)
            })
            .await?;
        self.change_pod(pod, |status| {
            let lost = opened.monitor.is_lost().then(|| "its monitor ended".to_owned());
            if let Some(cause) = status.reason.take().or(lost) {
                return Err(Error::MonitorLost { pod: pod.id, cause });
            }
            status.ips = opened.ips;
            status.pause_pid = opened.pause_pid;
            status.on(PodEvent::Opened).map(|_| ())
        })
    }
}

/// A cgroup's path and those of its parents, the deepest first and the root not among them.
pub(crate) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path.trim_end_matches('/')), |path| {
        let (parent, _) = path.rsplit_once('/')?;
        (!parent.is_empty()).then_some(parent)
    })
}

/// An answer that does not fit the question.
pub(crate) fn unexpected(doing: String, reply: Reply) -> Error {
    match reply {
        Reply::Failed(failure) => Error::Monitor { doing, failure },
        other => Error::Fault(format!("{doing}: the monitor answered {other:?}")),
    }
}

/// The host name that a pod's containers see.
pub(crate) fn hostname_in(pod: &Pod) -> String {
    if pod.has_own_network() { hostname(pod) } else { host_name() }
}

/// The host name of a pod with a uts namespace of its own.
fn hostname(pod: &Pod) -> String {
    pod.config.hostname.clone().unwrap_or_else(|| pod.id.to_string()[..12].to_owned())
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A file of the host that a pod gets a copy of; one that is not there is empty.
fn host_file(path: &'static str) -> Result<Vec<u8>, Error> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| Error::file("read", path, error)),
    }
}

/// A file that containers read: mode 0644 inside a directory of mode 0700.
fn write_shared(path: PathBuf, bytes: &[u8]) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    write_atomically(&path, bytes)?;
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&path, mode).map_err(|error| Error::file("set the mode of", path, error))
}

fn what(key: &PodKey) -> String {
    format!("pod sandbox {key}")
}

/// The names of the fields in which two configurations differ.
fn difference(old: &PodConfig, new: &PodConfig) -> String {
    let fields = [
        ("hostname", old.hostname == new.hostname),
        ("log_directory", old.log_directory == new.log_directory),
        ("dns_config", old.dns == new.dns),
        ("port_mappings", old.port_mappings == new.port_mappings),
        ("labels", old.labels == new.labels),
        ("annotations", old.annotations == new.annotations),
        ("linux.cgroup_parent", old.cgroup_parent == new.cgroup_parent),
        (
            "linux.security_context.namespace_options",
            (old.network, old.pid, old.ipc) == (new.network, new.pid, new.ipc),
        ),
        ("linux.security_context.privileged", old.privileged == new.privileged),
        ("linux.resources", old.resources == new.resources),
        ("linux.overhead", old.overhead == new.overhead),
        ("runtime_handler", old.runtime_handler == new.runtime_handler),
    ];
    let names: Vec<_> = fields.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect();
    format!("{} differ", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_from_the_deepest_up() {
        assert_eq!(ancestors("/a/b/c").collect::<Vec<_>>(), ["/a/b/c", "/a/b", "/a"]);
        assert_eq!(ancestors("/husk/").collect::<Vec<_>>(), ["/husk"]);
    }
}
