// SPDX-License-Identifier: Apache-2.0
//! The per-pod monitor: parent and subreaper of the pod's processes, owner of their stdio, logs and exits.
//!
//! One process per pod, one thread, one epoll. It outlives the daemon and is told what to do over a socket
//! ([`wire`]); it launches pause, containers and execs ([`launch`]), writes CRI logs ([`log`]), reaps, records exits
//! in `exits/<id>`, and can become another version of itself without losing any of that.
//!
//! What it must not know: the CRI, images, networks, records; and it never touches a path that a volume may hide.
//!
//! Entry point: [`main`]. `log` is public for the fuzzer.

mod capture;
mod clock;
mod connection;
mod container;
mod event;
mod exec;
mod exit_records;
mod handover;
mod launching;
mod limits;
pub mod log;
mod monitor;
mod output;
mod pause;
mod phase;
mod process;
mod session;
mod timer;

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::io::Errno;
use wire::Id;

use crate::exit_records::ExitRecords;
use crate::handover::Handover;
use crate::monitor::{Given, Monitor};

/// What the monitor says about itself in its greeting: the id that its builder gave it (`runtime/build.rs`), by which a
/// daemon tells it from other builds.
const BUILD: &str = match option_env!("HUSK_BUILD_ID") {
    Some(id) => id,
    None => concat!("husk-monitor ", env!("CARGO_PKG_VERSION")),
};

/// Exit code for a wrong command line (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;

/// Exit code for a monitor that cannot start or go on (`EX_OSERR`).
const EXIT_FAILED: u8 = 71;

/// Why a monitor does not start or cannot go on.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("usage: husk-monitor <pod id> <pod state directory>, with the listening socket as descriptor 0")]
    Usage,
    #[error("the monitor cannot {what}: {errno}")]
    Process { what: &'static str, errno: Errno },
    #[error("the monitor must have one thread: {0}")]
    Threads(sys::Error),
    #[error("the exit records in {} cannot be opened: {errno}", directory.display())]
    Records { directory: PathBuf, errno: Errno },
    #[error("the state that the program before handed over cannot be read: {0}")]
    State(sys::Error),
    #[error("the state that the program before handed over does not decode: {0}")]
    Decode(minicbor::decode::Error),
    #[error(transparent)]
    Take(#[from] monitor::TakeError),
    #[error("the monitor cannot wait for events: {0}")]
    Wait(Errno),
}

/// The program. Returns its exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    match run(args) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("husk-monitor: {error}");
            match error {
                StartError::Usage => EXIT_USAGE,
                _ => EXIT_FAILED,
            }
        }
    }
}

fn run(args: impl IntoIterator<Item = OsString>) -> Result<(), StartError> {
    let args: Vec<String> = args
        .into_iter()
        .skip(1)
        .map(|arg| arg.into_string().map_err(|_| StartError::Usage))
        .collect::<Result<_, _>>()?;
    let monitor = match args.as_slice() {
        [option, number] if option.as_bytes() == process::RESUME.to_bytes() => {
            resume(number.parse().map_err(|_| StartError::Usage)?)?
        }
        [pod, directory] => start(pod.parse().map_err(|_| StartError::Usage)?, directory)?,
        _ => return Err(StartError::Usage),
    };
    monitor.run().map_err(StartError::Wait)
}

fn start(pod: Id, directory: &str) -> Result<Monitor, StartError> {
    process::close_inherited()?;
    let (thread, signals) = process::prepare()?;
    let listener = process::take_listener()?;
    let records =
        ExitRecords::open(directory).map_err(|errno| StartError::Records { directory: directory.into(), errno })?;
    Monitor::new(Given { pod, thread, listener, records, signals }).map_err(StartError::Wait)
}

fn resume(number: i32) -> Result<Monitor, StartError> {
    let (thread, signals) = process::prepare()?;
    let state = sys::inherited_fd(number).map_err(StartError::State)?;
    let bytes = sys::memfd_read(state.as_fd(), limits::HANDOVER_BYTES).map_err(StartError::State)?;
    let state = Handover::from_bytes(&bytes).map_err(StartError::Decode)?;
    Ok(Monitor::resume(state, thread, signals)?)
}
