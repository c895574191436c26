// SPDX-License-Identifier: Apache-2.0
//! Creation, limits as the kernel reads them back, and what a failure leaves.

use std::fs;
use std::os::unix::fs::MetadataExt;

use husk_cgroups::{
    Ceiling, Cgroup, CgroupPath, DeviceAccess, DeviceKind, DeviceRule, Error, Hierarchy, JoinPaths, Kind, Limits,
    UnifiedKey,
};

use crate::cgroup_guard::{OwnCgroup, PATIENCE};
use crate::child_guard::Shell;

fn at(most: u64) -> Option<Ceiling> {
    Some(Ceiling::At(most))
}

fn limits() -> Limits {
    Limits {
        cpu_shares: Some(512),
        cpu_quota_us: at(30_000),
        cpu_period_us: Some(60_000),
        memory_limit_bytes: at(64 << 20),
        memory_swap_limit_bytes: at(64 << 20),
        pids_limit: at(77),
        cpuset_cpus: Some("0".to_owned()),
        cpuset_mems: Some("0".to_owned()),
        ..Limits::default()
    }
}

/// What the limits read as; the file names differ between v1 and v2.
fn read_back(own: &OwnCgroup) -> Vec<String> {
    let is_v1 = own.dirs().iter().any(|dir| dir.join("cpu.shares").exists());
    let files: &[&str] = if is_v1 {
        &[
            "cpu.shares",
            "cpu.cfs_quota_us",
            "cpu.cfs_period_us",
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "pids.max",
            "cpuset.cpus",
        ]
    } else {
        &["cpu.weight", "cpu.max", "memory.max", "memory.swap.max", "pids.max", "cpuset.cpus"]
    };
    files.iter().map(|file| own.read(file)).collect()
}

#[test]
fn the_hierarchies_are_found() {
    let own = OwnCgroup::absent();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let dirs = own.dirs();
    for line in mounts.lines().filter(|line| line.contains(" - cgroup")) {
        let mount_point = line.split(' ').nth(4).unwrap();
        assert!(dirs.iter().any(|dir| dir.parent().unwrap() == std::path::Path::new(mount_point)), "{line}");
    }
    assert_eq!(own.remaining(), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn limits_are_written_and_read_back() {
    let own = OwnCgroup::new(&limits());
    assert_eq!(own.remaining(), own.dirs());
    let mib64 = (64 << 20).to_string();
    if own.hierarchy.layout() == husk_cgroups::Layout::V2 {
        assert_eq!(read_back(&own), ["60", "30000 60000", &mib64, "0", "77", "0"]);
    } else {
        assert_eq!(read_back(&own), ["512", "30000", "60000", &mib64, &mib64, "77", "0"]);
    }
    // Up and down again: memory and swap must go in the right order each time.
    for mib in [200_u64, 20, 128] {
        let both = at(mib << 20);
        let change = Limits { memory_limit_bytes: both, memory_swap_limit_bytes: both, ..Limits::default() };
        own.cgroup.update(&change).unwrap();
        assert!(read_back(&own).contains(&(mib << 20).to_string()));
    }
    // A shorter period than the old quota allows below a limited parent, and a longer one.
    let child = own.path.join("c").unwrap();
    let child = own.hierarchy.create(&child, &Limits { cpu_quota_us: at(30_000), ..limits() }).unwrap();
    for (quota, period) in [(5_000, 10_000), (40_000, 100_000), (1_000, 2_000)] {
        let change = Limits { cpu_quota_us: at(quota), cpu_period_us: Some(period), ..Limits::default() };
        child.update(&change).unwrap();
    }
    assert_eq!(own.read("pids.max"), "77");
}

#[test]
fn a_failed_update_changes_nothing() {
    let own = OwnCgroup::new(&limits());
    let before = read_back(&own);
    // The settings by name are the last step, and no kernel has this one.
    let key = UnifiedKey::parse("memory.husk_test").unwrap();
    let change = Limits {
        cpu_shares: Some(100),
        cpu_quota_us: at(10_000),
        cpu_period_us: Some(20_000),
        memory_limit_bytes: at(128 << 20),
        memory_swap_limit_bytes: at(256 << 20),
        pids_limit: at(5),
        unified: vec![(key, "1".to_owned())],
        ..Limits::default()
    };
    let error = own.cgroup.update(&change).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported, "{error}");
    assert_eq!(read_back(&own), before);
    // The kernel refuses a CPU that the machine does not have.
    let error = own.cgroup.update(&Limits { cpuset_cpus: Some("8190".to_owned()), ..change }).unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error}");
    assert_eq!(read_back(&own), before);
}

#[test]
fn a_failed_creation_leaves_nothing_and_spares_what_was_there() {
    let own = OwnCgroup::absent();
    let bad = Limits { cpu_period_us: Some(1), ..limits() };
    let deep = own.path.join("a").unwrap().join("b").unwrap();
    let error = own.hierarchy.create(&deep, &bad).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidInput, "{error}");
    assert!(own.remaining().is_empty(), "{:?}", own.remaining());
    // An adopted cgroup stays, with its old limits.
    own.hierarchy.create(&own.path, &limits()).unwrap();
    let before = read_back(&own);
    own.hierarchy.create(&own.path, &bad).unwrap_err();
    own.hierarchy.create(&deep, &bad).unwrap_err();
    assert_eq!(own.remaining(), own.dirs());
    assert_eq!(read_back(&own), before);
    assert!(own.dirs().iter().all(|dir| !dir.join("a").exists()));
}

#[test]
fn a_parent_that_a_neighbour_takes_away_is_made_again() {
    let own = OwnCgroup::absent();
    let bad = Limits { cpu_period_us: Some(1), ..Limits::default() };
    let create = |name: &str, limits: &Limits| own.hierarchy.create(&own.path.join(name).unwrap(), limits);
    std::thread::scope(|scope| {
        // Makes the parent when it is missing, and takes it back.
        let failing = scope.spawn(|| {
            for _ in 0..150 {
                let error = create("bad", &bad).unwrap_err();
                // The other thread takes the parent away without asking.
                assert!(matches!(error.kind(), Kind::InvalidInput | Kind::NotFound | Kind::Unsupported), "{error}");
            }
        });
        for _ in 0..100 {
            create("good", &Limits::default()).unwrap();
            own.cgroup.remove(PATIENCE).unwrap();
        }
        failing.join().unwrap();
    });
}

#[test]
fn a_process_joins_every_hierarchy() {
    let own = OwnCgroup::new(&Limits::default());
    let mut shell = Shell::start(own.cgroup.join_paths(), "read more");
    shell.go();
    let joined = own.dirs().len();
    let cgroups = shell.cgroups();
    assert_eq!(cgroups.iter().filter(|name| *name == own.path.as_str()).count(), joined, "{cgroups:?}");
    assert_eq!(own.cgroup.pids().unwrap(), [shell.pid()]);
    // The thread that started it has not taken the test along.
    let test = fs::read_to_string("/proc/self/cgroup").unwrap();
    assert!(!test.contains(own.path.as_str()), "{test}");
    let absent = own.path.join("absent").unwrap();
    let paths = own.hierarchy.join_paths(&absent);
    if !paths.v1.is_empty() {
        let error = husk_cgroups::join_v1(&paths.v1).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{error}");
    }
}

#[test]
fn the_descriptor_for_clone_is_the_unified_directory() {
    let own = OwnCgroup::absent();
    let Some(dir) = own.cgroup.join_paths().unified.clone() else {
        return assert!(own.cgroup.unified_fd().unwrap().is_none());
    };
    assert_eq!(own.cgroup.unified_fd().unwrap_err().kind(), Kind::NotFound);
    own.hierarchy.create(&own.path, &Limits::default()).unwrap();
    let fd = own.cgroup.unified_fd().unwrap().unwrap();
    assert_eq!(rustix::fs::fstat(&fd).unwrap().st_ino, fs::metadata(dir).unwrap().ino());
}

#[test]
fn a_memory_limit_below_the_usage_is_refused() {
    let own = OwnCgroup::new(&limits());
    let script = "x=$(head -c 8388608 /dev/zero | tr '\\0' x); echo ${#x}; read more";
    let mut shell = Shell::start(own.cgroup.join_paths(), script);
    shell.go();
    assert_eq!(shell.line(), "8388608");
    let lower = Limits { memory_limit_bytes: at(1 << 20), ..Limits::default() };
    let error = own.cgroup.update(&lower).unwrap_err();
    assert!(matches!(error, Error::BelowUsage { limit_bytes: 1_048_576, .. }), "{error}");
    assert_eq!(error.kind(), Kind::Busy);
    assert!(shell.is_running());
    assert!(read_back(&own).contains(&(64 << 20).to_string()));
}

#[test]
fn devices_are_denied_by_default() {
    let everything = DeviceAccess { read: true, write: true, mknod: true };
    let zero = DeviceRule { kind: DeviceKind::Char, major: Some(1), minor: Some(5), access: everything };
    let null = DeviceRule { minor: Some(3), ..zero };
    let with = |devices| Limits { devices: Some(devices), ..Limits::default() };
    let own = OwnCgroup::new(&with(vec![null, zero]));
    let script = "for d in null zero full; do (: < /dev/$d) 2>/dev/null && echo $d; done; echo end";
    let mut shell = Shell::start(own.cgroup.join_paths(), script);
    assert_eq!(own.read("devices.list"), "c 1:3 rwm\nc 1:5 rwm");
    shell.go();
    assert_eq!([shell.line(), shell.line(), shell.line()], ["null", "zero", "end"]);
    // A failed change puts the old rules back; an empty list allows nothing.
    let bad = UnifiedKey::parse("memory.husk_test").unwrap();
    for rules in [vec![], vec![DeviceRule { minor: Some(7), ..zero }]] {
        own.cgroup.update(&Limits { unified: vec![(bad.clone(), "1".to_owned())], ..with(rules) }).unwrap_err();
    }
    assert_eq!(own.read("devices.list"), "c 1:3 rwm\nc 1:5 rwm");
    own.cgroup.update(&with(vec![])).unwrap();
    assert_eq!(own.read("devices.list"), "");
}

#[test]
fn the_root_of_a_mount_is_refused() {
    // A mount root that would survive a defect: /proc has none of the files, and its directories cannot be removed.
    let root = JoinPaths { unified: Some("/proc".into()), v1: vec!["/proc".into()] };
    let cgroup = Cgroup::from_join_paths(&root);
    let errors = [
        cgroup.kill().unwrap_err(),
        cgroup.freeze(PATIENCE).unwrap_err(),
        cgroup.thaw().unwrap_err(),
        cgroup.update(&Limits::default()).unwrap_err(),
        cgroup.remove(PATIENCE).unwrap_err(),
        cgroup.child("husk-test").unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), Kind::Unsafe, "{error}");
    }
    assert!(CgroupPath::parse("/").is_err());
    // And the real one, by an operation that writes nothing.
    let own = OwnCgroup::absent();
    let top = own.dirs()[0].parent().unwrap().to_owned();
    let cgroup = Cgroup::from_join_paths(&JoinPaths { unified: Some(top), v1: vec![] });
    assert_eq!(cgroup.update(&Limits::default()).unwrap_err().kind(), Kind::Unsafe);
}

#[test]
fn an_absent_cgroup_is_an_answer() {
    let own = OwnCgroup::absent();
    assert_eq!(own.cgroup.update(&limits()).unwrap_err().kind(), Kind::NotFound);
    assert!(!own.cgroup.populated().unwrap());
    assert!(own.cgroup.pids().unwrap().is_empty());
    assert!(own.cgroup.events_fd().unwrap().is_none());
    assert_eq!(own.cgroup.oom_kills().unwrap(), None);
    assert!(own.cgroup.oom_watch().unwrap().is_none());
    own.cgroup.kill().unwrap();
    own.cgroup.thaw().unwrap();
    own.cgroup.remove(PATIENCE).unwrap();
    assert_eq!(Hierarchy::detect().unwrap(), own.hierarchy);
}
