// SPDX-License-Identifier: Apache-2.0
//! What overlayfs makes of the unpacked layers. Detached mounts: they are in no mount table and go with their fds.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::*;
use crate::sample::image::{Form, Sample};
use crate::sample::tar::{Header, Tar};

/// Mounts the directories, topmost first, read-only.
fn overlay(directories: &[PathBuf]) -> OwnedFd {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    for directory in directories {
        rustix::mount::fsconfig_set_string(context.as_fd(), "lowerdir+", directory.display().to_string()).unwrap();
    }
    rustix::mount::fsconfig_create(context.as_fd()).unwrap();
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY).unwrap()
}

/// All paths below a mount, with the content of files, sorted.
fn tree(mount: &OwnedFd) -> Vec<String> {
    fn walk(directory: &Path, prefix: &str, out: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() {
                out.push(format!("{name}/"));
                walk(&entry.path(), &format!("{name}/"), out);
            } else {
                out.push(format!("{name}={}", fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    let mut out = Vec::new();
    walk(Path::new(&format!("/proc/self/fd/{}", mount.as_raw_fd())), "", &mut out);
    out.sort();
    out
}

async fn held(bench: &Bench, store: &Store, sample: &Sample) -> Held {
    let path = bench.directory.path().join("archive");
    fs::write(&path, sample.oci_archive("app:1")).unwrap();
    let loaded = store.load(path, &[]).await.unwrap();
    store.hold("container", &loaded[0].image.id).unwrap()
}

#[tokio::test]
async fn whiteouts_and_opaque_directories_hide_what_they_should() {
    let bench = Bench::new();
    let store = bench.store();
    let base = Tar::new()
        .dir("./", 0o755)
        .dir("etc", 0o755)
        .file("etc/gone", "1")
        .file("etc/stays", "2")
        .dir("opt/old", 0o755)
        .file("opt/old/x", "3")
        .file("dir/kept", "4")
        .file("replaced/below", "5")
        .file("removed/below", "6");
    let top = Tar::new()
        .file("etc/.wh.gone", "")
        .file("opt/.wh..wh..opq", "")
        .file("opt/new", "7")
        .file("dir/added", "8")
        .file(".wh.replaced", "")
        .file("replaced/fresh", "9")
        .file(".wh.removed", "");
    let sample = Sample::new("x", vec![(base, Form::Gzip), (top, Form::Gzip)]);
    let held = held(&bench, &store, &sample).await;
    let mount = overlay(&held.directories);
    let expected = [
        "dir/",
        "dir/added=8",
        "dir/kept=4",
        "etc/",
        "etc/stays=2",
        "opt/",
        "opt/new=7",
        "replaced/",
        "replaced/fresh=9",
    ];
    assert_eq!(tree(&mount), expected);
}

#[tokio::test]
async fn a_layer_that_hides_everything_ends_the_stack() {
    let bench = Bench::new();
    let store = bench.store();
    let base = Tar::new().dir("./", 0o755).file("old", "1");
    let top = Tar::new().dir("./", 0o755).file(".wh..wh..opq", "").file("new", "2");
    let last = Tar::new().dir("./", 0o755).file("newer", "3");
    let sample = Sample::new("x", vec![(base, Form::Gzip), (top, Form::Gzip), (last, Form::Gzip)]);
    let held = held(&bench, &store, &sample).await;
    assert_eq!(held.directories.len(), 2);
    assert_eq!(tree(&overlay(&held.directories)), ["new=2", "newer=3"]);
}

#[tokio::test]
async fn unlisted_directories_look_as_below() {
    let bench = Bench::new();
    let store = bench.store();
    let base = Tar::new().header(&Header { mode: 0o711, uid: 7, ..Header::new("./", b'5') }).header(&Header {
        mode: 0o1777,
        uid: 5,
        gid: 6,
        mtime: 99,
        pax: &[("SCHILY.xattr.user.k", b"v")],
        ..Header::new("tmp", b'5')
    });
    let middle = Tar::new().file("tmp/a", "1");
    let top = Tar::new().file("tmp/b", "2").file("own/c", "3");
    let sample = Sample::new("x", vec![(base, Form::Gzip), (middle, Form::Gzip), (top, Form::Gzip)]);
    let held = held(&bench, &store, &sample).await;
    let mount = overlay(&held.directories);
    let stat = |name: &str| fs::metadata(format!("/proc/self/fd/{}/{name}", mount.as_raw_fd())).unwrap();
    let tmp = stat("tmp");
    assert_eq!((tmp.mode() & 0o7777, tmp.uid(), tmp.gid(), tmp.mtime()), (0o1777, 5, 6, 99));
    assert_eq!((stat("").mode() & 0o7777, stat("").uid()), (0o711, 7));
    assert_eq!((stat("own").mode() & 0o7777, stat("own").uid()), (0o755, 0));
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(held.directories[0].join("tmp"), c"user.k", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"v");
    assert_usage_is_true(&bench, &store);
}
