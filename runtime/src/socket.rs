// SPDX-License-Identifier: Apache-2.0
//! The unix socket that calls come in on.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::limits;

/// Who may connect: root and root's group.
const MODE: u32 = 0o660;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// The path does not fit into an address.
    #[error("the path of the socket, {}, is longer than {} bytes; set [server] socket to a shorter one", path.display(), limits::SOCKET_PATH_BYTES)]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// Somebody answers there.
    #[error("{} is served by another process; stop it, or set [server] socket to another path", path.display())]
    Served {
        /// The path.
        path: PathBuf,
    },
    /// What is there is no socket and was not made by husk.
    #[error("{} is there and is not a socket; remove it, or set [server] socket to another path", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("{doing} {}: {error}", path.display())]
    File {
        /// `bind`, `rename` …
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        error: io::Error,
    },
}

/// The socket; its path is removed with the value.
#[derive(Debug)]
pub(crate) struct Socket {
    /// What accepts connections; does not block.
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Makes the socket. A stale one of a daemon that is gone is replaced at once, without a moment in which there is
    /// none.
    ///
    /// # Errors
    /// When somebody serves at that path, or something else than a socket is there.
    pub(crate) fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |doing| move |error| SocketError::File { doing, path: path.to_owned(), error };
        // The temporary name is the longer one.
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        if temporary.as_os_str().len() > limits::SOCKET_PATH_BYTES {
            return Err(SocketError::TooLong { path: path.to_owned() });
        }
        if let Some(dir) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(failed("make the directory of"))?;
        }
        nobody_serves(path)?;
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove the half-made")(error)),
            _ => {}
        }
        // To connect one needs to be allowed to write, which the usual umask forbids to others from the beginning.
        let listener = UnixListener::bind(&temporary).map_err(failed("bind"))?;
        std::fs::set_permissions(&temporary, Permissions::from_mode(MODE)).map_err(failed("set the mode of"))?;
        listener.set_nonblocking(true).map_err(failed("configure"))?;
        std::fs::rename(&temporary, path).map_err(failed("rename to"))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// The accepting end, for the server.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub(crate) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Nothing is left to do when it fails: the next daemon replaces a stale one.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn nobody_serves(path: &Path) -> Result<(), SocketError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(SocketError::File { doing: "read", path: path.to_owned(), error }),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::Served { path: path.to_owned() }),
        // Nobody has it open any more.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(SocketError::File { doing: "connect to", path: path.to_owned(), error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_served_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/husk.sock");
        let socket = Socket::bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o660);
        assert!(UnixStream::connect(socket.path()).is_ok());
        assert!(matches!(Socket::bind(&path), Err(SocketError::Served { .. })));
        drop(socket);
        assert!(!path.exists());

        // A killed daemon leaves its socket and perhaps a half-made one.
        drop(UnixListener::bind(&path).unwrap());
        drop(UnixListener::bind(dir.path().join("run/husk.sock.new")).unwrap());
        let again = Socket::bind(&path).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        drop(again);
    }

    #[test]
    fn other_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("husk.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        let long = dir.path().join("x".repeat(120));
        assert!(matches!(Socket::bind(&long), Err(SocketError::TooLong { .. })));
    }
}
