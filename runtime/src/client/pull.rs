// SPDX-License-Identifier: Apache-2.0
//! `husk image pull`.

use std::io::BufRead as _;
use std::path::Path;

use anyhow::Context as _;
use proto::cri::AuthConfig;
use proto::husk::PullImageRequest;
use proto::husk::husk_client::HuskClient;
use proto::husk::pull_image_progress::Event;

use super::progress::Display;
use super::{connect, said};
use crate::cli::{self, UsageError};
use crate::limits;

/// Longest line of credentials on standard input, in bytes.
const CREDS_BYTES: u64 = 64 * 1024;

/// Pulls an image, shows how far each layer is on standard error, and prints the image's id.
pub(super) async fn run(socket: &Path, reference: String, creds: Option<String>) -> anyhow::Result<()> {
    let auth = creds.map(credentials).transpose()?;
    let client = HuskClient::new(connect(socket).await?);
    let mut client = client.max_decoding_message_size(limits::MESSAGE_BYTES);
    let request = PullImageRequest { reference, auth };
    let mut events = client.pull_image(request).await.map_err(|status| said(&status))?.into_inner();
    let mut display = Display::for_stderr();
    while let Some(message) = events.message().await.map_err(|status| said(&status))? {
        match message.event {
            Some(Event::Resolved(image)) => display.resolved(&image),
            Some(Event::Layer(layer)) => display.layer(&layer),
            Some(Event::Done(image)) => {
                display.finish();
                return cli::print(&format!("{} {}\n", image.image_id, image.reference));
            }
            // A newer daemon has more to tell than this client knows.
            None => {}
        }
    }
    anyhow::bail!("the daemon ended the pull without a result; is it stopping?")
}

fn credentials(text: String) -> anyhow::Result<AuthConfig> {
    let text = if text == "-" { first_line()? } else { text };
    let Some((username, password)) = text.split_once(':') else {
        return Err(UsageError("--creds wants USER:PASSWORD".to_owned()).into());
    };
    Ok(AuthConfig { username: username.to_owned(), password: password.to_owned(), ..AuthConfig::default() })
}

fn first_line() -> anyhow::Result<String> {
    let mut line = String::new();
    let input = std::io::Read::take(std::io::stdin().lock(), CREDS_BYTES);
    std::io::BufReader::new(input).read_line(&mut line).context("read the credentials")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_the_command_line() {
        let auth = credentials("me:pass:word".to_owned()).unwrap();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("me", "pass:word"));
        let error = credentials("me".to_owned()).unwrap_err();
        assert!(error.is::<UsageError>() && !error.to_string().contains("\"me\""), "{error}");
    }
}
