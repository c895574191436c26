// SPDX-License-Identifier: Apache-2.0
//! What is mounted where, and how.

use std::fs;
use std::path::Path;

use wire::{Access, DeviceNode, MissingSource, NodeKind, Step};

use crate::Case;
use crate::container::Container;
use crate::world::{Pod, World};

pub(crate) const CASES: &[Case] = &[
    ("every_mount_is_as_planned", every_mount_is_as_planned),
    ("a_privileged_container_may_write", a_privileged_container_may_write),
    ("devices_are_there", devices_are_there),
    ("shared_memory_is_the_pods", shared_memory_is_the_pods),
    ("binds_of_directories_and_files", binds_of_directories_and_files),
    ("a_bind_is_private_and_read_only_on_its_own", a_bind_is_private_and_read_only_on_its_own),
    ("missing_sources", missing_sources),
    ("targets_are_resolved_inside", targets_are_resolved_inside),
    ("masks_and_read_only_paths", masks_and_read_only_paths),
    ("a_read_only_root", a_read_only_root),
    ("a_failing_mount_names_its_step", a_failing_mount_names_its_step),
    ("a_start_needs_a_new_upper_directory", a_start_needs_a_new_upper_directory),
    ("many_layers", many_layers),
];

/// Binds `source` at `target`.
pub(crate) fn bind<'p, 'w>(
    container: Container<'p, 'w>,
    source: &Path,
    target: &str,
    access: Access,
) -> Container<'p, 'w> {
    let slot = u16::try_from(container.plan.steps.len()).unwrap();
    let path = source.to_str().unwrap().to_owned();
    container.prepare(Step::OpenSource { slot, path, missing: MissingSource::MakeDirectory }).then(Step::Attach {
        slot,
        target: target.to_owned(),
        access,
    })
}

/// Mount point, type and options of every mount, the last on a point only.
fn mounts(mountinfo: &str) -> Vec<(String, String, String)> {
    let mut seen: Vec<(String, String, String)> = Vec::new();
    for line in mountinfo.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let dash = fields.iter().position(|field| *field == "-").unwrap();
        assert_eq!(dash, 6, "every mount is private: {line}");
        seen.retain(|(point, _, _)| point != fields[4]);
        seen.push((fields[4].to_owned(), fields[dash + 1].to_owned(), fields[5].to_owned()));
    }
    seen
}

fn every_mount_is_as_planned(world: &World) {
    let pod = Pod::new(world);
    let info = Container::new(&pod, "cat /proc/self/mountinfo").run().text();
    let mounts = mounts(&info);
    let row = |point: &str| {
        let found = mounts.iter().find(|(seen, _, _)| seen == point);
        found.map(|(_, kind, options)| format!("{kind} {options}")).unwrap_or_else(|| panic!("{point}: {info}"))
    };
    assert_eq!(row("/"), "overlay rw,relatime");
    assert_eq!(row("/proc"), "proc rw,nosuid,nodev,noexec,relatime");
    assert_eq!(row("/dev"), "tmpfs rw,nosuid,relatime");
    assert_eq!(row("/dev/pts"), "devpts rw,nosuid,noexec,relatime");
    assert_eq!(row("/dev/shm"), "tmpfs rw,nosuid,nodev,noexec,relatime");
    assert_eq!(row("/dev/mqueue"), "mqueue rw,nosuid,nodev,noexec,relatime");
    assert_eq!(row("/sys"), "sysfs ro,nosuid,nodev,noexec,relatime");
    assert_eq!(row("/sys/fs/cgroup"), "tmpfs ro,nosuid,nodev,noexec,relatime");
    let hierarchies = world.cgroup_mounts();
    for hierarchy in &hierarchies {
        let version = if hierarchy.options.is_empty() { "cgroup2" } else { "cgroup" };
        let expected = format!("{version} ro,nosuid,nodev,noexec,relatime");
        assert_eq!(row(&format!("/sys/fs/cgroup/{}", hierarchy.name)), expected);
    }
    assert_eq!(mounts.len(), 8 + hierarchies.len(), "{info}");
    assert!(info.contains("volatile") && info.contains("mode=620,ptmxmode=666"), "{info}");
    // The cgroup namespace: the container's own cgroup is the root of what it sees.
    let seen = Container::new(&pod, "cat /proc/self/cgroup; cat /sys/fs/cgroup/memory/cgroup.procs").run().text();
    assert!(seen.lines().filter(|line| line.contains(':')).all(|line| line.ends_with(":/")), "{seen}");
}

/// And a machine with the unified hierarchy alone, as far as a hybrid one can show it.
fn a_privileged_container_may_write(world: &World) {
    let pod = Pod::new(world);
    let script = "cat /proc/self/mountinfo; mkdir /sys/fs/cgroup/SUB && rmdir /sys/fs/cgroup/SUB && echo made";
    let all = world.cgroup_mounts();
    let unified = all.iter().filter(|mount| mount.options.is_empty()).cloned();
    let alone: Vec<_> = unified.map(|mount| wire::CgroupMount { name: String::new(), ..mount }).collect();
    assert_eq!(alone.len(), 1);
    for (hierarchies, sub) in [(&all, "pids/below"), (&alone, "below")] {
        let mut container = Container::new(&pod, &script.replace("SUB", sub));
        for step in &mut container.plan.steps {
            match step {
                Step::Sysfs { access, .. } => *access = Access::ReadWrite,
                Step::Cgroups { access, mounts, .. } => {
                    *access = Access::ReadWrite;
                    mounts.clone_from(hierarchies);
                }
                _ => {}
            }
        }
        let text = container.run().text();
        assert!(text.ends_with("made\n"), "{text}");
        assert!(!text.contains(" ro,"), "{text}");
        let alone = text.contains(" /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - cgroup2 ");
        assert_eq!(alone, hierarchies.len() == 1, "{text}");
    }
}

fn devices_are_there(world: &World) {
    let pod = Pod::new(world);
    let node = |name: &str, kind, mode, uid| DeviceNode {
        name: name.to_owned(),
        kind,
        major: 10,
        minor: 200,
        mode,
        uid,
        gid: 7,
    };
    let mut container = Container::new(
        &pod,
        "cd /dev; stat -c '%n %F %t:%T %a %u:%g' *; for link in fd stdin stdout stderr ptmx; do readlink $link; done; stat -c %a net net/tun pts/ptmx; echo x > null; test -c /dev/ptmx",
    );
    for step in &mut container.plan.steps {
        if let Step::Dev { nodes, .. } = step {
            nodes.push(node("net/tun", NodeKind::Character, 0o600, 3));
            nodes.push(node("disk", NodeKind::Block, 0o640, 0));
        }
    }
    let text = container.run().text();
    for line in [
        "null character special file 1:3 666 0:0",
        "tty character special file 5:0 666 0:0",
        "disk block special file a:c8 640 0:7",
        "fd symbolic link 0:0 777 0:0",
        "net directory 0:0 755 0:0",
        "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n755\n600\n666",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("console") && !text.contains("core"), "{text}");
    let mut bad = Container::new(&pod, "true");
    for step in &mut bad.plan.steps {
        if let Step::Dev { nodes, .. } = step {
            nodes.push(node("../etc/tun", NodeKind::Character, 0o600, 0));
        }
    }
    let failure = bad.run().failure();
    assert!(failure.to_string().contains("mount devices at /dev: \"../etc/tun\" is no path of a device"), "{failure}");
}

fn shared_memory_is_the_pods(world: &World) {
    let pod = Pod::new(world);
    let other = Pod::new(world);
    Container::new(&pod, "echo shared > /dev/shm/file").run().text();
    assert_eq!(Container::new(&pod, "cat /dev/shm/file; df -k /dev/shm | grep -c 1024").run().text(), "shared\n1\n");
    assert_eq!(Container::new(&other, "ls /dev/shm").run().text(), "");
}

fn binds_of_directories_and_files(world: &World) {
    let pod = Pod::new(world);
    let source = world.fresh("source");
    fs::create_dir(source.join("sub")).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    let container = Container::new(
        &pod,
        "cat /rw/file /etc/one /new/place/two; echo new > /rw/sub/made; echo x > /ro/no; echo x > /etc/one; echo y >> /new/place/two; ls /ro",
    );
    let container = bind(container, &source, "/rw", Access::ReadWrite);
    let container = bind(container, &source, "/ro", Access::ReadOnly);
    let container = bind(container, &source.join("file"), "/etc/one", Access::ReadOnly);
    let container = bind(container, &source.join("file"), "/new/place/two", Access::ReadWrite);
    let outcome = container.run();
    assert_eq!(outcome.stdout, "contentcontentcontentfile\nsub\n", "{outcome:?}");
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 2, "{outcome:?}");
    assert_eq!(fs::read_to_string(source.join("sub/made")).unwrap(), "new\n");
    assert_eq!(fs::read_to_string(source.join("file")).unwrap(), "contenty\n");
}

/// In a mount namespace of its own, because the host's table must not change: a shared source with a mount below it.
fn a_bind_is_private_and_read_only_on_its_own(world: &World) {
    let (source, inner) = (world.fresh("source"), world.fresh("inner"));
    fs::create_dir(source.join("below")).unwrap();
    let code = sys::clone3(&world.single, sys::CloneFlags::NEWNS, None, |_| {
        use rustix::mount::{MountPropagationFlags as Flags, mount_bind, mount_change};
        mount_change("/", Flags::PRIVATE | Flags::REC).unwrap();
        mount_bind(&source, &source).unwrap();
        mount_change(&source, Flags::SHARED).unwrap();
        mount_bind(&inner, source.join("below")).unwrap();
        let pod = Pod::new(world);
        let script = "cat /proc/self/mountinfo; touch /mnt/x || touch /mnt/below/x && echo wrote";
        let outcome = bind(Container::new(&pod, script), &source, "/mnt", Access::ReadOnly).run();
        assert!(outcome.stdout.ends_with("wrote\n"), "what is mounted below keeps its own access: {outcome:?}");
        let seen = mounts(outcome.stdout.trim_end_matches("wrote\n"));
        assert!(seen.iter().any(|(point, _, options)| point == "/mnt" && options.starts_with("ro")), "{seen:?}");
        assert!(seen.iter().any(|(point, _, options)| point == "/mnt/below" && options.starts_with("rw")), "{seen:?}");
        0
    });
    assert_eq!(crate::world::end_of(&code.unwrap().pidfd), wire::ExitStatus::Code(0));
    assert!(inner.join("x").exists());
}

fn missing_sources(world: &World) {
    let pod = Pod::new(world);
    let missing = world.fresh("source").join("a/b");
    bind(Container::new(&pod, "touch /mnt/made"), &missing, "/mnt", Access::ReadWrite).run().text();
    assert!(missing.join("made").exists());
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&missing).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o755);

    let path = missing.join("none").to_str().unwrap().to_owned();
    let step = Step::OpenSource { slot: 9, path: path.clone(), missing: MissingSource::Fail };
    let failure = Container::new(&pod, "true").prepare(step).run().failure();
    assert!(failure.to_string().starts_with(&format!("open mount source {path}: No such file")), "{failure}");
    assert!(!Path::new(&path).exists());
}

fn targets_are_resolved_inside(world: &World) {
    let pod = Pod::new(world);
    let (source, canary) = (world.fresh("source"), world.fresh("canary"));
    fs::write(source.join("file"), "content").unwrap();
    let container = Container::new(&pod, "cat /run/in/file /var/x/file");
    fs::create_dir(container.upper.join("var")).unwrap();
    std::os::unix::fs::symlink("/run", container.upper.join("var/run")).unwrap();
    std::os::unix::fs::symlink(format!("../../../../..{}", canary.display()), container.upper.join("var/x")).unwrap();
    let container = bind(container, &source, "/var/run/in", Access::ReadOnly);
    let container = bind(container, &source, "/var/x", Access::ReadOnly);
    assert_eq!(container.run().text(), "contentcontent");
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 0);
}

fn masks_and_read_only_paths(world: &World) {
    let pod = Pod::new(world);
    let mut container = Container::new(
        &pod,
        "stat -c %F:%t:%T /proc/interrupts /etc/os-release; ls /home /sys/firmware; touch /home/x; cat /proc/timer_list /etc/os-release; echo x > /proc/sys/kernel/hostname; echo x > /etc/kept; cat /proc/sys/kernel/hostname",
    );
    let masked = [
        "/proc/interrupts",
        "/proc/timer_list",
        "/proc/nothing",
        "/etc/os-release",
        "/etc/os-release/x",
        "/home",
        "/sys/firmware",
    ];
    for target in masked {
        container = container.then(Step::Mask { target: target.to_owned() });
    }
    for target in ["/proc/sys", "/etc/kept", "/proc/nothing"] {
        container = container.then(Step::ReadonlyPath { target: target.to_owned() });
    }
    for (directory, file) in [("home", "home/hidden"), ("etc", "etc/kept")] {
        fs::create_dir(container.upper.join(directory)).unwrap();
        fs::write(container.upper.join(file), "").unwrap();
    }
    let outcome = container.run();
    assert_eq!(
        outcome.stdout, "character special file:1:3\ncharacter special file:1:3\n/home:\n\n/sys/firmware:\ntest-pod\n",
        "{outcome:?}"
    );
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 3, "{outcome:?}");
}

fn a_read_only_root(world: &World) {
    let pod = Pod::new(world);
    let source = world.fresh("source");
    let container = Container::new(&pod, "touch /x /tmp/x; touch /mnt/x /dev/x /run/x && echo wrote");
    let container = bind(container, &source, "/mnt", Access::ReadWrite)
        .then(Step::Tmpfs {
            target: "/run".to_owned(),
            data: "size=64k,mode=1777".to_owned(),
            access: Access::ReadWrite,
        })
        .then(Step::ReadonlyRoot);
    let outcome = container.run();
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 2, "{outcome:?}");
    assert_eq!(outcome.stdout, "wrote\n");
}

fn a_failing_mount_names_its_step(world: &World) {
    let pod = Pod::new(world);
    let source = world.fresh("source");
    fs::write(source.join("file"), "").unwrap();
    let failure = bind(Container::new(&pod, "true"), &source.join("file"), "/etc", Access::ReadOnly).run().failure();
    assert!(failure.step.unwrap().ends_with("at /etc read-only"));
    assert_eq!(failure.detail.unwrap(), "/etc in the root is a directory, and a file goes there");
    let failure = bind(Container::new(&pod, "true"), &source, "/etc/os-release", Access::ReadOnly).run().failure();
    assert_eq!(failure.detail.unwrap(), "/etc/os-release in the root is a file, and a directory goes there");

    let tmpfs = Step::Tmpfs { target: "/run".into(), data: "size=much".into(), access: Access::ReadWrite };
    let failure = Container::new(&pod, "true").then(tmpfs).run().failure();
    assert!(failure.to_string().starts_with("mount tmpfs at /run: Invalid argument"), "{failure}");
    assert!(failure.to_string().contains("Bad value for 'size'"), "{failure}");

    let step = Step::Overlay { lower: vec!["/no/layer".into()], upper: "/x".into(), work: "/y".into() };
    let failure = Container::new(&pod, "true").prepare(step).run().failure();
    assert!(failure.to_string().starts_with("make overlay of 1 layers over /x: No such file"), "{failure}");

    let early = Step::Proc { target: "/proc".into() };
    let failure = Container::new(&pod, "true").prepare(early).run().failure();
    assert!(failure.to_string().contains("before the root is attached"), "{failure}");
    let empty = Step::Attach { slot: 77, target: "/x".into(), access: Access::ReadOnly };
    assert!(Container::new(&pod, "true").then(empty).run().failure().to_string().contains("slot 77 is empty"));
}

fn a_start_needs_a_new_upper_directory(world: &World) {
    let pod = Pod::new(world);
    let container = Container::new(&pod, "true");
    container.run().text();
    let failure = container.run().failure();
    assert!(failure.to_string().contains("each start needs a new one"), "{failure}");
}

fn many_layers(world: &World) {
    let pod = Pod::new(world);
    let mut container = Container::new(&pod, "cat /n; ls /layers | wc -l");
    let mut layers = Vec::new();
    for number in 0..120 {
        let layer = world.fresh("many");
        fs::create_dir(layer.join("layers")).unwrap();
        fs::write(layer.join("layers").join(number.to_string()), "").unwrap();
        fs::write(layer.join("n"), format!("{number}\n")).unwrap();
        layers.push(layer.to_str().unwrap().to_owned());
    }
    for step in &mut container.plan.steps {
        if let Step::Overlay { lower, .. } = step {
            lower.splice(0..0, layers.clone());
        }
    }
    assert_eq!(container.run().text(), "0\n120\n");
}
