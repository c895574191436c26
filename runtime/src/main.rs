// SPDX-License-Identifier: Apache-2.0
//! husk: the shell around your pods. The daemon (`husk serve`) and the command line.
//!
//! ```text
//!  cli ──▶ serve ──▶ app (wiring) ──▶ cri::Node ──▶ sandbox::Pods, image::Store, cni_client::Client
//!    │                                   ▲
//!    └──▶ client ──── unix socket ───────┘   husk.v1 and runtime.v1
//! ```
//!
//! What it must not do: fork, enter a namespace, or keep state of its own; that is the crates' below.

mod app;
mod cli;
mod client;
mod config;
mod cri;
mod embedded;
mod embedded_network;
mod instance_lock;
mod limits;
mod own;
mod ports;
mod serve;
mod socket;
mod subnet;

use std::process::ExitCode;

use clap::Parser as _;

/// The exit code for a wrong command line or configuration (sysexits(3) EX_USAGE).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are errors to clap too, but not to us. A closed pipe is nobody's fault.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match arguments.command {
        cli::Command::Serve(serve) => serve::run(&serve),
        cli::Command::Image(image) => client::run(image),
        cli::Command::Config(cli::ConfigCommand::Default) => cli::print(&config::print_default()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::complain(&format!("husk: {error:#}"));
            let usage = error.is::<config::Faults>() || error.is::<cli::UsageError>();
            if usage { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}
