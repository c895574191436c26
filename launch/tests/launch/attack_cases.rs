// SPDX-License-Identifier: Apache-2.0
//! Images that try to reach the host (threats.md 1A to 1C), with a canary directory that must stay untouched.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use wire::Step;

use crate::Case;
use crate::container::Container;
use crate::world::{Pod, World};

pub(crate) const CASES: &[Case] = &[
    ("kernel_file_systems_need_ordinary_directories", kernel_file_systems_need_ordinary_directories),
    ("the_images_dev_null_is_never_used", the_images_dev_null_is_never_used),
    ("targets_are_not_made_through_links_to_the_host", targets_are_not_made_through_links_to_the_host),
    ("the_runtimes_program_cannot_be_written", the_runtimes_program_cannot_be_written),
];

/// A layer that is a copy of the common one without what `replace` puts there, and a canary on the host.
fn hostile(world: &World) -> (PathBuf, PathBuf) {
    let (layer, canary) = (world.fresh("layer"), world.fresh("canary"));
    fs::create_dir(layer.join("bin")).unwrap();
    fs::copy("/bin/busybox", layer.join("bin/busybox")).unwrap();
    for applet in ["sh", "cat", "ls", "stat"] {
        symlink("busybox", layer.join("bin").join(applet)).unwrap();
    }
    fs::write(canary.join("ptmx"), "canary").unwrap();
    (layer, canary)
}

fn untouched(canary: &std::path::Path) {
    let names: Vec<_> = fs::read_dir(canary).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["ptmx"]);
    assert_eq!(fs::read_to_string(canary.join("ptmx")).unwrap(), "canary");
}

/// CVE-2019-19921, CVE-2026-41579.
fn kernel_file_systems_need_ordinary_directories(world: &World) {
    let pod = Pod::new(world);
    for name in ["proc", "dev", "sys"] {
        for target in ["/evil", "../../../../../../..CANARY", "CANARY"] {
            let (layer, canary) = hostile(world);
            fs::create_dir(layer.join("evil")).unwrap();
            symlink(target.replace("CANARY", canary.to_str().unwrap()), layer.join(name)).unwrap();
            let failure = Container::with_layer(&pod, "true", &layer).run().failure();
            assert!(failure.to_string().contains("has a symbolic link in it"), "{name} -> {target}: {failure}");
            assert!(failure.step.unwrap().ends_with(&format!("at /{name}")));
            untouched(&canary);
        }
        let (layer, _) = hostile(world);
        fs::write(layer.join(name), "a file").unwrap();
        let failure = Container::with_layer(&pod, "true", &layer).run().failure();
        assert!(failure.to_string().contains("is a file, and a directory goes there"), "{failure}");
    }
}

/// CVE-2025-31133: the null that masks is the host's, whatever the container's is.
fn the_images_dev_null_is_never_used(world: &World) {
    let pod = Pod::new(world);
    let (layer, canary) = hostile(world);
    fs::create_dir(layer.join("dev")).unwrap();
    symlink(canary.join("ptmx"), layer.join("dev/null")).unwrap();
    fs::write(layer.join("secret"), "secret").unwrap();
    let mut container = Container::with_layer(&pod, "stat -c %t:%T /secret; cat /secret", &layer);
    container = container.then(Step::Mask { target: "/secret".to_owned() });
    // Without a /dev of ours: the one of the image stays visible.
    container.plan.steps.retain(|step| !matches!(step, Step::Dev { .. } | Step::Shm { .. } | Step::Mqueue { .. }));
    let outcome = container.run();
    assert_eq!(outcome.stdout, "1:3\n", "{outcome:?}");
    untouched(&canary);
}

/// CVE-2024-45310, CVE-2026-55686.
fn targets_are_not_made_through_links_to_the_host(world: &World) {
    let pod = Pod::new(world);
    let (layer, canary) = hostile(world);
    let source = world.fresh("source");
    symlink(&canary, layer.join("link")).unwrap();
    symlink(format!("../../../../../../../..{}/dir", canary.display()), layer.join("up")).unwrap();
    let mut container = Container::with_layer(&pod, "ls /", &layer).process(|process| {
        process.cwd = "/link/cwd".to_owned();
        process.make_cwd = true;
    });
    for target in ["/link/a/b", "/up/c", "/link/../../../d"] {
        container = crate::mount_cases::bind(container, &source, target, wire::Access::ReadOnly);
    }
    container.run().text();
    untouched(&canary);
}

/// CVE-2019-5736: what runs before the program is a file that nobody can write to. Here it is the test itself, so only
/// the ways are tried: no magic link, no script whose interpreter is one, leads to a descriptor of the runtime.
fn the_runtimes_program_cannot_be_written(world: &World) {
    let pod = Pod::new(world);
    let script = "for link in /proc/self/fd/* /proc/1/fd/*; do readlink $link; done; readlink /proc/1/exe";
    let seen = Container::new(&pod, script).run().text();
    assert!(seen.ends_with("/bin/busybox\n"), "{seen}");
    assert!(!seen.contains(world.directory.path().to_str().unwrap()), "{seen}");
}
