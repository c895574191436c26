// SPDX-License-Identifier: Apache-2.0
//! The container's root file system: a detached overlay.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use wire::Failure;

use super::Builder;
use crate::failure::{Because, Result, refuse};
use crate::filesystem::{self, Setting};
use crate::limits::FSCONFIG_VALUE_BYTES;

/// What every overlay of ours says besides its directories.
///
/// - `volatile`: an upper layer never outlives a boot, and unmounting must not wait for other people's dirty pages.
/// - `redirect_dir=nofollow`, `metacopy=off`: extended attributes of a layer must not lead anywhere else.
/// - `index=off`: no index that ties an upper layer to the identity of its lower ones.
const SETTINGS: [Setting<'static>; 4] = [
    Setting::Flag("volatile"),
    Setting::Text("redirect_dir", "nofollow"),
    Setting::Text("metacopy", "off"),
    Setting::Text("index", "off"),
];

impl Builder<'_> {
    pub(super) fn make_overlay(&mut self, lower: &[String], upper: &str, work: &str) -> Result<()> {
        if lower.is_empty() {
            return Err(refuse("an overlay needs at least one layer"));
        }
        let layers = lower.iter().map(|path| open(path)).collect::<Result<Vec<_>>>()?;
        let (upper_fd, work_fd) = (open(upper)?, open(work)?);
        // KERNEL(6.13): layers by descriptor. KERNEL(6.5): one parameter per layer.
        let tree = by_descriptor(&layers, &upper_fd, &work_fd)
            .or_else(|failure| {
                older_kernel(failure, || by_path((lower, &layers), (upper, &upper_fd), (work, &work_fd)))
            })
            .or_else(|failure| older_kernel(failure, || by_number(&layers, &upper_fd, &work_fd)))
            .map_err(|failure| used_before(failure, &work_fd))?;
        self.overlay = Some(tree);
        Ok(())
    }
}

/// Tries the older way when `failure` may mean that the kernel does not know the newer one. When the older way is
/// refused, too, the first failure says more.
fn older_kernel(failure: Failure, older: impl FnOnce() -> Result<OwnedFd>) -> Result<OwnedFd> {
    let unknown = [Errno::INVAL, Errno::BADF].map(|errno| Some(errno.raw_os_error()));
    if unknown.contains(&failure.errno) { older().map_err(|_| failure) } else { Err(failure) }
}

/// Overlayfs refuses an upper layer that a volatile mount used before (Documentation/filesystems/overlayfs.rst, "Volatile
/// mount"), with nothing but EINVAL and a line in the kernel's log.
fn used_before(mut failure: Failure, work: &OwnedFd) -> Failure {
    if failure.errno == Some(Errno::INVAL.raw_os_error())
        && rustix::fs::statat(work, "work/incompat/volatile", AtFlags::SYMLINK_NOFOLLOW).is_ok()
    {
        failure.detail =
            Some("the container's upper directory was mounted before, and each start needs a new one".into());
    }
    failure
}

/// `FSCONFIG_SET_FD` takes no `O_PATH` descriptor before 6.15.
fn open(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).because(|| format!("open layer directory {path}"))
}

fn by_descriptor(layers: &[OwnedFd], upper: &OwnedFd, work: &OwnedFd) -> Result<OwnedFd> {
    let mut settings: Vec<_> = layers.iter().map(|layer| Setting::Directory("lowerdir+", layer.as_fd())).collect();
    settings.push(Setting::Directory("upperdir", upper.as_fd()));
    settings.push(Setting::Directory("workdir", work.as_fd()));
    settings.extend(SETTINGS);
    filesystem::make("overlay", &settings, MountAttrFlags::empty())
}

fn by_path(
    (lower, layers): (&[String], &[OwnedFd]),
    upper: (&str, &OwnedFd),
    work: (&str, &OwnedFd),
) -> Result<OwnedFd> {
    let lower: Vec<_> = lower.iter().zip(layers).map(|(path, fd)| short(path, fd)).collect();
    let (upper, work) = (short(upper.0, upper.1), short(work.0, work.1));
    let mut settings: Vec<_> = lower.iter().map(|path| Setting::Text("lowerdir+", path)).collect();
    settings.push(Setting::Text("upperdir", &upper));
    settings.push(Setting::Text("workdir", &work));
    settings.extend(SETTINGS);
    filesystem::make("overlay", &settings, MountAttrFlags::empty())
}

/// A path that fits into a parameter: the given one, which mountinfo then shows, or the one of its descriptor.
fn short(path: &str, fd: &OwnedFd) -> String {
    if path.len() < FSCONFIG_VALUE_BYTES { path.to_owned() } else { format!("/proc/self/fd/{}", fd.as_raw_fd()) }
}

/// One `lowerdir` for all layers. A value has 255 bytes at most, so the layers are named by descriptor number, relative
/// to `/proc/self/fd`: sixty layers fit, and nothing needs to be escaped.
fn by_number(layers: &[OwnedFd], upper: &OwnedFd, work: &OwnedFd) -> Result<OwnedFd> {
    let name = |fd: &OwnedFd| fd.as_raw_fd().to_string();
    let lower = layers.iter().map(name).collect::<Vec<_>>().join(":");
    if lower.len() >= FSCONFIG_VALUE_BYTES {
        return Err(refuse(format!("{} layers are more than this kernel takes; Linux 6.5 takes 500", layers.len())));
    }
    rustix::process::chdir("/proc/self/fd").because(|| "chdir(\"/proc/self/fd\")".to_owned())?;
    let (upper, work) = (name(upper), name(work));
    let mut settings =
        vec![Setting::Text("lowerdir", &lower), Setting::Text("upperdir", &upper), Setting::Text("workdir", &work)];
    settings.extend(SETTINGS);
    let made = filesystem::make("overlay", &settings, MountAttrFlags::empty());
    rustix::process::chdir("/").because(|| "chdir(\"/\")".to_owned())?;
    made
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    struct Layers {
        _directory: tempfile::TempDir,
        lower: Vec<String>,
        upper: String,
        work: String,
        layers: Vec<OwnedFd>,
        upper_fd: OwnedFd,
        work_fd: OwnedFd,
    }

    /// Two layers on a tmpfs would need a mount; the machine's own file system does.
    fn layers() -> Layers {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = directory.path().join(name);
            fs::create_dir_all(&path).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let lower = vec![make("top"), make(&format!("bottom:with,odd\\letters/{}/x", "y".repeat(240)))];
        fs::write(Path::new(&lower[0]).join("both"), "top").unwrap();
        fs::write(Path::new(&lower[1]).join("both"), "bottom").unwrap();
        fs::write(Path::new(&lower[1]).join("one"), "bottom").unwrap();
        let (upper, work) = (make("upper"), make("work"));
        let layers = lower.iter().map(|path| open(path).unwrap()).collect();
        let (upper_fd, work_fd) = (open(&upper).unwrap(), open(&work).unwrap());
        Layers { _directory: directory, lower, upper, work, layers, upper_fd, work_fd }
    }

    fn check(tree: &OwnedFd, layers: &Layers) {
        let read = |name: &str| {
            let file = rustix::fs::openat(tree, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
            std::io::read_to_string(fs::File::from(file)).unwrap()
        };
        assert_eq!((read("both").as_str(), read("one").as_str()), ("top", "bottom"));
        rustix::fs::mkdirat(tree, "new", Mode::RWXU).unwrap();
        assert!(Path::new(&layers.upper).join("new").is_dir());
    }

    #[test]
    fn every_way_gives_the_same_overlay() {
        let l = layers();
        check(&by_descriptor(&l.layers, &l.upper_fd, &l.work_fd).unwrap(), &l);
        let l = layers();
        let lower = (l.lower.as_slice(), l.layers.as_slice());
        check(&by_path(lower, (&l.upper, &l.upper_fd), (&l.work, &l.work_fd)).unwrap(), &l);
        let l = layers();
        check(&by_number(&l.layers, &l.upper_fd, &l.work_fd).unwrap(), &l);
    }

    #[test]
    fn an_older_kernel_is_known_by_its_error() {
        let l = layers();
        let fail = |errno: Errno| Err::<OwnedFd, _>(errno).because(|| "newer".to_owned()).unwrap_err();
        let older = || by_number(&l.layers, &l.upper_fd, &l.work_fd);
        let failure = older_kernel(fail(Errno::PERM), || panic!("EPERM is no sign of an older kernel")).unwrap_err();
        assert_eq!(failure.errno, Some(1));
        let failure = older_kernel(fail(Errno::INVAL), || Err(refuse("older"))).unwrap_err();
        assert_eq!(failure.detail.as_deref(), Some("newer"));
        check(&older_kernel(fail(Errno::INVAL), older).unwrap(), &l);
    }

    #[test]
    fn a_used_upper_directory_is_named() {
        let l = layers();
        drop(by_descriptor(&l.layers, &l.upper_fd, &l.work_fd).unwrap());
        let failure = by_descriptor(&l.layers, &l.upper_fd, &l.work_fd).unwrap_err();
        let failure = used_before(failure, &l.work_fd);
        assert!(failure.to_string().contains("was mounted before"), "{failure}");

        let l = layers();
        let inside = format!("{}/work", l.upper);
        fs::create_dir(&inside).unwrap();
        let inside = open(&inside).unwrap();
        let failure = used_before(by_descriptor(&l.layers, &l.upper_fd, &inside).unwrap_err(), &inside);
        assert!(failure.to_string().contains("Invalid argument (os error 22): create overlay"), "{failure}");
        let failure = open(&format!("{}/file", l.upper)).unwrap_err();
        assert!(failure.to_string().contains("No such file or directory"), "{failure}");
    }
}
