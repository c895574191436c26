// SPDX-License-Identifier: Apache-2.0
//! The program: found, executed, and explained when the kernel refuses it.

use std::ffi::{CString, OsStr};
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sys::Child;
use wire::{Failure, FailureKind, Process};

use crate::channel::Reporter;
use crate::failure::{Because, Named, Result, refuse};
use crate::limits::SHEBANG_BYTES;

/// Executes the program of `process`; returns only when that fails.
pub(super) fn execute(child: &Child, reporter: &Reporter, process: &Process) -> Result<()> {
    let name = process.args.first().map(String::as_str).unwrap_or_default();
    try_all(child, reporter, process, name).step(|| format!("execute {name}"))
}

fn try_all(child: &Child, reporter: &Reporter, process: &Process, name: &str) -> Result<()> {
    let args = process.args.iter().map(|arg| c_string(arg.as_bytes(), "an argument")).collect::<Result<Vec<_>>>()?;
    let env = process.env.iter().map(|var| c_string(var, "an environment variable")).collect::<Result<Vec<_>>>()?;
    let candidates = candidates(name, &env)?;
    // Only now: an argument like /proc/self/fd/7 must not find anything of the runtime.
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    sys::close_all_but(child, &[streams[0], streams[1], streams[2], reporter.fd()]).or_fail()?;

    let mut refused = None;
    let mut told = false;
    for path in candidates {
        match look(&path) {
            Look::Missing => continue,
            Look::Refused(failure) => {
                refused.get_or_insert(failure);
                continue;
            }
            Look::Try => {}
        }
        if !told {
            reporter.ready()?;
            told = true;
        }
        let error = sys::execve(&path, &args, &env);
        refused.get_or_insert(explain(OsStr::from_bytes(path.as_bytes()), error.errno()));
        // execvp(3): the search goes on after these, and nothing else.
        if !matches!(error.errno(), Errno::ACCESS | Errno::NOENT | Errno::NOTDIR) {
            break;
        }
    }
    Err(refused.unwrap_or_else(|| missing(name)))
}

fn missing(name: &str) -> Failure {
    let why =
        if name.contains('/') { "there is no such file in the container" } else { "it is in no directory of PATH" };
    Failure {
        kind: FailureKind::ProgramMissing,
        step: None,
        errno: Some(Errno::NOENT.raw_os_error()),
        detail: Some(why.to_owned()),
    }
}

fn c_string(bytes: &[u8], what: &str) -> Result<CString> {
    CString::new(bytes).map_err(|_| refuse(format!("{what} holds a NUL byte")))
}

/// The paths to try: the name itself when it has a slash, else the name in every absolute directory of `PATH`. A
/// relative directory would mean the working directory, which the image's content must not turn into a search path.
fn candidates(name: &str, env: &[CString]) -> Result<Vec<CString>> {
    if name.is_empty() {
        return Err(Failure::new(FailureKind::ProgramMissing, "its name is empty"));
    }
    if name.contains('/') {
        return Ok(vec![c_string(name.as_bytes(), "the program's name")?]);
    }
    let path = env.iter().find_map(|var| var.to_bytes().strip_prefix(b"PATH="));
    let Some(path) = path else {
        return Err(Failure::new(FailureKind::ProgramMissing, "it has no slash, and the environment has no PATH"));
    };
    path.split(|byte| *byte == b':')
        .filter(|directory| directory.first() == Some(&b'/'))
        .map(|directory| c_string(&[directory, b"/", name.as_bytes()].concat(), "PATH"))
        .collect()
}

/// What a candidate is, before the kernel is asked to execute it.
enum Look {
    Missing,
    Try,
    Refused(Failure),
}

/// CVE-2019-5736: a program is never found through a magic link, so `/proc/self/exe` does not run the runtime itself.
fn look(path: &CString) -> Look {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
        Err(Errno::NOENT | Errno::NOTDIR) => Look::Missing,
        Err(Errno::LOOP) => {
            Look::Refused(refused(Errno::LOOP, "it leads through a magic link of procfs or in a circle".to_owned()))
        }
        // Whatever else is wrong, execve says it best.
        Err(_) => Look::Try,
        Ok(found) => match rustix::fs::fstat(&found).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::Directory) => Look::Refused(refused(Errno::ISDIR, "it is a directory".to_owned())),
            _ => Look::Try,
        },
    }
}

fn refused(errno: Errno, detail: String) -> Failure {
    Failure { kind: FailureKind::ProgramRefused, step: None, errno: Some(errno.raw_os_error()), detail: Some(detail) }
}

/// Says in words what the kernel says with a number.
fn explain(path: &OsStr, errno: Errno) -> Failure {
    let shown = path.to_string_lossy();
    let detail = match errno {
        Errno::NOENT | Errno::NOTDIR => match interpreter(path) {
            Some(interpreter) => format!("{shown} is there, but its interpreter {interpreter} is not"),
            None => format!("{shown} is there, but the program loader that it names is not"),
        },
        Errno::ACCESS => match fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => format!("{shown} is no regular file"),
            Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => {
                format!("{shown} is not executable (mode {:04o})", metadata.permissions().mode() & 0o7777)
            }
            _ => format!(
                "user {} may not execute {shown}: look at the modes of the file and of its directories, and for noexec",
                rustix::process::geteuid().as_raw()
            ),
        },
        Errno::NOEXEC => {
            format!("{shown} is no program for this machine: it is for another architecture, or a script without #!")
        }
        Errno::TOOBIG => "arguments and environment together are longer than the kernel takes".to_owned(),
        Errno::AGAIN => "the user has as many processes as its limit allows".to_owned(),
        _ => format!("the kernel refuses {shown}"),
    };
    let mut failure = refused(errno, detail);
    if matches!(errno, Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) {
        failure.kind = FailureKind::Exhausted;
    }
    failure
}

/// What the first line of a script names after `#!`.
fn interpreter(path: &OsStr) -> Option<String> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file: File = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut start = Vec::new();
    file.take(SHEBANG_BYTES as u64).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let name = line.trim_ascii().split(u8::is_ascii_whitespace).next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(env: &[&str]) -> Vec<CString> {
        env.iter().map(|var| CString::new(*var).unwrap()).collect()
    }

    fn paths(name: &str, env: &[&str]) -> Vec<String> {
        candidates(name, &vars(env)).unwrap().into_iter().map(|path| path.into_string().unwrap()).collect()
    }

    #[test]
    fn names_are_searched_in_absolute_directories_only() {
        assert_eq!(paths("/bin/sh", &["PATH=/x"]), ["/bin/sh"]);
        assert_eq!(paths("./run", &[]), ["./run"]);
        assert_eq!(paths("sh", &["A=b", "PATH=/usr/bin:.::bin:/bin"]), ["/usr/bin/sh", "/bin/sh"]);
        for (name, env) in [("", "PATH=/bin"), ("sh", "OTHER=/bin")] {
            assert_eq!(candidates(name, &vars(&[env])).unwrap_err().kind, FailureKind::ProgramMissing);
        }
    }

    #[test]
    fn a_script_names_its_interpreter() {
        let directory = tempfile::tempdir().unwrap();
        let named = |content: &[u8]| {
            let path = directory.path().join("script");
            fs::write(&path, content).unwrap();
            interpreter(path.as_os_str())
        };
        assert_eq!(named(b"#! /opt/no such -x\nrest").as_deref(), Some("/opt/no"));
        assert_eq!(named(b"#!/a").as_deref(), Some("/a"));
        assert_eq!(named(b"#!\n"), None);
        assert_eq!(named(b"\x7fELF"), None);
        assert_eq!(interpreter(directory.path().as_os_str()), None);
        assert_eq!(interpreter(OsStr::new("/dev/zero")), None);
    }
}
