// SPDX-License-Identifier: Apache-2.0
//! A cgroup that is gone when the test ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use husk_cgroups::{Cgroup, CgroupPath, Hierarchy, JoinPaths, Limits};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// How long a test waits for the kernel before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A cgroup `/husk-test-cgroups-<pid>-<n>` of this test.
pub(crate) struct OwnCgroup {
    pub(crate) hierarchy: Hierarchy,
    pub(crate) path: CgroupPath,
    pub(crate) cgroup: Cgroup,
}

impl OwnCgroup {
    /// Not made yet.
    pub(crate) fn absent() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = CgroupPath::top(&format!("husk-test-cgroups-{}-{number}", std::process::id())).unwrap();
        let hierarchy = Hierarchy::detect().unwrap();
        let cgroup = hierarchy.open(&path);
        Self { hierarchy, path, cgroup }
    }

    pub(crate) fn new(limits: &Limits) -> Self {
        let own = Self::absent();
        own.hierarchy.create(&own.path, limits).unwrap();
        own
    }

    /// All directories that the cgroup has or had.
    pub(crate) fn dirs(&self) -> Vec<PathBuf> {
        let paths = self.cgroup.join_paths();
        paths.unified.iter().chain(&paths.v1).cloned().collect()
    }

    /// The directory that has `file`.
    pub(crate) fn dir_with(&self, file: &str) -> PathBuf {
        self.dirs().into_iter().find(|dir| dir.join(file).exists()).unwrap_or_else(|| panic!("no directory has {file}"))
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.dir_with(file).join(file)).unwrap().trim_end().to_owned()
    }

    /// The same cgroup without its unified directory, as on a machine without that hierarchy.
    pub(crate) fn v1_only(&self) -> Cgroup {
        let paths = self.cgroup.join_paths();
        assert!(!paths.v1.is_empty(), "this machine has no v1 hierarchy");
        Cgroup::from_join_paths(&JoinPaths { unified: None, v1: paths.v1.clone() })
    }

    pub(crate) fn remaining(&self) -> Vec<PathBuf> {
        self.dirs().into_iter().filter(|dir| dir.exists()).collect()
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        // A test may end between freeze and thaw, and by a defect of either, so this is done by hand.
        for dir in self.dirs() {
            for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
                if dir.join(file).exists() {
                    let _ = fs::write(dir.join(file), value);
                }
            }
        }
        if let Err(error) = self.cgroup.remove(PATIENCE) {
            eprintln!("left behind: {error}");
            assert!(std::thread::panicking(), "left behind: {error}");
        }
    }
}

/// The names of the cgroups below `dir`.
pub(crate) fn children(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}
