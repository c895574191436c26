// SPDX-License-Identifier: Apache-2.0
//! A container's log file, opened by a child: its directory may be a dead volume, which the monitor must never touch.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use wire::Log;

use crate::failure::{Because, Named, Result, from_errno, refuse};

/// Opens `log` for appending, mode 0640 when it is new. The directory is the kubelet's, the path below it may name
/// further directories that exist; links below it are refused (as both peers do), and so is what is no regular file.
pub(crate) fn open(log: &Log) -> Result<OwnedFd> {
    open_below(log).step(|| format!("open log {}/{}", log.directory, log.file))
}

fn open_below(log: &Log) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, log.directory.as_str(), flags, Mode::empty())
        .because(|| "the log directory of the pod".to_owned())?;
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = match rustix::fs::openat2(&directory, log.file.as_str(), flags, Mode::from_raw_mode(0o640), resolve) {
        Err(Errno::LOOP) => {
            return Err(from_errno(
                Errno::LOOP,
                Some("the path below the log directory has a symbolic link in it".into()),
            ));
        }
        other => other.because(|| "openat2 beneath the log directory".to_owned())?,
    };
    let stat = rustix::fs::fstat(&file).because(|| "fstat of the log".to_owned())?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(file),
        other => Err(refuse(format!("it is no regular file but {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn it_appends_and_goes_nowhere_else() {
        let outer = tempfile::tempdir().unwrap();
        let directory = outer.path().join("logs");
        fs::create_dir_all(directory.join("main")).unwrap();
        fs::write(outer.path().join("canary"), "x").unwrap();
        let log = |file: &str| Log { directory: directory.to_str().unwrap().to_owned(), file: file.to_owned() };

        for text in ["one ", "two"] {
            fs::File::from(open(&log("main/0.log")).unwrap()).write_all(text.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(directory.join("main/0.log")).unwrap(), "one two");
        let mode = fs::metadata(directory.join("main/0.log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777 & !0o640, 0);

        symlink("../canary", directory.join("link")).unwrap();
        symlink("..", directory.join("up")).unwrap();
        for file in ["link", "up/canary", "../canary", "/etc/husk-canary", "missing/0.log", "main"] {
            let failure = open(&log(file)).unwrap_err();
            assert_eq!(failure.step.as_deref(), Some(format!("open log {}/{file}", directory.display()).as_str()));
        }
        assert_eq!(fs::read_to_string(outer.path().join("canary")).unwrap(), "x");
        assert!(!std::path::Path::new("/etc/husk-canary").exists());
    }

    #[test]
    fn a_fifo_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(CWD, directory.path().join("fifo"), FileType::Fifo, mode, 0).unwrap();
        let log = Log { directory: directory.path().to_str().unwrap().to_owned(), file: "fifo".to_owned() };
        assert_eq!(open(&log).unwrap_err().errno, Some(Errno::NXIO.raw_os_error()));
    }
}
