// SPDX-License-Identifier: Apache-2.0
//! The compiler: mounts, paths and namespaces of an OCI config to steps.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType, LinuxNamespaceType, Mount, Spec};
use wire::{Access, CgroupMount, DeviceNode, MissingSource, Namespaces, NodeKind, Plan, Step};

use crate::error::Error;
use crate::process::process;

/// The mount type by which a config of ours asks for the pod's shared memory, which has no path on the host.
pub const SHM_TYPE: &str = "husk.shm";

/// Group of the terminals in `/dev/pts`: the `tty` group, which is 5 in every distribution's base files.
const TTY_GID: u32 = 5;

/// What a plan needs and an OCI config cannot say.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Layer directories, topmost first.
    pub layers: Vec<PathBuf>,
    /// The container's upper directory.
    pub upper: PathBuf,
    /// The container's work directory.
    pub work: PathBuf,
    /// The environment as bytes.
    pub env: Vec<Vec<u8>>,
    /// Which namespaces are the pod's own.
    pub namespaces: Namespaces,
    /// The cgroup hierarchies of this machine, as they are mounted in a container.
    pub cgroups: Vec<CgroupMount>,
    /// A directory whose files husk made itself: a source below it that is missing is a fault, not a new directory.
    pub own_files: PathBuf,
}

/// Compiles an OCI config into the plan that the monitor's child carries out.
///
/// # Errors
/// When a part of the config is missing, malformed or not carried out by this version.
pub fn compile(spec: &Spec, facts: &Facts) -> Result<Plan, Error> {
    let linux = spec.linux().as_ref().ok_or(Error::Missing("linux"))?;
    let root = spec.root().as_ref().ok_or(Error::Missing("root"))?;
    let oci_process = spec.process().as_ref().ok_or(Error::Missing("process"))?;
    refuse_what_is_not_carried_out(spec, linux)?;

    let mut before = vec![Step::Overlay {
        lower: facts.layers.iter().map(|path| absolute(path, "layers")).collect::<Result<_, _>>()?,
        upper: absolute(&facts.upper, "upper")?,
        work: absolute(&facts.work, "work")?,
    }];
    let mut inside = vec![Step::AttachRoot];
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        compile_mount(mount, index, linux, facts, &mut before, &mut inside)?;
    }
    for path in linux.masked_paths().iter().flatten() {
        inside.push(Step::Mask { target: absolute(Path::new(path), "linux.maskedPaths")? });
    }
    for path in linux.readonly_paths().iter().flatten() {
        inside.push(Step::ReadonlyPath { target: absolute(Path::new(path), "linux.readonlyPaths")? });
    }
    if root.readonly().unwrap_or(false) {
        inside.push(Step::ReadonlyRoot);
    }
    inside.push(Step::Pivot);

    before.push(Step::EnterPod { namespaces: facts.namespaces });
    let own_cgroup_namespace = linux
        .namespaces()
        .iter()
        .flatten()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::Cgroup && namespace.path().is_none());
    if own_cgroup_namespace {
        before.push(Step::UnshareCgroup);
    }
    before.extend(inside);
    Ok(Plan { steps: before, process: process(oci_process, &facts.env)? })
}

fn refuse_what_is_not_carried_out(spec: &Spec, linux: &Linux) -> Result<(), Error> {
    let present = [
        ("hooks", spec.hooks().is_some()),
        ("linux.uidMappings", linux.uid_mappings().as_ref().is_some_and(|list| !list.is_empty())),
        ("linux.gidMappings", linux.gid_mappings().as_ref().is_some_and(|list| !list.is_empty())),
        ("linux.sysctl", linux.sysctl().as_ref().is_some_and(|map| !map.is_empty())),
        ("linux.seccomp", linux.seccomp().is_some()),
        ("linux.intelRdt", linux.intel_rdt().is_some()),
        ("linux.personality", linux.personality().is_some()),
        ("linux.mountLabel", linux.mount_label().as_ref().is_some_and(|label| !label.is_empty())),
        ("linux.netDevices", linux.net_devices().is_some()),
        ("linux.memoryPolicy", linux.memory_policy().is_some()),
    ];
    match present.into_iter().find(|(_, there)| *there) {
        Some((part, _)) => Err(Error::unsupported(part, "a value")),
        None => Ok(()),
    }
}

fn compile_mount(
    mount: &Mount,
    index: usize,
    linux: &Linux,
    facts: &Facts,
    before: &mut Vec<Step>,
    inside: &mut Vec<Step>,
) -> Result<(), Error> {
    let target = absolute(mount.destination(), &format!("mounts[{index}].destination"))?;
    let options = Options::parse(mount, index)?;
    let access = options.access;
    match mount.typ().as_deref().unwrap_or("bind") {
        "proc" => inside.push(Step::Proc { target }),
        "sysfs" => inside.push(Step::Sysfs { target, access }),
        "mqueue" => inside.push(Step::Mqueue { target }),
        "cgroup" | "cgroup2" => inside.push(Step::Cgroups { target, mounts: facts.cgroups.clone(), access }),
        "tmpfs" if target == "/dev" => {
            let nodes = linux.devices().iter().flatten().map(device_node).collect::<Result<_, _>>()?;
            inside.push(Step::Dev { target, nodes, tty_gid: TTY_GID });
        }
        // The step for /dev makes its own instance.
        "devpts" if target == "/dev/pts" => {}
        "tmpfs" => inside.push(Step::Tmpfs { target, data: options.data.join(","), access }),
        SHM_TYPE => inside.push(Step::Shm { target }),
        "bind" => {
            let slot = before.iter().filter(|step| matches!(step, Step::OpenSource { .. })).count();
            let slot = u16::try_from(slot).map_err(|_| Error::TooManyMounts)?;
            let source = mount.source().as_deref().ok_or(Error::Missing("mounts[].source"))?;
            let own = source.starts_with(&facts.own_files);
            before.push(Step::OpenSource {
                slot,
                path: absolute(source, &format!("mounts[{index}].source"))?,
                missing: if own { MissingSource::Fail } else { MissingSource::MakeDirectory },
            });
            inside.push(Step::Attach { slot, target, access });
        }
        other => return Err(Error::unsupported(format!("mounts[{index}].type"), other)),
    }
    Ok(())
}

/// Mount options, sorted into what is understood.
struct Options {
    access: Access,
    data: Vec<String>,
}

impl Options {
    fn parse(mount: &Mount, index: usize) -> Result<Self, Error> {
        let mut parsed = Self { access: Access::ReadWrite, data: Vec::new() };
        for option in mount.options().iter().flatten() {
            match option.as_str() {
                "ro" => parsed.access = Access::ReadOnly,
                "rw" => parsed.access = Access::ReadWrite,
                // What the steps do anyway.
                "rbind" | "rprivate" | "nosuid" | "noexec" | "nodev" | "relatime" | "newinstance" | "strictatime" => {}
                data if mount.typ().as_deref().is_some_and(|typ| typ == "tmpfs" || typ == "devpts")
                    && data.contains('=') =>
                {
                    parsed.data.push(data.to_owned());
                }
                other => return Err(Error::unsupported(format!("mounts[{index}].options"), other)),
            }
        }
        Ok(parsed)
    }
}

fn device_node(device: &LinuxDevice) -> Result<DeviceNode, Error> {
    let path = absolute(device.path(), "linux.devices[].path")?;
    let name =
        path.strip_prefix("/dev/").ok_or_else(|| Error::unsupported("linux.devices[].path", path.clone()))?.to_owned();
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => NodeKind::Character,
        LinuxDeviceType::B => NodeKind::Block,
        other => return Err(Error::unsupported("linux.devices[].type", format!("{other:?}"))),
    };
    let number = |value: i64, part: &str| u32::try_from(value).map_err(|_| Error::unsupported(part, value.to_string()));
    Ok(DeviceNode {
        name,
        kind,
        major: number(device.major(), "linux.devices[].major")?,
        minor: number(device.minor(), "linux.devices[].minor")?,
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

/// An absolute path as text, without `.`, doubled slashes and a trailing one.
pub(crate) fn absolute(path: &Path, part: &str) -> Result<String, Error> {
    let bad = || Error::BadPath { part: part.to_owned(), path: path.to_string_lossy().into_owned() };
    let mut text = String::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                text.push('/');
                text.push_str(name.to_str().ok_or_else(bad)?);
            }
            Component::ParentDir | Component::Prefix(_) => return Err(bad()),
        }
    }
    if !path.is_absolute() || text.contains('\0') {
        return Err(bad());
    }
    Ok(if text.is_empty() { "/".to_owned() } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts() -> Facts {
        Facts {
            layers: vec!["/layers/b".into(), "/layers/a".into()],
            upper: "/c/upper".into(),
            work: "/c/work".into(),
            env: vec![b"A=\xff".to_vec()],
            namespaces: Namespaces { network: true, ipc: true, uts: true },
            cgroups: vec![CgroupMount { name: String::new(), options: String::new() }],
            own_files: "/run/husk/pods/p".into(),
        }
    }

    fn spec(mounts: serde_json::Value, linux: serde_json::Value) -> Spec {
        serde_json::from_value(json!({
            "ociVersion": "1.2.1",
            "process": {"user": {"uid": 7, "gid": 8, "additionalGids": [8, 9]}, "args": ["/bin/true"], "cwd": "/"},
            "root": {"path": "rootfs", "readonly": true},
            "mounts": mounts,
            "linux": linux,
        }))
        .unwrap()
    }

    fn printed(plan: &Plan) -> Vec<String> {
        plan.steps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_ordinary_container() {
        let spec = spec(
            json!([
                {"destination": "/proc", "type": "proc"},
                {"destination": "/dev", "type": "tmpfs", "options": ["nosuid", "mode=755"]},
                {"destination": "/dev/pts", "type": "devpts", "options": ["newinstance", "gid=5"]},
                {"destination": "/sys", "type": "sysfs", "options": ["ro"]},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]},
                {"destination": "/dev/shm", "type": "husk.shm"},
                {"destination": "/etc/hosts", "type": "bind", "source": "/run/husk/pods/p/hosts", "options": ["rbind"]},
                {"destination": "/data/", "type": "bind", "source": "/srv//data", "options": ["rbind", "ro"]},
            ]),
            json!({
                "namespaces": [{"type": "cgroup"}, {"type": "mount"}],
                "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
                "devices": [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 438}],
            }),
        );
        let plan = compile(&spec, &facts()).unwrap();
        assert_eq!(
            printed(&plan),
            [
                "make overlay of 2 layers over /c/upper",
                "open mount source /run/husk/pods/p/hosts",
                "open mount source /srv/data",
                "enter the pod's namespaces",
                "make cgroup namespace",
                "attach root file system",
                "mount proc at /proc",
                "mount devices at /dev",
                "mount sysfs at /sys",
                "mount cgroups at /sys/fs/cgroup",
                "mount the pod's shared memory at /dev/shm",
                "attach source 0 at /etc/hosts",
                "attach source 1 at /data read-only",
                "mask /proc/kcore",
                "make /proc/sys read-only",
                "make root file system read-only",
                "pivot to root file system",
            ]
        );
        let missing = |index: usize| match &plan.steps[index] {
            Step::OpenSource { missing, .. } => *missing,
            other => panic!("{other}"),
        };
        assert_eq!((missing(1), missing(2)), (MissingSource::Fail, MissingSource::MakeDirectory));
        assert_eq!((plan.process.uid, plan.process.gid, plan.process.groups.as_slice()), (7, 8, &[8, 9][..]));
        assert_eq!(plan.process.env, [ByteVec::from(b"A=\xff".to_vec())]);
        assert_eq!(plan.process.capabilities, wire::CapabilitySets::default());
    }

    use wire::ByteVec;

    #[test]
    fn the_empty_request_brings_nothing_of_its_own() {
        let plan = compile(&spec(json!([]), json!({})), &facts()).unwrap();
        assert_eq!(
            printed(&plan),
            [
                "make overlay of 2 layers over /c/upper",
                "enter the pod's namespaces",
                "attach root file system",
                "make root file system read-only",
                "pivot to root file system",
            ]
        );
        assert!(plan.process.rlimits.is_empty());
        assert_eq!((plan.process.oom_score_adj, plan.process.no_new_privs), (None, false));
    }

    #[test]
    fn what_is_not_carried_out_is_refused() {
        let mounts = [
            json!([{"destination": "/a", "type": "nfs"}]),
            json!([{"destination": "a", "type": "proc"}]),
            json!([{"destination": "/a/../b", "type": "proc"}]),
            json!([{"destination": "/a", "type": "bind", "source": "/b", "options": ["rshared"]}]),
            json!([{"destination": "/a", "type": "bind"}]),
            json!([{"destination": "/a", "type": "bind", "source": "b"}]),
        ];
        for mounts in mounts {
            assert!(compile(&spec(mounts.clone(), json!({})), &facts()).is_err(), "{mounts}");
        }
        let linux = [
            json!({"sysctl": {"net.ipv4.ip_forward": "1"}}),
            json!({"uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}),
            json!({"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}),
        ];
        for linux in linux {
            assert!(compile(&spec(json!([]), linux.clone()), &facts()).is_err(), "{linux}");
        }
        let device = json!({"devices": [{"path": "/etc/x", "type": "c", "major": 1, "minor": 3}]});
        let dev = json!([{"destination": "/dev", "type": "tmpfs"}]);
        assert!(compile(&spec(dev, device), &facts()).is_err());
    }
}
