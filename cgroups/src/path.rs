// SPDX-License-Identifier: Apache-2.0
//! The place of a cgroup in every hierarchy.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, PathFlaw, shortened};
use crate::limits;

/// An absolute, normalised path below the root of each hierarchy, for example `/kubepods/burstable/pod1/abc`.
///
/// It has no empty, `.` or `..` part and no control character, and it is never the root itself, so that no operation
/// of this crate can reach a cgroup that was not named. CRI: `LinuxPodSandboxConfig.cgroup_parent` with the cgroupfs
/// driver, and a name below it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CgroupPath(String);

impl CgroupPath {
    /// Parses an absolute path.
    ///
    /// # Errors
    /// [`Error::Path`] for everything that is not as the type promises.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let flawed = |flaw| Error::Path { path: shortened(text), flaw };
        let Some(relative) = text.strip_prefix('/') else {
            return Err(flawed(PathFlaw::Relative));
        };
        if relative.is_empty() {
            return Err(flawed(PathFlaw::Root));
        }
        if text.len() > limits::MAX_PATH_BYTES || relative.split('/').count() > limits::MAX_PATH_PARTS {
            return Err(flawed(PathFlaw::TooLong));
        }
        for part in relative.split('/') {
            check_part(part).map_err(flawed)?;
        }
        Ok(Self(text.to_owned()))
    }

    /// The cgroup `name` directly below the root of each hierarchy.
    ///
    /// # Errors
    /// [`Error::Path`] when `name` is not one valid part.
    pub fn top(name: &str) -> Result<Self, Error> {
        check_name(name)?;
        Self::parse(&format!("/{name}"))
    }

    /// The cgroup `name` directly below this one.
    ///
    /// # Errors
    /// [`Error::Path`] when `name` is not one valid part, or the whole gets too long.
    pub fn join(&self, name: &str) -> Result<Self, Error> {
        check_name(name)?;
        Self::parse(&format!("{}/{name}", self.0))
    }

    /// The path as text, beginning with a slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts from the top down; never empty.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').skip(1)
    }

    /// The directory of this cgroup in the hierarchy mounted at `mount_point`.
    pub(crate) fn below(&self, mount_point: &Path) -> PathBuf {
        mount_point.join(&self.0[1..])
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks the name of one cgroup.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let flaw = if name.contains('/') { Err(PathFlaw::SlashInName) } else { check_part(name) };
    flaw.map_err(|flaw| Error::Path { path: shortened(name), flaw })
}

fn check_part(part: &str) -> Result<(), PathFlaw> {
    if part.is_empty() {
        return Err(PathFlaw::EmptyPart);
    }
    if part == "." || part == ".." {
        return Err(PathFlaw::DotPart);
    }
    if part.len() > limits::MAX_NAME_BYTES {
        return Err(PathFlaw::TooLong);
    }
    if part.chars().any(char::is_control) {
        return Err(PathFlaw::ControlCharacter);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaw(text: &str) -> Option<PathFlaw> {
        match CgroupPath::parse(text) {
            Ok(path) => {
                assert_eq!(path.as_str(), text);
                None
            }
            Err(Error::Path { flaw, .. }) => Some(flaw),
            Err(other) => panic!("{text:?}: {other}"),
        }
    }

    #[test]
    fn paths() {
        for good in ["/a", "/kubepods/burstable/pod1/abc", "/..a", "/a..", "/...", "/a b", "/é", "/-"] {
            assert_eq!(flaw(good), None, "{good:?}");
        }
        let name = "n".repeat(255);
        assert_eq!(flaw(&format!("/{name}")), None);
        for (bad, want) in [
            ("", PathFlaw::Relative),
            ("a", PathFlaw::Relative),
            ("a/b", PathFlaw::Relative),
            ("../a", PathFlaw::Relative),
            ("/", PathFlaw::Root),
            ("//", PathFlaw::EmptyPart),
            ("//a", PathFlaw::EmptyPart),
            ("/a//b", PathFlaw::EmptyPart),
            ("/a/", PathFlaw::EmptyPart),
            ("/..", PathFlaw::DotPart),
            ("/a/../b", PathFlaw::DotPart),
            ("/a/.", PathFlaw::DotPart),
            ("/a\0b", PathFlaw::ControlCharacter),
            ("/a\nb", PathFlaw::ControlCharacter),
            ("/a\u{85}", PathFlaw::ControlCharacter),
        ] {
            assert_eq!(flaw(bad), Some(want), "{bad:?}");
        }
        assert_eq!(flaw(&format!("/{name}n")), Some(PathFlaw::TooLong));
        assert_eq!(flaw(&"/a".repeat(32)), None);
        assert_eq!(flaw(&"/a".repeat(33)), Some(PathFlaw::TooLong));
        assert_eq!(flaw(&format!("/{name}").repeat(9)), Some(PathFlaw::TooLong));
    }

    #[test]
    fn names_are_one_part() {
        let parent = CgroupPath::top("pod").unwrap();
        assert_eq!(parent.as_str(), "/pod");
        assert_eq!(parent.join("c1").unwrap().as_str(), "/pod/c1");
        for bad in ["", ".", "..", "a/b", "/a", "a/", "../x", "a\nb"] {
            assert!(parent.join(bad).is_err(), "{bad:?}");
            assert!(CgroupPath::top(bad).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_parsed_path_stays_below_its_mount_point(text in "[a./\\n]{0,12}") {
            if let Ok(path) = CgroupPath::parse(&text) {
                let dir = path.below(Path::new("/m"));
                proptest::prop_assert!(dir.starts_with("/m") && dir != Path::new("/m"));
                proptest::prop_assert!(
                    dir.components().all(|part| matches!(
                        part,
                        std::path::Component::RootDir | std::path::Component::Normal(_)
                    ))
                );
            }
        }
    }
}
