// SPDX-License-Identifier: Apache-2.0
//! The cgroup mounts of a `/proc/<pid>/mountinfo` (proc_pid_mountinfo(5)).

use std::path::PathBuf;

/// One mount of a cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CgroupMount<'a> {
    /// `major:minor` of the superblock: the same for all mounts of one hierarchy.
    pub(crate) device: &'a str,
    /// Which cgroup of the hierarchy is mounted; `/` for all of it.
    pub(crate) root: &'a str,
    /// Where.
    pub(crate) mount_point: PathBuf,
    /// Which kind.
    pub(crate) version: Version<'a>,
}

/// The kind of a hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Version<'a> {
    /// With the options of its superblock: controllers, `name=…`, and others.
    V1 { options: Vec<&'a str> },
    /// The unified hierarchy.
    V2,
}

/// All cgroup mounts in the order of the text. Lines that are cut off or of another file system are left out.
pub(crate) fn cgroup_mounts(text: &str) -> Vec<CgroupMount<'_>> {
    text.lines().filter_map(parse_line).collect()
}

/// `31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup cgroup rw,memory`
fn parse_line(line: &str) -> Option<CgroupMount<'_>> {
    // Optional fields end at a lone hyphen; a mount point holds no space, because those are escaped.
    let (mount, super_block) = line.split_once(" - ")?;
    let mut mount = mount.split(' ');
    let device = mount.nth(2)?;
    let root = mount.next()?;
    let mount_point = unescaped(mount.next()?)?;
    let mut super_block = super_block.splitn(3, ' ');
    let file_system = super_block.next()?;
    let options = super_block.nth(1)?;
    let version = match file_system {
        "cgroup2" => Version::V2,
        "cgroup" => Version::V1 { options: options.split(',').collect() },
        _ => return None,
    };
    if !mount_point.is_absolute() || !device.contains(':') {
        return None;
    }
    Some(CgroupMount { device, root, mount_point, version })
}

/// The kernel writes space, tab, newline and backslash as `\` and three octal digits.
fn unescaped(text: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'\\' {
            let (digits, after) = tail.split_at_checked(3)?;
            let mut value: u32 = 0;
            for digit in digits {
                if !(b'0'..=b'7').contains(digit) {
                    return None;
                }
                value = value * 8 + u32::from(digit - b'0');
            }
            bytes.push(u8::try_from(value).ok()?);
            rest = after;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let v1 = parse_line("35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory").unwrap();
        assert_eq!(v1.device, "0:32");
        assert_eq!(v1.mount_point, PathBuf::from("/sys/fs/cgroup/memory"));
        assert_eq!(v1.version, Version::V1 { options: vec!["rw", "memory"] });
        let v2 = parse_line("1 2 0:26 /a /c\\040d rw shared:4 master:2 - cgroup2 none rw,nsdelegate").unwrap();
        assert_eq!((v2.root, v2.version), ("/a", Version::V2));
        assert_eq!(v2.mount_point, PathBuf::from("/c d"));
        for bad in [
            "",
            " - ",
            "- cgroup",
            "35 31 0:32 / /m rw - ext4 /dev/vda rw",
            "35 31 0:32 / /m rw - cgroup cgroup",
            "35 31 0:32 / /m rw cgroup cgroup rw,memory",
            "35 31 0:32 / - cgroup cgroup rw,memory",
            "35 31 0:32 / m rw - cgroup cgroup rw,memory",
            "35 31 032 / /m rw - cgroup cgroup rw,memory",
            "35 31 0:32 / /m\\04 rw - cgroup cgroup rw,memory",
            "35 31 0:32 / /m\\777 rw - cgroup cgroup rw,memory",
            "35 31 0:32 / /m\\xyz rw - cgroup cgroup rw,memory",
        ] {
            assert_eq!(parse_line(bad), None, "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "[0-9:/a \\\\,=-]{0,80}|.{0,40} - cgroup2? .{0,20}") {
            let _ = cgroup_mounts(&text);
        }
    }
}
