// SPDX-License-Identifier: Apache-2.0
//! How long a launch takes, from the call until the program runs.

use std::time::{Duration, Instant};

use crate::container::Container;
use crate::world::{Pod, World};

const ROUNDS: usize = 200;

/// Prints the 5th, the 50th and the 99th percentile of start, exec and pause.
pub(crate) fn run(world: &World) {
    let mut pods = measure(|| {
        let begun = Instant::now();
        let pod = Pod::new(world);
        let time = begun.elapsed();
        drop(pod);
        time
    });
    print("pause until it runs", &mut pods);
    let pod = Pod::new(world);
    let mut starts = measure(|| {
        let container = Container::new(&pod, "exit 0");
        let begun = Instant::now();
        let running = container.start();
        let time = begun.elapsed();
        running.finish().text();
        time
    });
    print("start until the program runs", &mut starts);
    let read = |process: &mut wire::Process| {
        process.args = ["/bin/cat", "/proc/self/schedstat", "/proc/self/status"].map(str::to_owned).to_vec();
    };
    let (time, waits) = costs(|| Container::new(&pod, "").process(read).run().text());
    println!("a start: {time} us on the processor, {waits} waits");
    let container = Container::new(&pod, "sleep 1000");
    let init = container.start();
    let mut execs = measure(|| {
        let begun = Instant::now();
        container.exec(&init, "exit 0").text();
        begun.elapsed()
    });
    print("exec until it has ended", &mut execs);
    let mut process = container.plan.process.clone();
    read(&mut process);
    let (time, waits) = costs(|| container.exec_process(&init, &process).finish().text());
    println!("an exec: {time} us on the processor, {waits} waits");
    init.kill();
}

/// What a launch costs apart from the queue for the processor: its time on it, in microseconds, and how often it gave it
/// up. The kernel counts both per process, so they stay true on a busy machine; the program, `cat`, is in them.
fn costs(mut run: impl FnMut() -> String) -> (u64, u64) {
    let mut times = Vec::new();
    let mut waits = 0;
    for _ in 0..ROUNDS {
        let text = run();
        let number = |text: &str| text.trim().parse::<u64>().unwrap();
        times.push(number(text.split(' ').next().unwrap()) / 1000);
        waits += number(text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap());
    }
    times.sort_unstable();
    (times[ROUNDS / 2], waits / ROUNDS as u64)
}

fn measure(mut one: impl FnMut() -> Duration) -> Vec<Duration> {
    (0..ROUNDS).map(|_| one()).collect()
}

fn print(what: &str, times: &mut [Duration]) {
    times.sort();
    println!(
        "{what}: p5 {:?}, p50 {:?}, p99 {:?}",
        times[times.len() / 20],
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
}
