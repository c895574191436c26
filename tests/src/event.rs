// SPDX-License-Identifier: Apache-2.0
//! Waiting for descriptors from async code, on a thread that may block.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};

use crate::process::timespec;

/// Waits until one of the descriptors can be read and gives its place in the list; `None` when `limit`
/// has passed.
///
/// # Errors
/// When poll(2) fails.
pub async fn first_readable(fds: &[Arc<OwnedFd>], limit: Duration) -> Result<Option<usize>> {
    let fds = fds.to_vec();
    tokio::task::spawn_blocking(move || wait(&fds, limit)).await.context("the waiting thread panicked")?
}

fn wait(fds: &[Arc<OwnedFd>], limit: Duration) -> Result<Option<usize>> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(fd.as_ref(), PollFlags::IN)).collect();
        match poll(&mut polled, Some(&timespec(left))) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(polled.iter().position(|fd| !fd.revents().is_empty())),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
    }
}
