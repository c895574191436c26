// SPDX-License-Identifier: Apache-2.0
//! The monitor as a process: a real socket, real cgroups, real containers with busybox, as root on this machine.
//!
//! Each test opens a pod of its own and takes back everything that it made, also when it fails.

#[cfg(test)]
mod client;
#[cfg(test)]
mod exec;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod life;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod reexec;
#[cfg(test)]
mod rootfs;
