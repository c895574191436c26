// SPDX-License-Identifier: Apache-2.0
//! What is recognised in the mount tables of machines of each kind.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, also in its fixtures")]

use std::path::PathBuf;

use husk_cgroups::{CgroupPath, Error, Facts, Hierarchy, Kind, Layout};

const PROC_CGROUPS: &str = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n\
    cpuset\t3\t1\t1\ncpu\t1\t1\t1\ncpuacct\t2\t1\t1\nblkio\t7\t1\t1\nmemory\t4\t17\t1\ndevices\t5\t1\t1\n\
    freezer\t6\t1\t1\nnet_cls\t0\t1\t1\nnet_prio\t0\t1\t1\nhugetlb\t0\t1\t1\npids\t8\t1\t1\n";

/// Debian 12 and every other systemd of today.
const V2: &str = "\
22 28 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
29 22 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
";

/// Separate controllers beside an empty unified hierarchy, as on the machine that builds husk.
const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

/// systemd's v1 mode of 2019: co-mounted controllers, its own hierarchy, and one of another program.
const CO_MOUNTED: &str = "\
25 22 0:22 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:8 - tmpfs tmpfs ro,mode=755
26 25 0:23 / /sys/fs/cgroup/systemd rw,nosuid shared:9 - cgroup cgroup rw,xattr,release_agent=/lib/systemd/systemd-cgroups-agent,name=systemd
29 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:12 - cgroup cgroup rw,cpu,cpuacct
30 25 0:27 / /sys/fs/cgroup/net_cls,net_prio rw,nosuid shared:13 - cgroup cgroup rw,net_cls,net_prio
31 25 0:31 / /sys/fs/cgroup/other rw,nosuid shared:14 - cgroup cgroup rw,name=other
";

fn of(mountinfo: &str) -> Result<Hierarchy, Error> {
    Hierarchy::from_facts(Facts { mountinfo, proc_cgroups: PROC_CGROUPS })
}

fn check(mountinfo: &str, layout: Layout, unified: Option<&str>, v1: &[&str]) {
    let hierarchy = of(mountinfo).unwrap();
    assert_eq!(hierarchy.layout(), layout);
    let paths = hierarchy.join_paths(&CgroupPath::parse("/pods/p1").unwrap());
    assert_eq!(paths.unified, unified.map(PathBuf::from));
    assert_eq!(paths.v1, v1.iter().map(PathBuf::from).collect::<Vec<_>>());
    assert_eq!(hierarchy.open(&CgroupPath::parse("/pods/p1").unwrap()).join_paths(), &paths);
}

#[test]
fn unified_alone() {
    check(V2, Layout::V2, Some("/sys/fs/cgroup/pods/p1"), &[]);
}

#[test]
fn v1_beside_unified() {
    check(
        HYBRID,
        Layout::Hybrid,
        Some("/sys/fs/cgroup/unified/pods/p1"),
        &[
            "/sys/fs/cgroup/cpu/pods/p1",
            "/sys/fs/cgroup/cpuacct/pods/p1",
            "/sys/fs/cgroup/memory/pods/p1",
            "/sys/fs/cgroup/systemd/pods/p1",
        ],
    );
}

#[test]
fn co_mounted_controllers_are_one_hierarchy() {
    check(
        CO_MOUNTED,
        Layout::V1,
        None,
        &[
            "/sys/fs/cgroup/systemd/pods/p1",
            "/sys/fs/cgroup/cpu,cpuacct/pods/p1",
            "/sys/fs/cgroup/net_cls,net_prio/pods/p1",
        ],
    );
}

#[test]
fn the_mount_that_shows_the_whole_hierarchy_counts() {
    // Docker in Docker: the first mount shows one container's cgroup, another the whole.
    let text = "\
50 40 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
51 40 0:32 / /host/memory rw - cgroup cgroup rw,memory
52 40 0:32 / /again/memory rw - cgroup cgroup rw,memory
";
    check(text, Layout::V1, None, &["/host/memory/pods/p1"]);
    // Where there is only the part, it is used.
    check(text.lines().next().unwrap(), Layout::V1, None, &["/sys/fs/cgroup/memory/pods/p1"]);
}

#[test]
fn a_later_mount_at_the_same_place_hides_the_earlier() {
    let text = "\
50 40 0:32 / /sys/fs/cgroup rw - cgroup cgroup rw,memory
51 50 0:33 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
";
    check(text, Layout::V2, Some("/sys/fs/cgroup/pods/p1"), &[]);
}

#[test]
fn a_mount_point_may_hold_a_space() {
    let text = "50 40 0:32 / /c\\040g rw - cgroup2 cgroup2 rw\n";
    check(text, Layout::V2, Some("/c g/pods/p1"), &[]);
}

#[test]
fn without_proc_cgroups_only_unified_and_systemd_are_known() {
    let hierarchy = Hierarchy::from_facts(Facts { mountinfo: HYBRID, proc_cgroups: "" }).unwrap();
    let paths = hierarchy.join_paths(&CgroupPath::top("p").unwrap());
    assert_eq!(paths.v1, [PathBuf::from("/sys/fs/cgroup/systemd/p")]);
}

#[test]
fn a_container_sees_the_same_names() {
    let seen = |mountinfo| of(mountinfo).unwrap().container_mounts();
    let pairs = |list: &[(&str, &str)]| {
        list.iter().map(|(name, options)| (name.to_string(), options.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(seen(V2), pairs(&[("", "")]));
    let hybrid =
        [("cpu", "cpu"), ("cpuacct", "cpuacct"), ("memory", "memory"), ("systemd", "name=systemd"), ("unified", "")];
    assert_eq!(seen(HYBRID), pairs(&hybrid));
    let co_mounted =
        [("systemd", "name=systemd"), ("cpu,cpuacct", "cpu,cpuacct"), ("net_cls,net_prio", "net_cls,net_prio")];
    assert_eq!(seen(CO_MOUNTED), pairs(&co_mounted));
}

#[test]
fn nothing_mounted_is_an_error() {
    for text in ["", "\n\n", "28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"] {
        assert_eq!(of(text).unwrap_err().kind(), Kind::Unsupported);
    }
    let only_another_program = "31 25 0:31 / /c rw - cgroup cgroup rw,name=other\n";
    assert!(matches!(of(only_another_program), Err(Error::NothingMounted)));
}

#[test]
fn a_truncated_table_never_gives_a_wrong_directory() {
    for table in [V2, HYBRID, CO_MOUNTED] {
        let path = CgroupPath::top("p").unwrap();
        let whole = of(table).unwrap().join_paths(&path);
        for end in 0..table.len() {
            let Ok(part) = of(&table[..end]) else {
                continue;
            };
            let part = part.join_paths(&path);
            assert!(part.unified.is_none() || part.unified == whole.unified, "{end}");
            assert!(part.v1.iter().all(|dir| whole.v1.contains(dir)), "{end}");
        }
    }
}
