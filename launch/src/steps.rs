// SPDX-License-Identifier: Apache-2.0
//! The interpreter of a plan: one short loop, and one file per family of steps.

mod attach;
mod cgroup_mounts;
mod devices;
mod kernel_mounts;
mod mask;
mod overlay;
mod pod;

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};

use sys::SingleThreaded;
use wire::{Plan, Step};

use self::attach::Source;
pub(crate) use self::pod::pivot_to;
use crate::channel::Reporter;
use crate::failure::{Named, Result, refuse};
use crate::in_root::Root;

/// What the steps of one launch have made so far.
#[derive(Debug)]
pub(crate) struct Builder<'a> {
    single: &'a SingleThreaded,
    reporter: &'a Reporter,
    /// The pidfd of the pod's pause.
    pause: BorrowedFd<'a>,
    /// The container's root file system, until it is attached.
    overlay: Option<OwnedFd>,
    /// Mount sources by slot.
    slots: BTreeMap<u16, Source>,
    /// The host's `/dev/null`, verified, as a mount: detached until the first use, then where it was used first.
    null: Option<mask::Cover>,
    /// An empty directory, likewise.
    empty: Option<mask::Cover>,
    /// The container's root file system, once it is attached.
    root: Option<Root>,
    /// The process's end of its terminal.
    terminal: Option<OwnedFd>,
    wants_terminal: bool,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(single: &'a SingleThreaded, reporter: &'a Reporter, pause: BorrowedFd<'a>) -> Self {
        Self {
            single,
            reporter,
            pause,
            overlay: None,
            slots: BTreeMap::new(),
            null: None,
            empty: None,
            root: None,
            terminal: None,
            wants_terminal: false,
        }
    }

    /// Runs every step of `plan`. Returns the process's end of its terminal when it wants one.
    pub(crate) fn run(mut self, plan: &Plan) -> Result<Option<OwnedFd>> {
        self.wants_terminal = plan.process.terminal;
        if plan.steps.iter().any(|step| matches!(step, Step::Mask { .. })) {
            self.open_null().step(|| "open /dev/null of the host for masked paths".to_owned())?;
        }
        for (index, step) in plan.steps.iter().enumerate() {
            if may_block(step) {
                self.reporter.progress(index)?;
            }
            self.execute(step).step(|| step.to_string())?;
        }
        if plan.process.terminal && self.terminal.is_none() {
            return Err(refuse("the process wants a terminal and the plan has no step that makes devices"));
        }
        Ok(self.terminal)
    }

    fn execute(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Overlay { lower, upper, work } => self.make_overlay(lower, upper, work),
            Step::OpenSource { slot, path, missing } => self.open_source(*slot, path, *missing),
            Step::EnterPod { namespaces } => self.enter_pod(*namespaces),
            Step::UnshareCgroup => self.unshare_cgroup(),
            Step::AttachRoot => self.attach_root(),
            Step::Proc { target } => self.mount_proc(target),
            Step::Sysfs { target, access } => self.mount_sysfs(target, *access),
            Step::Cgroups { target, mounts, access } => self.mount_cgroups(target, mounts, *access),
            Step::Mqueue { target } => self.mount_mqueue(target),
            Step::Dev { target, nodes, tty_gid } => self.mount_dev(target, nodes, *tty_gid),
            Step::Shm { target } => self.mount_shm(target),
            Step::Tmpfs { target, data, access } => self.mount_tmpfs(target, data, *access),
            Step::Attach { slot, target, access } => self.attach_source(*slot, target, *access),
            Step::Mask { target } => self.mask(target),
            Step::ReadonlyPath { target } => self.make_path_read_only(target),
            Step::ReadonlyRoot => self.make_root_read_only(),
            Step::Pivot => self.pivot(),
        }
    }

    fn root(&self) -> Result<&Root> {
        self.root.as_ref().ok_or_else(|| refuse("the plan names a path in the root before the root is attached"))
    }
}

/// Steps that touch a volume, which may be dead, or a disk, which may hang.
fn may_block(step: &Step) -> bool {
    matches!(step, Step::Overlay { .. } | Step::OpenSource { .. } | Step::Attach { .. })
}
