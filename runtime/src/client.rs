// SPDX-License-Identifier: Apache-2.0
//! The commands for images: a client of the running daemon.

mod load;
mod ls;
mod progress;
mod pull;

use std::path::Path;

use anyhow::{Context as _, bail};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::cli::{Image, ImageCommand};

/// Carries out an image command.
pub(crate) fn run(image: Image) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match image.command {
            ImageCommand::Load { archive } => load::run(&image.socket, &archive).await,
            ImageCommand::Pull { reference, creds } => pull::run(&image.socket, reference, creds).await,
            ImageCommand::Ls => ls::run(&image.socket).await,
        }
    })
}

/// Connects to the daemon.
async fn connect(socket: &Path) -> anyhow::Result<Channel> {
    let Some(path) = socket.to_str() else { bail!("the path of the socket, {}, is not UTF-8", socket.display()) };
    let endpoint = Endpoint::from_shared(format!("unix://{path}")).context("the path of the socket")?;
    endpoint.connect().await.map_err(|error| {
        // The transport's layers say the same thing each; the innermost says it alone.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        anyhow::anyhow!("no husk answers at {}: {cause}; is `husk serve` running there?", socket.display())
    })
}

/// The daemon's own sentence; the code says nothing more to a person.
fn said(status: &Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}
