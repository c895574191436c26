// SPDX-License-Identifier: Apache-2.0
//! What a container needs: a layer with busybox, and a plan.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use wire::{Access, ByteVec, CapabilitySets, DeviceNode, MissingSource, Namespaces, NodeKind, Plan, Process, Step};

const APPLETS: [&str; 17] = [
    "sh", "true", "sleep", "cat", "echo", "kill", "head", "seq", "yes", "dd", "tr", "setsid", "pidof", "readlink",
    "usleep", "tail", "test",
];

/// Makes the layer that every container of a test shares.
pub(crate) fn make_layer(at: &Path) -> PathBuf {
    let layer = at.join("layer");
    for directory in ["bin", "proc", "sys", "dev", "tmp", "mnt"] {
        fs::create_dir_all(layer.join(directory)).unwrap();
    }
    fs::copy(busybox(), layer.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", layer.join("bin").join(applet)).unwrap();
    }
    layer
}

fn busybox() -> &'static Path {
    static BUSYBOX: OnceLock<PathBuf> = OnceLock::new();
    BUSYBOX.get_or_init(|| {
        let path = PathBuf::from("/bin/busybox");
        assert!(path.exists(), "install busybox-static: the containers of this test are made of it");
        path
    })
}

/// A process that runs `args` as root with ordinary rights.
pub(crate) fn process(args: &[&str]) -> Process {
    // What Docker and containerd give by default, by number: chown, dac_override, fowner, fsetid, kill, setgid,
    // setuid, setpcap, net_bind_service, net_raw, sys_chroot, mknod, audit_write, setfcap.
    let numbers = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];
    let bits = numbers.iter().fold(0_u64, |bits, number| bits | 1 << number);
    Process {
        args: args.iter().map(ToString::to_string).collect(),
        env: vec![ByteVec::from(b"PATH=/bin".to_vec())],
        cwd: "/".into(),
        make_cwd: false,
        uid: 0,
        gid: 0,
        groups: vec![0],
        umask: 0o022,
        capabilities: CapabilitySets { bounding: bits, effective: bits, permitted: bits, inheritable: 0, ambient: 0 },
        no_new_privs: true,
        oom_score_adj: Some(0),
        rlimits: Vec::new(),
        terminal: false,
    }
}

/// The plan of a container with its own upper directory; `sources` are host paths for `/mnt/<index>`.
pub(crate) fn plan(layer: &Path, own: &Path, process: Process, sources: &[&Path]) -> Plan {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (upper, work) = (own.join("upper"), own.join("work"));
    fs::create_dir_all(&upper).unwrap();
    fs::create_dir_all(&work).unwrap();
    let mut steps = vec![Step::Overlay { lower: vec![text(layer)], upper: text(&upper), work: text(&work) }];
    for (slot, path) in (0..).zip(sources) {
        steps.push(Step::OpenSource { slot, path: text(path), missing: MissingSource::Fail });
    }
    steps.extend([
        Step::EnterPod { namespaces: Namespaces { network: false, ipc: true, uts: true } },
        Step::AttachRoot,
        Step::Proc { target: "/proc".into() },
        Step::Dev {
            target: "/dev".into(),
            nodes: [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)]
                .into_iter()
                .map(|(name, minor)| DeviceNode {
                    name: name.into(),
                    kind: NodeKind::Character,
                    major: 1,
                    minor,
                    mode: 0o666,
                    uid: 0,
                    gid: 0,
                })
                .collect(),
            tty_gid: 5,
        },
    ]);
    for slot in 0..sources.len() {
        steps.push(Step::Attach { slot: slot as u16, target: format!("/mnt/{slot}"), access: Access::ReadOnly });
    }
    steps.push(Step::Pivot);
    Plan { steps, process }
}
