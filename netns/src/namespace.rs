// SPDX-License-Identifier: Apache-2.0
//! The network namespace itself.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::{self, Builder};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::birth;
use crate::error::Error;
use crate::interface::{Address, Link};
use crate::pin::{self, Reservation};
use crate::route::RouteSocket;

/// A pinned network namespace. Dropping the value closes the descriptor and nothing else: the
/// namespace lives until its pin is removed.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    pin: PathBuf,
    id: NetnsId,
}

/// What tells one living namespace from another: device and inode of its nsfs file (namespaces(7)).
/// The kernel may give the number of a dead one to a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsId {
    /// The device number of nsfs.
    pub device: u64,
    /// The inode number, as in `net:[4026531840]`.
    pub inode: u64,
}

impl fmt::Display for NetnsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.inode)
    }
}

impl NetnsId {
    /// The namespace that the calling thread is in.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn of_this_thread() -> Result<Self, Error> {
        Self::of(&birth::open_own()?)
    }

    fn of(fd: &OwnedFd) -> Result<Self, Error> {
        let stat = rustix::fs::fstat(fd).map_err(|e| Error::call("fstat(nsfs)", e))?;
        Ok(Self { device: stat.st_dev, inode: stat.st_ino })
    }
}

impl Netns {
    /// Makes a namespace, brings its `lo` up (127.0.0.1 and ::1), switches router advertisements off
    /// for the interfaces that come later, and mounts it at `pin`. The directory of the pin is made
    /// when it is missing (0755).
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when anything is at the path, [`Error::InvalidPin`] for a relative
    /// path, else the failed call. Then nothing is left behind.
    pub fn create(pin: &Path) -> Result<Self, Error> {
        let reservation = Reservation::make(pin)?;
        let fd = on_thread(pin, || birth::give_birth(pin))??;
        let pin = reservation.keep();
        let id = NetnsId::of(&fd)?;
        Ok(Self { fd, pin, id })
    }

    /// Opens a namespace that was pinned before, by this or another process.
    ///
    /// # Errors
    /// [`Error::NotFound`] when nothing is there, [`Error::NotANamespace`] when something else is.
    pub fn open(pin: &Path) -> Result<Self, Error> {
        // Without O_NONBLOCK, a FIFO in its place would hang the caller.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(pin, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Err(Error::NotFound { pin: pin.into() }),
            Err(Errno::LOOP | Errno::NXIO) => {
                return Err(Error::NotANamespace { pin: pin.into() });
            }
            Err(e) => return Err(Error::path("open(O_RDONLY|O_NOFOLLOW)", pin, e)),
        };
        if !pin::is_nsfs(&fd)? {
            return Err(Error::NotANamespace { pin: pin.into() });
        }
        let id = NetnsId::of(&fd)?;
        let netns = Self { fd, pin: pin.into(), id };
        // All types of namespaces share one file system; entering tells which it is (EINVAL).
        match netns.run(|| ()) {
            Err(Error::Call { source, .. }) if Errno::from_io_error(&source) == Some(Errno::INVAL) => {
                Err(Error::NotANamespace { pin: pin.into() })
            }
            Err(e) => Err(e),
            Ok(()) => Ok(netns),
        }
    }

    /// Takes the pin away; the namespace ends with its last process, socket and descriptor. May be
    /// repeated: nothing at the path, or an empty file left by a crash or a reboot, is fine.
    ///
    /// # Errors
    /// [`Error::NotANamespace`] for anything else at the path, which stays; else the failed call.
    pub fn remove(pin: &Path) -> Result<(), Error> {
        pin::remove(pin)
    }

    /// What tells this namespace from others.
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// The open nsfs file, for setns(2).
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Where it is pinned.
    pub fn path(&self) -> &Path {
        &self.pin
    }

    /// Runs `f` inside the namespace, on a thread that is made for it and ends with it. The calling
    /// thread blocks meanwhile. A socket that `f` makes stays in the namespace wherever it is used.
    ///
    /// # Errors
    /// When no thread can be made or entered, and [`Error::Panicked`] when `f` panics.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, Error> {
        on_thread(&self.pin, || {
            move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|e| Error::call("setns(CLONE_NEWNET)", e))?;
            Ok(f())
        })?
    }

    /// All interfaces of the namespace, in the order of their indices.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn links(&self) -> Result<Vec<Link>, Error> {
        let messages = self.run(|| RouteSocket::open()?.links())??;
        let mut links: Vec<Link> = messages.iter().filter_map(Link::from_message).collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The addresses of one interface, in the kernel's order: IPv4 first, then IPv6.
    ///
    /// # Errors
    /// [`Error::NoInterface`] when there is none of that name, else when the kernel cannot be asked.
    pub fn addresses(&self, interface: &str) -> Result<Vec<Address>, Error> {
        let (links, addresses) = self.run(|| {
            let mut socket = RouteSocket::open()?;
            Ok::<_, Error>((socket.links()?, socket.addresses()?))
        })??;
        let index = links
            .iter()
            .filter_map(Link::from_message)
            .find(|link| link.name == interface)
            .map(|link| link.index)
            .ok_or_else(|| Error::NoInterface { pin: self.pin.clone(), interface: interface.into() })?;
        Ok(addresses.iter().filter(|message| message.header.index == index).filter_map(Address::from_message).collect())
    }
}

fn on_thread<T: Send>(pin: &Path, f: impl FnOnce() -> T + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let thread =
            Builder::new().name("netns".into()).spawn_scoped(scope, f).map_err(|e| Error::call("clone(thread)", e))?;
        thread.join().map_err(|_| Error::Panicked { pin: pin.into() })
    })
}
