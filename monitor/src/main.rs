// SPDX-License-Identifier: Apache-2.0
//! The program `husk-monitor`; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(husk_monitor::main(std::env::args_os()))
}
