// SPDX-License-Identifier: Apache-2.0
//! Paths inside a root that an image or a container controls.
//!
//! Nothing is done by path below such a root: a path is looked up by openat2 as if the root were `/`, without magic
//! links, and what comes back is a descriptor. What is missing is made component by component, each in a directory that
//! is held by descriptor, and never through a link.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::failure::{Because, Result, from_errno, refuse};
use crate::limits::{LINK_BYTES, LOOKUP_ATTEMPTS, MAKE_ATTEMPTS};

/// A directory that is `/` for the paths below it.
#[derive(Debug)]
pub(crate) struct Root {
    directory: OwnedFd,
}

/// What symbolic links on the way, and at the end of it, mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// They are followed, inside the root.
    Follow,
    /// There must be none: the place of a kernel file system is not for the image to choose (CVE-2019-19921).
    Refuse,
}

/// What to make where nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A directory of mode 0755.
    Directory,
    /// An empty file of mode 0644.
    File,
}

impl Root {
    pub(crate) fn new(directory: OwnedFd) -> Self {
        Self { directory }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Opens `path` for reference only (`O_PATH`).
    pub(crate) fn find(&self, path: &str, links: Links) -> std::result::Result<OwnedFd, Errno> {
        let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        if links == Links::Refuse {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let mut attempts = 0;
        loop {
            match rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) if attempts < LOOKUP_ATTEMPTS => attempts += 1,
                Err(Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Opens `path` for reference only, and makes it first, with its parents, where it is missing.
    ///
    /// # Errors
    /// Also when what is there is a directory and a file is wanted, or the reverse.
    pub(crate) fn find_or_make(&self, path: &str, kind: Kind, links: Links) -> Result<OwnedFd> {
        let found = match self.find(path, links) {
            Err(Errno::NOENT) => self.make(path, kind, links),
            other => other.map_err(|errno| no_way_to(path, errno, links)),
        }?;
        let stat = rustix::fs::fstat(&found).because(|| format!("fstat of {path} in the root"))?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        match (kind, is_directory) {
            (Kind::Directory, true) | (Kind::File, false) => Ok(found),
            (Kind::Directory, false) => Err(from_errno(
                Errno::NOTDIR,
                Some(format!("{path} in the root is a file, and a directory goes there")),
            )),
            (Kind::File, true) => {
                Err(from_errno(Errno::ISDIR, Some(format!("{path} in the root is a directory, and a file goes there"))))
            }
        }
    }

    fn make(&self, path: &str, kind: Kind, links: Links) -> Result<OwnedFd> {
        let mut rest: VecDeque<String> = components(path).collect();
        // What exists already; every lookup starts from the root again, so that links in it stay inside.
        let mut here = String::from("/");
        let mut attempts = 0;
        while let Some(name) = rest.pop_front() {
            let next = format!("{}/{name}", here.trim_end_matches('/'));
            match self.find(&next, links) {
                Ok(found) if rest.is_empty() => return Ok(found),
                Ok(_) => {
                    here = next;
                    continue;
                }
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(no_way_to(path, errno, links)),
            }
            attempts += 1;
            if attempts > MAKE_ATTEMPTS {
                return Err(no_way_to(path, Errno::LOOP, links));
            }
            let parent = self.find(&here, links).map_err(|errno| no_way_to(path, errno, links))?;
            let kind = if rest.is_empty() { kind } else { Kind::Directory };
            match make_one(parent.as_fd(), &name, kind) {
                Ok(()) => rest.push_front(name),
                // A link that leads nowhere: what it names is made instead. Or somebody was faster.
                Err(Errno::EXIST) => match dangling_link(parent.as_fd(), &name)? {
                    None => rest.push_front(name),
                    Some(target) => {
                        if target.starts_with('/') {
                            here = String::from("/");
                        }
                        for component in components(&target).collect::<Vec<_>>().into_iter().rev() {
                            rest.push_front(component);
                        }
                    }
                },
                Err(errno) => {
                    return Err(from_errno(errno, Some(format!("{next} in the root is missing and cannot be made"))));
                }
            }
        }
        // The last component was a link to a directory that is there already.
        self.find(&here, links).map_err(|errno| no_way_to(path, errno, links))
    }
}

fn no_way_to(path: &str, errno: Errno, links: Links) -> wire::Failure {
    let why = match (errno, links) {
        (Errno::LOOP, Links::Refuse) => {
            "has a symbolic link in it, and a kernel file system needs an ordinary directory"
        }
        (Errno::LOOP, Links::Follow) => "has a loop of links or a magic link in it",
        (Errno::NOTDIR, _) => "leads through something that is no directory",
        _ => "cannot be reached",
    };
    from_errno(errno, Some(format!("{path} in the root {why}")))
}

fn components(path: &str) -> impl Iterator<Item = String> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned)
}

fn make_one(parent: BorrowedFd<'_>, name: &str, kind: Kind) -> std::result::Result<(), Errno> {
    if name == ".." {
        // It exists in every directory, so it was not it that is missing.
        return Err(Errno::NOENT);
    }
    match kind {
        Kind::Directory => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)),
        Kind::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    }
}

/// What the link `name` points to; `None` when it is no link.
fn dangling_link(parent: BorrowedFd<'_>, name: &str) -> Result<Option<String>> {
    match rustix::fs::readlinkat(parent, name, Vec::with_capacity(LINK_BYTES)) {
        Err(Errno::INVAL | Errno::NOENT) => Ok(None),
        Ok(target) => {
            target.into_string().map(Some).map_err(|_| refuse(format!("the link {name} in the root is not UTF-8")))
        }
        Err(errno) => Err(errno).because(|| format!("readlinkat({name})")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
    use std::path::Path;

    use super::*;

    fn root(path: &Path) -> Root {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Root::new(rustix::fs::open(path, flags, Mode::empty()).unwrap())
    }

    fn inode(fd: &OwnedFd) -> u64 {
        rustix::fs::fstat(fd).unwrap().st_ino
    }

    fn inode_of(path: impl AsRef<Path>) -> u64 {
        fs::symlink_metadata(path).unwrap().ino()
    }

    #[test]
    fn links_stay_inside() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("root");
        fs::create_dir_all(inner.join("etc")).unwrap();
        fs::create_dir(outer.path().join("etc")).unwrap();
        symlink("/etc", inner.join("absolute")).unwrap();
        symlink("../../../etc", inner.join("upwards")).unwrap();
        let root = root(&inner);
        for path in ["/absolute", "/upwards", "/../../etc", "etc", "//etc/."] {
            let found = root.find_or_make(path, Kind::Directory, Links::Follow).unwrap();
            assert_eq!(inode(&found), inode_of(inner.join("etc")), "{path}");
        }
        assert_eq!(root.find("/absolute", Links::Refuse).unwrap_err(), Errno::LOOP);
        let failure = root.find_or_make("/absolute/x", Kind::Directory, Links::Refuse).unwrap_err();
        assert!(failure.to_string().contains("/absolute/x in the root has a symbolic link in it"), "{failure}");
    }

    #[test]
    fn what_is_missing_is_made_inside() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("root");
        fs::create_dir_all(inner.join("var")).unwrap();
        symlink("/run", inner.join("var/run")).unwrap();
        symlink("../../out/side", inner.join("var/up")).unwrap();
        let root = root(&inner);

        root.find_or_make("/var/run/a/b", Kind::Directory, Links::Follow).unwrap();
        assert!(inner.join("run/a/b").is_dir());
        root.find_or_make("/var/up/file", Kind::File, Links::Follow).unwrap();
        assert!(inner.join("out/side/file").is_file());
        assert_eq!(fs::metadata(inner.join("out/side/file")).unwrap().len(), 0);
        root.find_or_make("/new/deep/dir", Kind::Directory, Links::Refuse).unwrap();
        assert!(inner.join("new/deep/dir").is_dir());
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1, "nothing was made beside the root");

        fs::write(inner.join("file"), "x").unwrap();
        let failure = root.find_or_make("/file/below", Kind::File, Links::Follow).unwrap_err();
        assert_eq!(failure.errno, Some(Errno::NOTDIR.raw_os_error()));
        assert!(root.find_or_make("/", Kind::Directory, Links::Follow).is_ok());
    }

    #[test]
    fn endless_links_end() {
        let directory = tempfile::tempdir().unwrap();
        symlink("b/x", directory.path().join("a")).unwrap();
        symlink("a/x", directory.path().join("b")).unwrap();
        symlink("self/..", directory.path().join("self")).unwrap();
        let root = root(directory.path());
        for path in ["/a/y", "/self/y"] {
            let failure = root.find_or_make(path, Kind::Directory, Links::Follow).unwrap_err();
            assert_eq!(failure.errno, Some(Errno::LOOP.raw_os_error()), "{path}: {failure}");
        }
    }

    #[test]
    fn a_fifo_in_the_way_does_not_block() {
        let directory = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            directory.path().join("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let found = root(directory.path()).find_or_make("/fifo", Kind::File, Links::Follow).unwrap();
        assert_eq!(inode(&found), inode_of(directory.path().join("fifo")));
        assert!(fs::metadata(directory.path().join("fifo")).unwrap().file_type().is_fifo());
    }

    /// Another process exchanges a directory and a link to the outside while targets are made below it.
    #[test]
    fn a_race_makes_nothing_outside() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("root");
        let canary = outer.path().join("canary");
        fs::create_dir_all(inner.join("swap")).unwrap();
        fs::create_dir(&canary).unwrap();
        symlink(&canary, inner.join("link")).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let cwd = rustix::fs::CWD;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    rustix::fs::renameat_with(cwd, inner.join("swap"), cwd, inner.join("link"), flags).unwrap();
                }
            });
            let root = root(&inner);
            let mut made = 0;
            for number in 0..500 {
                made += u32::from(root.find_or_make(&format!("/swap/{number}"), Kind::File, Links::Follow).is_ok());
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(made > 0);
        });
        assert_eq!(fs::read_dir(&canary).unwrap().count(), 0);
    }
}
