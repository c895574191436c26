// SPDX-License-Identifier: Apache-2.0
//! What is written for each layout, recorded by plain files in a temporary directory that looks like it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, also in its fixtures")]

use std::fs;
use std::path::{Path, PathBuf};

use husk_cgroups::{
    Ceiling, CgroupPath, DeviceAccess, DeviceKind, DeviceRule, Error, Facts, Hierarchy, Kind, Limits, UnifiedKey,
};

const PROC_CGROUPS: &str = "cpuset 1 1 1\ncpu 1 1 1\nmemory 1 1 1\npids 1 1 1\ndevices 1 1 1\nfreezer 1 1 1\n";

const V2_FILES: &[(&str, &str)] = &[
    ("cgroup.controllers", "cpuset cpu io memory pids\n"),
    ("cpu.weight", "100\n"),
    ("cpu.max", "max 100000\n"),
    ("memory.max", "max\n"),
    ("memory.swap.max", "max\n"),
    ("memory.high", "max\n"),
    ("memory.current", "4096\n"),
    ("memory.events", "oom 0\noom_kill 5\n"),
    ("pids.max", "max\n"),
    ("cpuset.cpus", "\n"),
    ("cpuset.mems", "\n"),
    ("cgroup.procs", ""),
    ("cgroup.events", "populated 0\nfrozen 0\n"),
];

const V1_CPU: &[(&str, &str)] =
    &[("cpu.shares", "1024\n"), ("cpu.cfs_quota_us", "-1\n"), ("cpu.cfs_period_us", "100000\n"), ("cgroup.procs", "")];
const V1_CPUSET: &[(&str, &str)] = &[("cpuset.cpus", "0-7\n"), ("cpuset.mems", "0\n"), ("cgroup.procs", "")];
const V1_PIDS: &[(&str, &str)] = &[("pids.max", "max\n"), ("cgroup.procs", "")];
const V1_MEMORY: &[(&str, &str)] = &[
    ("memory.limit_in_bytes", "9223372036854771712\n"),
    ("memory.memsw.limit_in_bytes", "9223372036854771712\n"),
    ("memory.usage_in_bytes", "4096\n"),
    ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
    ("cgroup.procs", ""),
];

/// A hierarchy of plain files.
struct Tree {
    root: tempfile::TempDir,
    mountinfo: String,
}

impl Tree {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), mountinfo: String::new() }
    }

    /// Adds a mount at `at` below the root; every directory of `cgroups` in it gets all `files`.
    fn mount(mut self, at: &str, kind: &str, cgroups: &[&str], files: &[(&str, &str)]) -> Self {
        let mount_point = self.root.path().join(at);
        fs::create_dir_all(&mount_point).unwrap();
        for cgroup in cgroups {
            fs::create_dir_all(mount_point.join(cgroup)).unwrap();
            for (name, text) in files {
                fs::write(mount_point.join(cgroup).join(name), text).unwrap();
            }
        }
        let number = self.mountinfo.lines().count();
        let place = mount_point.display();
        self.mountinfo.push_str(&format!("{number} 1 0:{number} / {place} rw - {kind}\n"));
        self
    }

    fn v2() -> Self {
        Self::new().mount("v2", "cgroup2 cgroup2 rw", &["pod/c"], V2_FILES)
    }

    fn v1() -> Self {
        Self::new()
            .mount("cpu", "cgroup cgroup rw,cpu", &["pod/c"], V1_CPU)
            .mount("cpuset", "cgroup cgroup rw,cpuset", &["", "pod", "pod/c"], V1_CPUSET)
            .mount("memory", "cgroup cgroup rw,memory", &["pod/c"], V1_MEMORY)
            .mount("pids", "cgroup cgroup rw,pids", &["pod/c"], V1_PIDS)
    }

    fn hierarchy(&self) -> Hierarchy {
        Hierarchy::from_facts(Facts { mountinfo: &self.mountinfo, proc_cgroups: PROC_CGROUPS }).unwrap()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.path().join(file)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    /// Every file and directory with its content.
    fn snapshot(&self) -> Vec<(PathBuf, Option<String>)> {
        fn collect(dir: &Path, into: &mut Vec<(PathBuf, Option<String>)>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    into.push((path.clone(), None));
                    collect(&path, into);
                } else {
                    into.push((path.clone(), Some(fs::read_to_string(&path).unwrap())));
                }
            }
        }
        let mut all = Vec::new();
        collect(self.root.path(), &mut all);
        all.sort();
        all
    }
}

fn leaf() -> CgroupPath {
    CgroupPath::parse("/pod/c").unwrap()
}

fn at(most: u64) -> Option<Ceiling> {
    Some(Ceiling::At(most))
}

fn everything() -> Limits {
    Limits {
        cpu_shares: Some(256),
        cpu_quota_us: at(50_000),
        cpu_period_us: Some(20_000),
        memory_limit_bytes: at(1 << 20),
        memory_swap_limit_bytes: at(3 << 20),
        pids_limit: at(7),
        cpuset_cpus: Some("0-3".to_owned()),
        cpuset_mems: Some("0".to_owned()),
        devices: None,
        unified: Vec::new(),
    }
}

#[test]
fn all_limits_on_v2() {
    let tree = Tree::v2();
    tree.hierarchy().create(&leaf(), &everything()).unwrap();
    for (file, text) in [
        ("cpu.weight", "35"),
        ("cpu.max", "50000 20000"),
        ("memory.max", "1048576"),
        ("memory.swap.max", "2097152"),
        ("memory.high", "max\n"),
        ("pids.max", "7"),
        ("cpuset.cpus", "0-3"),
        ("cpuset.mems", "0"),
    ] {
        assert_eq!(tree.read(&format!("v2/pod/c/{file}")), text, "{file}");
    }
}

#[test]
fn all_limits_on_v1() {
    let tree = Tree::v1();
    tree.hierarchy().create(&leaf(), &everything()).unwrap();
    for (file, text) in [
        ("cpu/pod/c/cpu.shares", "256"),
        ("cpu/pod/c/cpu.cfs_quota_us", "50000"),
        ("cpu/pod/c/cpu.cfs_period_us", "20000"),
        ("memory/pod/c/memory.limit_in_bytes", "1048576"),
        ("memory/pod/c/memory.memsw.limit_in_bytes", "3145728"),
        ("pids/pod/c/pids.max", "7"),
        ("cpuset/pod/c/cpuset.cpus", "0-3"),
        // Written already, so left alone: the newline of the fixture is still there.
        ("cpuset/pod/c/cpuset.mems", "0\n"),
    ] {
        assert_eq!(tree.read(file), text, "{file}");
    }
}

#[test]
fn each_controller_is_found_where_it_is() {
    let tree = Tree::new()
        .mount("v2", "cgroup2 cgroup2 rw", &["pod/c"], &[("memory.max", "max\n"), ("cgroup.controllers", "memory\n")])
        .mount("cpu,pids", "cgroup cgroup rw,cpu,pids", &["pod/c"], &[("cpu.shares", "1024\n"), ("pids.max", "max\n")]);
    let limits = Limits {
        cpu_shares: Some(2000),
        memory_limit_bytes: at(4096),
        pids_limit: at(3),
        unified: vec![(UnifiedKey::parse("memory.max").unwrap(), "8192".to_owned())],
        ..Limits::default()
    };
    tree.hierarchy().create(&leaf(), &limits).unwrap();
    assert_eq!(tree.read("cpu,pids/pod/c/cpu.shares"), "2000");
    assert_eq!(tree.read("cpu,pids/pod/c/pids.max"), "3");
    // Settings by name come last.
    assert_eq!(tree.read("v2/pod/c/memory.max"), "8192");
}

#[test]
fn only_what_is_set_is_written() {
    for tree in [Tree::v1(), Tree::v2()] {
        let before = tree.snapshot();
        let cgroup = tree.hierarchy().create(&leaf(), &Limits::default()).unwrap();
        cgroup.update(&Limits::default()).unwrap();
        assert_eq!(tree.snapshot(), before);
    }
}

#[test]
fn unlimited_is_written_in_each_dialect() {
    let limits = Limits {
        cpu_quota_us: Some(Ceiling::Unlimited),
        memory_limit_bytes: Some(Ceiling::Unlimited),
        memory_swap_limit_bytes: Some(Ceiling::Unlimited),
        pids_limit: Some(Ceiling::Unlimited),
        ..Limits::default()
    };
    let tree = Tree::v1();
    tree.hierarchy().create(&leaf(), &everything()).unwrap().update(&limits).unwrap();
    assert_eq!(tree.read("cpu/pod/c/cpu.cfs_quota_us"), "-1");
    assert_eq!(tree.read("memory/pod/c/memory.limit_in_bytes"), "-1");
    assert_eq!(tree.read("memory/pod/c/memory.memsw.limit_in_bytes"), "-1");
    assert_eq!(tree.read("pids/pod/c/pids.max"), "max");
    let tree = Tree::v2();
    tree.hierarchy().create(&leaf(), &everything()).unwrap().update(&limits).unwrap();
    assert_eq!(tree.read("v2/pod/c/cpu.max"), "max 20000");
    assert_eq!(tree.read("v2/pod/c/memory.max"), "max");
    assert_eq!(tree.read("v2/pod/c/memory.swap.max"), "max");
    assert_eq!(tree.read("v2/pod/c/pids.max"), "max");
}

#[test]
fn swap_on_v2_is_what_lies_above_memory() {
    let tree = Tree::v2();
    let cgroup =
        tree.hierarchy().create(&leaf(), &Limits { memory_limit_bytes: at(8192), ..Limits::default() }).unwrap();
    let swap = |both| Limits { memory_swap_limit_bytes: at(both), ..Limits::default() };
    cgroup.update(&swap(8192)).unwrap();
    assert_eq!(tree.read("v2/pod/c/memory.swap.max"), "0");
    cgroup.update(&swap(9192)).unwrap();
    assert_eq!(tree.read("v2/pod/c/memory.swap.max"), "1000");
    // Below the memory limit that stands, and without any memory limit.
    assert_eq!(cgroup.update(&swap(8191)).unwrap_err().kind(), Kind::InvalidInput);
    cgroup.update(&Limits { memory_limit_bytes: Some(Ceiling::Unlimited), ..Limits::default() }).unwrap();
    assert_eq!(cgroup.update(&swap(9192)).unwrap_err().kind(), Kind::InvalidInput);
    assert_eq!(tree.read("v2/pod/c/memory.swap.max"), "1000");
}

#[test]
fn a_kernel_without_swap_accounting_is_named() {
    let limits = Limits { memory_swap_limit_bytes: at(1 << 30), memory_limit_bytes: at(1 << 29), ..Limits::default() };
    for (tree, file, memory) in [
        (Tree::v1(), "memory/pod/c/memory.memsw.limit_in_bytes", "memory/pod/c/memory.limit_in_bytes"),
        (Tree::v2(), "v2/pod/c/memory.swap.max", "v2/pod/c/memory.max"),
    ] {
        let before = tree.read(memory);
        fs::remove_file(tree.path(file)).unwrap();
        let error = tree.hierarchy().create(&leaf(), &limits).unwrap_err();
        assert!(matches!(error, Error::NoSwapAccounting { .. }), "{error}");
        assert_eq!(error.kind(), Kind::Unsupported);
        assert_eq!(tree.read(memory).trim_end(), before.trim_end());
    }
}

#[test]
fn swap_accounting_is_seen() {
    let tree = Tree::v2();
    assert!(!tree.hierarchy().accounts_swap().unwrap());
    fs::write(tree.path("v2/pod/memory.swap.max"), "max\n").unwrap();
    assert!(tree.hierarchy().accounts_swap().unwrap());
    let tree = Tree::v1();
    assert!(!tree.hierarchy().accounts_swap().unwrap());
    fs::write(tree.path("memory/memory.memsw.limit_in_bytes"), "9223372036854771712\n").unwrap();
    assert!(tree.hierarchy().accounts_swap().unwrap());
}

#[test]
fn a_limit_below_the_usage_is_refused_on_v2() {
    let tree = Tree::v2();
    fs::write(tree.path("v2/pod/c/memory.current"), "1048577\n").unwrap();
    let before = tree.snapshot();
    let limits = Limits { memory_limit_bytes: at(1 << 20), ..everything() };
    let error = tree.hierarchy().open(&leaf()).update(&limits).unwrap_err();
    assert!(matches!(error, Error::BelowUsage { limit_bytes: 1_048_576, usage_bytes: 1_048_577, .. }), "{error}");
    let trimmed = |snapshot: Vec<(PathBuf, Option<String>)>| {
        snapshot.into_iter().map(|(path, text)| (path, text.map(|text| text.trim_end().to_owned()))).collect::<Vec<_>>()
    };
    assert_eq!(trimmed(tree.snapshot()), trimmed(before));
}

#[test]
fn a_failed_update_puts_the_old_values_back() {
    let tree = Tree::v1();
    let cgroup = tree.hierarchy().create(&leaf(), &everything()).unwrap();
    let before = tree.snapshot();
    fs::remove_file(tree.path("pids/pod/c/pids.max")).unwrap();
    let changed = Limits {
        cpu_shares: Some(512),
        cpu_quota_us: at(10_000),
        cpu_period_us: Some(30_000),
        memory_limit_bytes: at(5 << 20),
        memory_swap_limit_bytes: at(6 << 20),
        cpuset_cpus: Some("1".to_owned()),
        ..everything()
    };
    let error = cgroup.update(&changed).unwrap_err();
    assert!(matches!(&error, Error::NoController { controller, .. } if controller == "pids"), "{error}");
    fs::write(tree.path("pids/pod/c/pids.max"), "7").unwrap();
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn a_wrong_value_changes_nothing() {
    let wrong = [
        Limits { cpuset_cpus: Some("0-".to_owned()), ..everything() },
        Limits { cpuset_mems: Some(String::new()), ..everything() },
        Limits { memory_swap_limit_bytes: at(1), ..everything() },
    ];
    for limits in wrong {
        let tree = Tree::v2();
        let before = tree.snapshot();
        let new = CgroupPath::parse("/pod/new").unwrap();
        assert_eq!(tree.hierarchy().create(&new, &limits).unwrap_err().kind(), Kind::InvalidInput);
        assert_eq!(tree.hierarchy().open(&leaf()).update(&limits).unwrap_err().kind(), Kind::InvalidInput);
        assert_eq!(tree.snapshot(), before);
    }
}

#[test]
fn a_failed_creation_removes_exactly_what_it_made() {
    // A plain directory gets no interface files, so the first limit fails after all directories were made.
    for tree in [Tree::v1(), Tree::v2()] {
        let before = tree.snapshot();
        let new = CgroupPath::parse("/pod/a/b/c").unwrap();
        let error = tree.hierarchy().create(&new, &Limits { pids_limit: at(1), ..Limits::default() }).unwrap_err();
        assert!(matches!(error, Error::NoController { .. }), "{error}");
        assert_eq!(tree.snapshot(), before);
    }
}

#[test]
fn controllers_are_enabled_down_the_path_and_only_where_missing() {
    let core = |controllers, enabled| [("cgroup.controllers", controllers), ("cgroup.subtree_control", enabled)];
    let tree = Tree::new()
        .mount("v2", "cgroup2 cgroup2 rw", &[""], &core("cpuset cpu io memory pids misc\n", "cpu io memory\n"))
        .mount("v2", "cgroup2 cgroup2 rw", &["pod"], &core("cpu memory pids\n", ""))
        .mount("v2", "cgroup2 cgroup2 rw", &["pod/full"], &core("memory pids\n", "memory pids\n"));
    let new = CgroupPath::parse("/pod/full/c").unwrap();
    tree.hierarchy().create(&new, &Limits::default()).unwrap();
    assert_eq!(tree.read("v2/cgroup.subtree_control"), "+cpuset +pids");
    assert_eq!(tree.read("v2/pod/cgroup.subtree_control"), "+cpu +memory +pids");
    assert_eq!(tree.read("v2/pod/full/cgroup.subtree_control"), "memory pids\n");
    assert!(tree.path("v2/pod/full/c").is_dir());
}

#[test]
fn a_level_that_does_not_pass_on_a_controller_is_named_when_a_limit_needs_it() {
    let tree = Tree::new().mount("v2", "cgroup2 cgroup2 rw", &["", "pod"], &[("cgroup.controllers", "memory pids\n")]);
    let new = CgroupPath::parse("/pod/c").unwrap();
    let error = tree.hierarchy().create(&new, &Limits { pids_limit: at(1), ..Limits::default() }).unwrap_err();
    match &error {
        Error::NotEnabled { controller: "pids", path, .. } => assert_eq!(path, &tree.path("v2")),
        other => panic!("{other}"),
    }
    assert!(!tree.path("v2/pod/c").exists());
    tree.hierarchy().create(&new, &Limits::default()).unwrap();
}

#[test]
fn an_empty_cpuset_gets_its_parents_list_at_each_level() {
    let tree = Tree::new()
        .mount("cpuset", "cgroup cgroup rw,cpuset", &[""], &[("cpuset.cpus", "0-7\n"), ("cpuset.mems", "0-1\n")])
        .mount("cpuset", "cgroup cgroup rw,cpuset", &["pod"], &[("cpuset.cpus", "2-3\n"), ("cpuset.mems", "\n")])
        .mount("cpuset", "cgroup cgroup rw,cpuset", &["pod/c"], &[("cpuset.cpus", "\n"), ("cpuset.mems", "\n")]);
    tree.hierarchy().create(&leaf(), &Limits::default()).unwrap();
    assert_eq!(tree.read("cpuset/pod/cpuset.cpus"), "2-3\n");
    assert_eq!(tree.read("cpuset/pod/cpuset.mems"), "0-1");
    assert_eq!(tree.read("cpuset/pod/c/cpuset.cpus"), "2-3");
    assert_eq!(tree.read("cpuset/pod/c/cpuset.mems"), "0-1");
}

#[test]
fn settings_by_name_need_their_controller() {
    let setting = |key: &str| Limits {
        pids_limit: at(9),
        unified: vec![(UnifiedKey::parse(key).unwrap(), "1".to_owned())],
        ..Limits::default()
    };
    let tree = Tree::v2();
    let cgroup = tree.hierarchy().open(&leaf());
    cgroup.update(&setting("memory.high")).unwrap();
    assert_eq!(tree.read("v2/pod/c/memory.high"), "1");
    assert_eq!(tree.read("v2/pod/c/pids.max"), "9");
    fs::write(tree.path("v2/pod/c/pids.max"), "max").unwrap();
    fs::write(tree.path("v2/pod/c/misc.max"), "canary").unwrap();
    for key in ["memory.absent", "misc.max"] {
        let error = cgroup.update(&setting(key)).unwrap_err();
        assert!(matches!(&error, Error::NoController { controller, .. } if controller == key), "{error}");
        assert_eq!(tree.read("v2/pod/c/pids.max"), "max");
    }
    assert_eq!(tree.read("v2/pod/c/misc.max"), "canary");
    let tree = Tree::v1();
    let error = tree.hierarchy().open(&leaf()).update(&setting("memory.high")).unwrap_err();
    assert!(matches!(error, Error::NoUnified { .. }), "{error}");
    assert_eq!(tree.read("pids/pod/c/pids.max"), "max");
}

#[test]
fn device_rules_on_v2_are_refused_and_not_ignored() {
    let rule = DeviceRule {
        kind: DeviceKind::Char,
        major: Some(1),
        minor: Some(3),
        access: DeviceAccess { read: true, write: true, mknod: false },
    };
    let limits = Limits { devices: Some(vec![rule]), pids_limit: at(2), ..Limits::default() };
    let tree = Tree::v2();
    let error = tree.hierarchy().create(&leaf(), &limits).unwrap_err();
    assert!(matches!(error, Error::NoDeviceRules { .. }), "{error}");
    assert_eq!(tree.read("v2/pod/c/pids.max").trim_end(), "max");
    let tree = Tree::v1();
    let error = tree.hierarchy().create(&leaf(), &limits).unwrap_err();
    assert!(matches!(&error, Error::NoController { controller, .. } if controller == "devices"), "{error}");
}

#[test]
fn oom_kills_are_counted_in_each_dialect() {
    let tree = Tree::v2();
    let cgroup = tree.hierarchy().open(&leaf());
    assert_eq!(cgroup.oom_kills().unwrap(), Some(5));
    fs::write(tree.path("v2/pod/c/memory.events"), "oom 0\noom_kill 5").unwrap();
    assert_eq!(cgroup.oom_kills().unwrap(), None);
    let tree = Tree::v1().mount("memory", "cgroup cgroup rw,memory", &["pod/c/inner"], V1_MEMORY);
    assert_eq!(tree.hierarchy().open(&leaf()).oom_kills().unwrap(), Some(4));
    let absent = CgroupPath::parse("/pod/absent").unwrap();
    assert_eq!(tree.hierarchy().open(&absent).oom_kills().unwrap(), None);
}

#[test]
fn a_link_in_the_place_of_a_file_is_not_followed() {
    let tree = Tree::v2();
    let canary = tree.path("canary");
    fs::write(&canary, "max\n").unwrap();
    fs::remove_file(tree.path("v2/pod/c/pids.max")).unwrap();
    std::os::unix::fs::symlink(&canary, tree.path("v2/pod/c/pids.max")).unwrap();
    let error = tree.hierarchy().create(&leaf(), &everything()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsafe, "{error}");
    fs::remove_dir_all(tree.path("v2/pod")).unwrap();
    std::os::unix::fs::symlink(tree.path("elsewhere"), tree.path("v2/pod")).unwrap();
    fs::create_dir(tree.path("elsewhere")).unwrap();
    let error = tree.hierarchy().create(&leaf(), &Limits::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsafe, "{error}");
    assert_eq!(tree.read("canary"), "max\n");
    assert_eq!(fs::read_dir(tree.path("elsewhere")).unwrap().count(), 0);
}
