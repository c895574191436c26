// SPDX-License-Identifier: Apache-2.0
//! The command line.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The shell around your pods: a Kubernetes CRI v1 runtime.
///
/// `husk serve` is the daemon that the kubelet and crictl talk to; the other commands are for people. Pods outlive the
/// daemon: it can be stopped, replaced and started again while they run.
#[derive(Debug, Parser)]
#[command(name = "husk", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the CRI on a unix socket until SIGTERM, which leaves pods running.
    Serve(Serve),
    /// Load, pull and list images through a running daemon.
    Image(Image),
    /// Show the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// `husk serve`.
#[derive(Debug, Args)]
#[command(after_help = "Point clients at the socket, for example:\n  \
                        crictl --runtime-endpoint unix:///run/husk/husk.sock pods\n  \
                        kubelet --container-runtime-endpoint unix:///run/husk/husk.sock")]
pub(crate) struct Serve {
    /// Configuration file (TOML). Without it, /etc/husk/config.toml if there is one, else the defaults, which
    /// `husk config default` prints with comments.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Give pods addresses on a bridge of husk's own, with the plugins bridge, host-local and portmap, instead of
    /// using the node's CNI configuration. For trying husk on a machine that has no cluster network.
    #[arg(long)]
    pub(crate) embedded_network: bool,
}

/// `husk image`.
#[derive(Debug, Args)]
pub(crate) struct Image {
    /// The daemon's socket.
    #[arg(long, value_name = "PATH", default_value = "/run/husk/husk.sock", global = true)]
    pub(crate) socket: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: ImageCommand,
}

/// What can be done with images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Load the images of an archive: an OCI image layout or the output of `docker save`, plain or compressed.
    Load {
        /// The archive, on the daemon's machine.
        #[arg(value_name = "FILE")]
        archive: PathBuf,
    },
    /// Pull an image from its registry, with a progress bar for each layer.
    Pull {
        /// The image, for example nginx, quay.io/a/b:1 or c/d@sha256:…
        #[arg(value_name = "IMAGE")]
        reference: String,
        /// Credentials for the registry. `-` reads the line USER:PASSWORD from standard input, where `ps` does not
        /// show it.
        #[arg(long, value_name = "USER:PASSWORD")]
        creds: Option<String>,
    },
    /// List the images of this node.
    Ls,
}

/// What can be shown of the configuration.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every key with its comment and its default, as a file to begin with.
    Default,
}

/// A command line that clap takes and husk does not.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Writes to standard output. Whoever reads it may leave early.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Writes a line to standard error, which there is nothing left to tell about when it fails.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Arguments::try_parse_from(line.split(' ')).map(|arguments| arguments.command)
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn lines_that_people_write() {
        let Ok(Command::Serve(serve)) = parse("husk serve --config /a.toml --embedded-network") else {
            panic!("serve")
        };
        assert_eq!((serve.config, serve.embedded_network), (Some("/a.toml".into()), true));
        let Ok(Command::Image(image)) = parse("husk image pull nginx --creds a:b --socket /s") else { panic!("pull") };
        assert_eq!(image.socket, PathBuf::from("/s"));
        assert!(
            matches!(image.command, ImageCommand::Pull { reference, creds } if reference == "nginx" && creds.as_deref() == Some("a:b"))
        );
        let Ok(Command::Image(image)) = parse("husk image load /a.tar") else { panic!("load") };
        assert!(matches!(image.command, ImageCommand::Load { archive } if archive.as_os_str() == "/a.tar"));
        assert_eq!(image.socket, PathBuf::from("/run/husk/husk.sock"));
        assert!(matches!(parse("husk config default"), Ok(Command::Config(ConfigCommand::Default))));
        for wrong in
            ["husk", "husk serv", "husk serve extra", "husk image", "husk image load", "husk image pull", "husk config"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn help_says_what_everything_is_for() {
        let help = |names: &[&str]| {
            let mut command = Arguments::command();
            command.build();
            let found = names.iter().fold(&mut command, |found, name| found.find_subcommand_mut(name).unwrap());
            found.render_long_help().to_string()
        };
        let table: [(&[&str], &[&str]); 6] = [
            (&[], &["serve", "image", "config", "CRI v1 runtime"]),
            (
                &["serve"],
                &["--config <FILE>", "--embedded-network", "/etc/husk/config.toml", "crictl --runtime-endpoint"],
            ),
            (&["image"], &["load", "pull", "ls", "--socket <PATH>", "[default: /run/husk/husk.sock]"]),
            (&["image", "pull"], &["<IMAGE>", "--creds <USER:PASSWORD>", "standard input"]),
            (&["image", "load"], &["<FILE>", "docker save"]),
            (&["config"], &["default"]),
        ];
        for (names, words) in table {
            let text = help(names);
            for word in words {
                assert!(text.contains(word), "{names:?} lacks {word:?}:\n{text}");
            }
        }
        let version = Arguments::command().render_version();
        assert_eq!(version, format!("husk {}\n", env!("CARGO_PKG_VERSION")));
    }
}
