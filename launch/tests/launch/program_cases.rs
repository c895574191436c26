// SPDX-License-Identifier: Apache-2.0
//! Programs and working directories that are missing, refused or hidden, and those that must run all the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use wire::{FailureKind, Process};

use crate::Case;
use crate::container::Container;
use crate::world::{Pod, World};

pub(crate) const CASES: &[Case] = &[
    ("a_program_that_cannot_run_is_explained", a_program_that_cannot_run_is_explained),
    ("a_name_is_searched_in_path", a_name_is_searched_in_path),
    ("working_directories", working_directories),
    ("a_user_enters_and_executes_what_its_capabilities_let", a_user_enters_and_executes_what_its_capabilities_let),
];

fn write(root: &Path, path: &str, content: &[u8], mode: u32) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn refused(pod: &Pod<'_>, args: &[&str]) -> wire::Failure {
    let container = Container::new(pod, "").process(|process| {
        process.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        process.cwd = "/tmp".to_owned();
    });
    write(&container.upper, "tmp/plain", b"text", 0o644);
    write(&container.upper, "tmp/orphan", b"#! /no/interpreter -x\n", 0o755);
    write(&container.upper, "tmp/garbage", b"\x01\x02\x03", 0o755);
    write(&container.upper, "tmp/elf", b"\x7fELF", 0o755);
    fs::set_permissions(container.upper.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    container.run().failure()
}

fn a_program_that_cannot_run_is_explained(world: &World) {
    let pod = Pod::new(world);
    use FailureKind::{ProgramMissing, ProgramRefused};
    let rows: &[(&str, FailureKind, &str)] = &[
        ("/no/such", ProgramMissing, "execute /no/such: No such file or directory (os error 2): there is no such file"),
        ("nosuch", ProgramMissing, "it is in no directory of PATH"),
        ("/bin/busybox/x", ProgramMissing, "there is no such file"),
        ("/tmp/plain", ProgramRefused, "/tmp/plain is not executable (mode 0644)"),
        ("./plain", ProgramRefused, "Permission denied"),
        ("/tmp", ProgramRefused, "it is a directory"),
        ("/tmp/orphan", ProgramRefused, "its interpreter /no/interpreter is not"),
        ("/tmp/garbage", ProgramRefused, "is no program for this machine"),
        ("/tmp/elf", ProgramRefused, "is no program for this machine"),
        ("/proc/self/exe", ProgramRefused, "it leads through a magic link"),
        ("/proc/self/fd/1", ProgramRefused, "it leads through a magic link"),
        ("/proc/self/fd/3", ProgramMissing, "there is no such file"),
        ("", ProgramMissing, "its name is empty"),
    ];
    for (program, kind, text) in rows {
        let failure = refused(&pod, &[program]);
        assert_eq!(failure.kind, *kind, "{program}: {failure}");
        assert!(failure.to_string().contains(text), "{program}: {failure}");
    }
    let long = "x".repeat(200_000);
    let failure = refused(&pod, &["/bin/true", &long]);
    assert_eq!((failure.kind, failure.errno), (ProgramRefused, Some(7)), "{failure}");
    let failure = refused(&pod, &[]);
    assert_eq!(failure.kind, ProgramMissing);
}

fn a_name_is_searched_in_path(world: &World) {
    let pod = Pod::new(world);
    let container = Container::new(&pod, "").process(|process| {
        process.args = vec!["tool".to_owned()];
        process.env = vec![wire::ByteVec::from(b"PATH=tmp::/none:/first:/second".to_vec())];
    });
    write(&container.upper, "tmp/tool", b"#!/bin/sh\necho relative\n", 0o755);
    write(&container.upper, "first/tool", b"#!/bin/sh\necho first\n", 0o644);
    write(&container.upper, "second/tool", b"#!/bin/sh\necho second\n", 0o755);
    assert_eq!(container.run().text(), "second\n");
}

fn at(process: &mut Process, cwd: &str, make: bool) {
    process.cwd = cwd.to_owned();
    process.make_cwd = make;
}

fn working_directories(world: &World) {
    let pod = Pod::new(world);
    assert_eq!(Container::new(&pod, "pwd").process(|process| at(process, "/home", false)).run().text(), "/home\n");
    let made = Container::new(&pod, "pwd; stat -c %u:%g:%a .").process(|process| {
        at(process, "/new/deep", true);
        process.uid = 1000;
        process.umask = 0o077;
    });
    assert_eq!(made.run().text(), "/new/deep\n0:0:755\n");

    let failure = Container::new(&pod, "pwd").process(|process| at(process, "/none", false)).run().failure();
    assert!(failure.to_string().starts_with("enter working directory /none: No such file"), "{failure}");
    let failure = Container::new(&pod, "pwd").process(|process| at(process, "/bin/busybox", true)).run().failure();
    assert!(failure.to_string().starts_with("enter working directory /bin/busybox: Not a directory"), "{failure}");
    for cwd in ["/proc/self/fd/3", "/proc/self/fd/0", "/proc/self/root", "/proc/1/cwd"] {
        let failure = Container::new(&pod, "pwd").process(|process| at(process, cwd, true)).run().failure();
        assert!(failure.to_string().contains("magic link"), "{cwd}: {failure}");
    }
    let nobody = Container::new(&pod, "pwd").process(|process| {
        at(process, "/secret", false);
        process.uid = 1000;
        process.capabilities = wire::CapabilitySets::default();
    });
    fs::create_dir(nobody.upper.join("secret")).unwrap();
    fs::set_permissions(nobody.upper.join("secret"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(nobody.run().stdout, "/secret\n", "root enters it before the user is set, as runc does");
}

/// peer-facts.md: "non-root user, program 0700 of root, cwd 0700: runs".
fn a_user_enters_and_executes_what_its_capabilities_let(world: &World) {
    let pod = Pod::new(world);
    let prepare = |container: &Container<'_, '_>| {
        fs::create_dir_all(container.upper.join("closed")).unwrap();
        fs::copy("/bin/busybox", container.upper.join("closed/id")).unwrap();
        for path in ["closed/id", "closed"] {
            fs::set_permissions(container.upper.join(path), fs::Permissions::from_mode(0o700)).unwrap();
        }
    };
    let change = |process: &mut Process| {
        process.args = vec!["/closed/id".to_owned(), "-u".to_owned()];
        process.cwd = "/closed".to_owned();
        process.uid = 1000;
    };
    let container = Container::new(&pod, "").process(change);
    prepare(&container);
    assert_eq!(container.run().text(), "1000\n");

    let without = Container::new(&pod, "").process(|process| {
        change(process);
        process.capabilities = wire::CapabilitySets::default();
    });
    prepare(&without);
    let failure = without.run().failure();
    assert_eq!(failure.kind, FailureKind::ProgramRefused);
    assert!(failure.to_string().contains("user 1000 may not execute /closed/id"), "{failure}");
}
