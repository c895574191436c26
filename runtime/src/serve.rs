// SPDX-License-Identifier: Apache-2.0
//! `husk serve`: from the command line to the last answer.
//!
//! ```text
//!  configuration ▸ log ▸ locks ▸ recover ▸ socket ▸ "husk is ready" ▸ answer … SIGTERM ▸ drain ▸ exit 0
//! ```
//! The socket is made last, so that whoever can connect gets answers; pods run on all the while.

use std::path::Path;

use anyhow::Context as _;
use proto::cri::image_service_server::ImageServiceServer;
use proto::cri::runtime_service_server::RuntimeServiceServer;
use proto::husk::husk_server::HuskServer;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::app::{self, NetworkSource};
use crate::cli;
use crate::config::{self, Config, LogLevel};
use crate::cri::Node;
use crate::instance_lock::InstanceLock;
use crate::limits;
use crate::socket::Socket;

/// Where the configuration is looked for when the command line names none.
const DEFAULT_CONFIG: &str = "/etc/husk/config.toml";

/// Serves until SIGTERM or SIGINT.
pub(crate) fn run(arguments: &cli::Serve) -> anyhow::Result<()> {
    let config = configuration(arguments.config.as_deref())?;
    log_to_stderr(config.log.level);
    raise_descriptor_limit();
    let _state = InstanceLock::take(&config.state, "state")?;
    let _root = InstanceLock::take(&config.root, "root")?;
    let source = if arguments.embedded_network { NetworkSource::Embedded } else { NetworkSource::Configured };
    // One thread answers a call 30 µs sooner than several, and what waits for the disk has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let served = runtime.block_on(serve(config, source));
    // Threads that still wait for a disk or a dead volume must not hold the exit up.
    runtime.shutdown_background();
    served
}

fn configuration(named: Option<&Path>) -> anyhow::Result<Config> {
    let path = match named {
        Some(path) => path,
        None if Path::new(DEFAULT_CONFIG).exists() => Path::new(DEFAULT_CONFIG),
        None => return Ok(Config::default()),
    };
    config::load(path).with_context(|| format!("{} is not a configuration", path.display()))
}

fn log_to_stderr(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // A log that nobody reads any more must not end the daemon: left to itself, the writer would complain about that
    // on standard error, and panic because it cannot.
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours).log_internal_errors(false);
    // All our crates begin with the same word; of others, only what an operator should look into.
    let filter = Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("husk", level);
    tracing_subscriber::registry().with(lines).with(filter).init();
}

/// A pod takes a handful of descriptors; the soft limit of 1024 is for programs that use select(2).
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "raise the limit of open files");
    }
}

async fn serve(config: Config, source: NetworkSource) -> anyhow::Result<()> {
    // From here on a signal is not lost, whatever the start is at.
    let mut signals = Signals::listen()?;
    tracing::info!(config = %serde_json::to_string(&config).unwrap_or_default(), "start husk");
    let path = config.server.socket.clone();
    let node = tokio::select! {
        // A start is a recovery, and one that ends half-way is made good by the next.
        name = signals.stop() => {
            tracing::info!(signal = name, "stop husk before it was ready");
            return Ok(());
        }
        started = app::start(config, source) => started?,
    };
    let socket = Socket::bind(&path)?;
    let listener = UnixListener::from_std(socket.listener()?).context("listen on the socket")?;
    tracing::info!(socket = %socket.path().display(), pid = std::process::id(), "husk is ready");

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let incoming = UnixListenerStream::new(listener);
    let server = services(&node).serve_with_incoming_shutdown(incoming, async move {
        // A sender that is dropped ends the server too.
        let _ = stopped.await;
    });
    let mut server = std::pin::pin!(server);
    let name = tokio::select! {
        ended = &mut server => return ended.context("serve calls"),
        name = signals.stop() => name,
    };
    tracing::info!(signal = name, "stop husk; pods keep running");
    // Nobody new gets in, and what is under way may end.
    drop(socket);
    let _ = stop.send(());
    // What is still under way then is half-made on record, and the next start takes it up.
    match tokio::time::timeout(limits::DRAIN, &mut server).await {
        Ok(ended) => ended.context("serve calls")?,
        Err(_) => tracing::warn!(waited = ?limits::DRAIN, "leave calls unanswered that did not end"),
    }
    tracing::info!("husk has stopped");
    Ok(())
}

fn services(node: &Node) -> tonic::transport::server::Router {
    const MOST: usize = limits::MESSAGE_BYTES;
    let runtime = RuntimeServiceServer::new(node.clone());
    let images = ImageServiceServer::new(node.clone());
    let own = HuskServer::new(node.clone());
    Server::builder()
        .add_service(runtime.max_decoding_message_size(MOST).max_encoding_message_size(MOST))
        .add_service(images.max_decoding_message_size(MOST).max_encoding_message_size(MOST))
        .add_service(own.max_decoding_message_size(MOST).max_encoding_message_size(MOST))
}

/// The signals that mean something to the daemon.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let on = |kind, name| signal(kind).with_context(|| format!("listen for {name}"));
        Ok(Self {
            terminate: on(SignalKind::terminate(), "SIGTERM")?,
            interrupt: on(SignalKind::interrupt(), "SIGINT")?,
            hangup: on(SignalKind::hangup(), "SIGHUP")?,
        })
    }

    /// Waits for a signal that ends the daemon, and tells its name.
    async fn stop(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                // A closed terminal or an operator's habit must not end a node.
                _ = self.hangup.recv() => tracing::info!("ignore SIGHUP; a changed configuration takes a restart"),
            }
        }
    }
}
