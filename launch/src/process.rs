// SPDX-License-Identifier: Apache-2.0
//! The end of every launch: what the process shall be. Start and exec share all of it.
//!
//! The order follows what each part needs: the terminal and the streams need root, the working directory is tried with
//! the rights of the runtime first and then with the process's own, limits need root, and identity comes last. The
//! capabilities of the container are in force up to execve, so that a program that only they let through still runs.

mod cwd;
mod identity;
mod program;
mod resource_limits;
pub(crate) mod terminal;

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode};
use rustix::process::{Gid, Signal, Uid};
use sys::Child;
use wire::{CapabilitySets, Process};

use crate::channel::Reporter;
use crate::failure::{Because, Named, Result, from_errno};

/// Whom pause runs as: the kernel's overflow id (`nobody`), who owns nothing.
const NOBODY: u32 = 65534;

/// What pause is called in a list of processes.
const PAUSE_NAME: &std::ffi::CStr = c"husk-pause";

/// The major numbers of Unix98 pseudo-terminals.
const PTY_MAJORS: std::ops::RangeInclusive<u32> = 136..=143;

/// Becomes the process and executes its program; returns only when that fails.
pub(crate) fn become_program(
    child: &Child,
    reporter: &Reporter,
    process: &Process,
    terminal: Option<OwnedFd>,
) -> Result<()> {
    rustix::process::setsid().because(|| "setsid".to_owned()).step(|| "begin a session".to_owned())?;
    if let Some(peer) = terminal {
        terminal::take(&peer).step(|| "take the terminal".to_owned())?;
    }
    let owner = identity::uid(process.uid)?;
    give_streams_to(owner).step(|| "hand over the standard streams".to_owned())?;

    let cwd = || format!("enter working directory {}", process.cwd);
    let mut place = cwd::enter(&process.cwd, process.make_cwd).step(cwd)?;
    rustix::process::umask(Mode::from_raw_mode(process.umask & 0o777));
    resource_limits::set(&process.rlimits)?;
    identity::take(process).step(|| format!("become user {}:{}", process.uid, process.gid))?;
    if place == cwd::Place::NotAllowed {
        place = cwd::enter(&process.cwd, false).step(cwd)?;
    }
    cwd::check(place).step(cwd)?;
    if process.no_new_privs {
        rustix::thread::set_no_new_privs(true).because(|| "prctl(PR_SET_NO_NEW_PRIVS)".to_owned())?;
    }
    die_with_the_monitor()?;
    program::execute(child, reporter, process)
}

/// Becomes pause: no user, no group, no capability, no environment.
pub(crate) fn become_pause(child: &Child, reporter: &Reporter, program: BorrowedFd<'_>) -> Result<()> {
    rustix::process::setsid().because(|| "setsid".to_owned()).step(|| "begin a session".to_owned())?;
    let nobody = identity::Identity { uid: NOBODY, gid: NOBODY, groups: &[], capabilities: CapabilitySets::default() };
    identity::assume(&nobody).step(|| "give up every right".to_owned())?;
    rustix::thread::set_no_new_privs(true).because(|| "prctl(PR_SET_NO_NEW_PRIVS)".to_owned())?;
    die_with_the_monitor()?;
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    sys::close_all_but(child, &[streams[0], streams[1], streams[2], reporter.fd(), program]).or_fail()?;
    reporter.ready()?;
    let none: [&std::ffi::CStr; 0] = [];
    let error = sys::execveat(program, &[PAUSE_NAME], &none);
    Err(from_errno(error.errno(), Some(error.call().to_owned()))).step(|| "execute pause".to_owned())
}

/// The kernel kills the process when the monitor dies: nobody would read its output or see it end. A monitor that died
/// before this call is noticed by the report that follows. The change of identity would undo it, so it comes after.
fn die_with_the_monitor() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .because(|| "prctl(PR_SET_PDEATHSIG)".to_owned())
}

/// Gives pipes and terminals to the process's user, as runc does: images point their logs to `/dev/stdout`, and opening
/// that anew needs the right. Devices that are not the process's own, `/dev/null` above all, stay whose they are.
fn give_streams_to(owner: Uid) -> Result<()> {
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let stat = rustix::fs::fstat(stream).because(|| "fstat of a standard stream".to_owned())?;
        let own = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo => true,
            FileType::CharacterDevice => PTY_MAJORS.contains(&rustix::fs::major(stat.st_rdev)),
            _ => false,
        };
        if own {
            rustix::fs::fchown(stream, Some(owner), None::<Gid>)
                .because(|| "fchown of a standard stream".to_owned())?;
        }
    }
    Ok(())
}
