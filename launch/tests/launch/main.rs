// SPDX-License-Identifier: Apache-2.0
//! Launches with the real kernel, as root: pause, containers, execs and log files, and nothing left afterwards.
//!
//! `cargo test -p husk-launch --test launch -- NAME` runs the cases whose name contains NAME; `-- --bench` measures a
//! start instead.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking; clippy does not see a test without libtest")]
#![expect(clippy::print_stdout, reason = "it is its own test runner")]

mod attack_cases;
mod bench;
mod container;
mod exec_cases;
mod mount_cases;
mod pod_cases;
mod process_cases;
mod program_cases;
mod terminal_cases;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use sys::SingleThreaded;
use world::World;

/// A named test.
type Case = (&'static str, fn(&World));

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let world = World::new(SingleThreaded::assert().unwrap());
    if std::env::args().any(|arg| arg == "--bench") {
        bench::run(&world);
        return;
    }
    let all = [
        pod_cases::CASES,
        process_cases::CASES,
        program_cases::CASES,
        mount_cases::CASES,
        attack_cases::CASES,
        terminal_cases::CASES,
        exec_cases::CASES,
    ];
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in all.into_iter().flatten() {
        if filter.as_ref().is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        let before = world.census();
        let mut ok = catch_unwind(AssertUnwindSafe(|| case(&world))).is_ok();
        let after = world.census();
        if before != after {
            println!("left behind: {before:#?}\n{after:#?}");
            ok = false;
        }
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        if ok { passed += 1 } else { failed += 1 }
    }
    let cgroups = world.cgroup();
    drop(world);
    for directory in cgroups.v1.iter().chain(&cgroups.unified) {
        if std::path::Path::new(directory).exists() {
            println!("left behind: {directory}");
            failed += 1;
        }
    }
    println!("\ntest result: {}. {passed} passed; {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    std::process::exit(i32::from(failed != 0 || passed == 0));
}
