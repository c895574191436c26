// SPDX-License-Identifier: Apache-2.0
//! A fresh directory in which an archive is unpacked, with a canary beside it that must not notice.
//!
//! ```text
//!  arena/            nothing may be added here
//!  ├── canary/       files, a directory, links: every fact of every inode is compared, ctime too, which no call can set back
//!  └── root/         where the archive goes
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// An arena; dropping it removes everything.
pub struct Arena {
    dir: tempfile::TempDir,
    root: OwnedFd,
    before: BTreeMap<PathBuf, Facts>,
}

/// Everything about an inode that a stray call could change.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    /// Device, inode, mode with type, and number of links.
    identity: (u64, u64, u32, u64),
    owner: (u32, u32),
    device: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    content: Vec<u8>,
}

/// One inode below the root, as the archive left it.
#[derive(Debug)]
pub struct Seen {
    /// `stat(2)` of it.
    pub stat: Stat,
    /// The content of a file, the target of a symbolic link.
    pub content: Vec<u8>,
    /// Extended attributes of a file or directory, by name.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Seen {
    /// What kind of inode it is.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

impl Arena {
    /// Makes one below the directory for temporary files (`TMPDIR`).
    ///
    /// # Panics
    /// When that cannot be written to.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("husk-fuzz-").tempdir().expect("the temporary directory is writable");
        let canary = dir.path().join("canary");
        fs::create_dir(&canary).expect("a fresh directory is writable");
        fs::create_dir(canary.join("a")).expect("a fresh directory is writable");
        for (name, mode) in [("secret", 0o600), ("b", 0o4755), ("a/secret", 0o640)] {
            fs::write(canary.join(name), name).expect("a fresh directory is writable");
            fs::set_permissions(canary.join(name), fs::Permissions::from_mode(mode))
                .expect("an own file can be changed");
        }
        symlink("secret", canary.join("link")).expect("a fresh directory is writable");
        fs::create_dir(dir.path().join("root")).expect("a fresh directory is writable");
        let root = rustix::fs::open(
            dir.path().join("root"),
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .expect("an own directory can be opened");
        let before = facts_of(dir.path());
        Self { dir, root, before }
    }

    /// Where the archive goes.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The absolute path of the canary, for links that try to reach it.
    pub fn canary(&self) -> PathBuf {
        self.dir.path().join("canary")
    }

    /// Checks that nothing changed but what is below the root.
    ///
    /// # Panics
    /// When something did.
    pub fn check_canary(&self) {
        let after = facts_of(self.dir.path());
        assert_eq!(self.before, after, "the archive reached out of its root");
        let by_path = fs::symlink_metadata(self.dir.path().join("root")).expect("the root is still there");
        let by_fd = rustix::fs::fstat(&self.root).expect("an open directory has a stat");
        assert_eq!((by_path.dev(), by_path.ino()), (by_fd.st_dev, by_fd.st_ino), "the root was replaced");
    }

    /// Everything below the root, the root itself under the empty name. Walks by descriptor: names may be longer than PATH_MAX together.
    ///
    /// # Panics
    /// When an inode is on another file system or cannot be looked at.
    pub fn tree(&self) -> BTreeMap<Vec<u8>, Seen> {
        let mut tree = BTreeMap::new();
        let root = see(self.root(), b".").expect("the root can be looked at");
        let device = root.stat.st_dev;
        tree.insert(Vec::new(), root);
        walk(self.root(), &[], &mut tree);
        assert!(tree.values().all(|seen| seen.stat.st_dev == device), "a mount appeared below the root");
        tree
    }
}

/// The facts of the canary and the arena itself, and of whatever else is there.
fn facts_of(arena: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut facts = BTreeMap::new();
    facts.insert(PathBuf::new(), Facts::of(arena));
    for entry in fs::read_dir(arena).expect("the arena is still there") {
        let path = entry.expect("the arena can be listed").path();
        if path.file_name().is_some_and(|name| name != "root") {
            add_facts(&path, &mut facts);
        }
    }
    facts
}

fn add_facts(path: &Path, facts: &mut BTreeMap<PathBuf, Facts>) {
    facts.insert(path.to_owned(), Facts::of(path));
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        for entry in fs::read_dir(path).expect("an own directory can be listed") {
            add_facts(&entry.expect("an own directory can be listed").path(), facts);
        }
    }
}

impl Facts {
    fn of(path: &Path) -> Self {
        let metadata = fs::symlink_metadata(path).expect("what was listed is there");
        let content = if metadata.is_file() {
            fs::read(path).expect("an own file can be read")
        } else if metadata.is_symlink() {
            fs::read_link(path).expect("an own link can be read").as_os_str().as_bytes().to_vec()
        } else {
            Vec::new()
        };
        Self {
            identity: (metadata.dev(), metadata.ino(), metadata.mode(), metadata.nlink()),
            owner: (metadata.uid(), metadata.gid()),
            device: metadata.rdev(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            content,
        }
    }
}

fn walk(directory: BorrowedFd<'_>, path: &[u8], tree: &mut BTreeMap<Vec<u8>, Seen>) {
    for entry in Dir::read_from(directory).expect("a directory can be listed") {
        let entry = entry.expect("a directory can be listed");
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let seen = see(directory, name).expect("what was listed can be looked at");
        let below = if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
        if seen.kind() == FileType::Directory {
            let child = open(directory, name).expect("a directory can be opened");
            walk(child.as_fd(), &below, tree);
        }
        tree.insert(below, seen);
    }
}

fn open(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

fn see(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Seen, Errno> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mut seen = Seen { stat, content: Vec::new(), attributes: BTreeMap::new() };
    match seen.kind() {
        FileType::Symlink => seen.content = rustix::fs::readlinkat(directory, name, Vec::new())?.into_bytes(),
        FileType::RegularFile | FileType::Directory => {
            let fd = open(directory, name)?;
            seen.attributes = attributes(fd.as_fd())?;
            if seen.kind() == FileType::RegularFile {
                std::io::Read::read_to_end(&mut fs::File::from(fd), &mut seen.content).map_err(|_| Errno::IO)?;
            }
        }
        _ => {}
    }
    Ok(seen)
}

fn attributes(fd: BorrowedFd<'_>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Errno> {
    // XATTR_LIST_MAX and XATTR_SIZE_MAX of Linux.
    let mut names = vec![0; 64 << 10];
    let mut value = vec![0; 64 << 10];
    let length = rustix::fs::flistxattr(fd, &mut names)?;
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let length = rustix::fs::fgetxattr(fd, name, &mut value)?;
        found.insert(name.to_vec(), value[..length].to_vec());
    }
    Ok(found)
}
