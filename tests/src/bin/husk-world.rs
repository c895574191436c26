// SPDX-License-Identifier: Apache-2.0
//! Runs a program in a world of its own: a node, a daemon, a registry with one image. The world is taken down
//! afterwards, and whatever is left of it is an error.
//!
//! ```text
//! husk-world PROGRAM [ARGUMENT…]
//! ```
//! The program finds in its environment: `HUSK_SOCKET`; `HUSK_IMAGE`, a reference in the registry; `HUSK_CGROUP`, a
//! cgroup parent; `HUSK_WORK`, a directory. Without arguments it is a shell.

use std::env;
use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use husk_tests::images::Image;
use husk_tests::registry::{Access, Registry};
use husk_tests::world::World;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut words: Vec<OsString> = env::args_os().skip(1).collect();
    if words.is_empty() {
        words.push("/bin/bash".into());
    }
    let world = World::new("world").await?;
    world
        .live(async |world| {
            let registry = Registry::start(world.node(), &world.directory().join("registry"), Access::Open)?;
            registry.push(world.node(), "husk/busybox", "1", &Image::busybox()?.build())?;
            let mut command = Command::new(&words[0]);
            command
                .args(&words[1..])
                .env("HUSK_SOCKET", &world.daemon.settings().socket)
                .env("HUSK_IMAGE", registry.reference("husk/busybox", "1"))
                .env("HUSK_CGROUP", world.ground.cgroup.path())
                .env("HUSK_WORK", world.directory());
            let node = std::sync::Arc::clone(&world.ground.node);
            // On another thread: the daemon's answers to this process must go on being read.
            let ended = tokio::task::spawn_blocking(move || node.run(move || command.status())).await?;
            let status = ended?.context("run the program")?;
            ensure!(status.success(), "the program ended with {status}");
            Ok(())
        })
        .await
}
