// SPDX-License-Identifier: Apache-2.0
//! Memory and swap, and the count of processes that the OOM killer took.

use rustix::io::Errno;

use crate::cgroup::{Opened, Place};
use crate::controller::Controller;
use crate::dir::{Dir, FileName};
use crate::error::Error;
use crate::flat_keyed;
use crate::journal::Journal;
use crate::resources::{Ceiling, Limits};
use crate::tree;

pub(super) const V1_LIMIT: FileName<'static> = FileName::fixed("memory.limit_in_bytes");
const V1_SWAP: FileName<'static> = FileName::fixed("memory.memsw.limit_in_bytes");
const V1_USAGE: FileName<'static> = FileName::fixed("memory.usage_in_bytes");
const V1_OOM: FileName<'static> = FileName::fixed("memory.oom_control");
pub(super) const V2_MAX: FileName<'static> = FileName::fixed("memory.max");
const V2_SWAP: FileName<'static> = FileName::fixed("memory.swap.max");
const V2_USAGE: FileName<'static> = FileName::fixed("memory.current");
const V2_EVENTS: FileName<'static> = FileName::fixed("memory.events");

/// The files that exist only where the kernel accounts swap: on v1 in every cgroup, on v2 in all but the root.
pub(crate) const SWAP_FILES: [FileName<'static>; 2] = [V1_SWAP, V2_SWAP];

pub(super) fn apply<'d>(cgroup: &'d Opened, limits: &'d Limits, journal: &mut Journal<'d>) -> Result<(), Error> {
    if limits.memory_limit_bytes.is_none() && limits.memory_swap_limit_bytes.is_none() {
        return Ok(());
    }
    match cgroup.place(Controller::Memory)? {
        Place::V1(dir) => v1(dir, limits, journal),
        Place::V2(dir) => v2(dir, limits, journal),
    }
}

fn v1<'d>(dir: &'d Dir, limits: &Limits, journal: &mut Journal<'d>) -> Result<(), Error> {
    let Some(swap) = limits.memory_swap_limit_bytes else {
        return v1_limit(dir, limits, journal);
    };
    let old = dir.read(V1_SWAP)?.ok_or_else(|| no_swap(dir))?;
    let old = flat_keyed::number(&old).ok_or_else(|| dir.odd_content(V1_SWAP, &old))?;
    // The kernel keeps memory ≤ memory+swap at every moment: the greater goes up first and comes down last.
    let swap_first = limits.memory_limit_bytes.is_some_and(|limit| limit.or_most() > old);
    if swap_first {
        journal.set(dir, V1_SWAP, &swap.v1())?;
    }
    v1_limit(dir, limits, journal)?;
    if !swap_first {
        // EBUSY: so much memory and swap together cannot be freed.
        journal.set(dir, V1_SWAP, &swap.v1()).map_err(|error| below_usage(dir, swap, error))?;
    }
    Ok(())
}

fn v1_limit<'d>(dir: &'d Dir, limits: &Limits, journal: &mut Journal<'d>) -> Result<(), Error> {
    let Some(limit) = limits.memory_limit_bytes else {
        return Ok(());
    };
    // EBUSY: the kernel has tried to free what is above the new limit, and could not.
    journal.set(dir, V1_LIMIT, &limit.v1()).map_err(|error| below_usage(dir, limit, error))?;
    Ok(())
}

fn below_usage(dir: &Dir, limit: Ceiling, error: Error) -> Error {
    if !matches!(error, Error::Write { cause: Errno::BUSY, .. }) {
        return error;
    }
    match dir.read(V1_USAGE).ok().flatten().as_deref().and_then(flat_keyed::number) {
        Some(usage_bytes) => {
            Error::BelowUsage { path: dir.path().to_owned(), limit_bytes: limit.or_most(), usage_bytes }
        }
        None => error,
    }
}

fn v2<'d>(dir: &'d Dir, limits: &Limits, journal: &mut Journal<'d>) -> Result<(), Error> {
    if let Some(limit) = limits.memory_limit_bytes {
        // Where v1 answers EBUSY, v2 kills processes until the limit fits. KEP-1287: the runtime should refuse a
        // decrease below the usage; between this reading and the write the usage may grow, which no runtime can help.
        if let (Ceiling::At(limit_bytes), Some(text)) = (limit, dir.read(V2_USAGE)?) {
            let usage_bytes = flat_keyed::number(&text).ok_or_else(|| dir.odd_content(V2_USAGE, &text))?;
            if usage_bytes > limit_bytes {
                return Err(Error::BelowUsage { path: dir.path().to_owned(), limit_bytes, usage_bytes });
            }
        }
    }
    // The swap limit is worked out before anything is written: it may need the memory limit that stands now.
    let swap = match limits.memory_swap_limit_bytes {
        None => None,
        Some(Ceiling::Unlimited) => Some("max".to_owned()),
        Some(Ceiling::At(both)) => Some(v2_swap(dir, limits, both)?),
    };
    if let Some(limit) = limits.memory_limit_bytes {
        journal.set(dir, V2_MAX, &limit.v2())?;
    }
    match swap {
        Some(value) if !journal.set(dir, V2_SWAP, &value)? => Err(no_swap(dir)),
        _ => Ok(()),
    }
}

/// `memory.swap.max` for a limit on memory and swap together: v2 counts swap alone.
fn v2_swap(dir: &Dir, limits: &Limits, both: u64) -> Result<String, Error> {
    let memory = match limits.memory_limit_bytes {
        Some(Ceiling::At(limit)) => Some(limit),
        Some(Ceiling::Unlimited) => None,
        None => dir.read(V2_MAX)?.as_deref().and_then(flat_keyed::number),
    };
    let swap = memory.and_then(|memory| both.checked_sub(memory)).ok_or_else(|| Error::Value {
        field: "memory_swap_limit_bytes",
        value: both.to_string(),
        wanted: "at least the memory limit, which must be set, because it counts memory and swap together",
    })?;
    Ok(swap.to_string())
}

fn no_swap(dir: &Dir) -> Error {
    Error::NoSwapAccounting { path: dir.path().to_owned() }
}

/// Where the OOM killer's count of a cgroup stands.
pub(crate) struct OomCounter<'d> {
    dir: &'d Dir,
    /// The file that holds the count, and whose change announces an OOM.
    pub(crate) file: FileName<'static>,
    reach: Reach,
}

/// What a count covers.
enum Reach {
    /// v2: the cgroup and all that are or were below it.
    Hierarchical,
    /// v1: one cgroup only, so those below are read too; what was removed is lost.
    Local,
}

impl<'d> OomCounter<'d> {
    pub(crate) fn at(place: &Place<'d>) -> Self {
        match *place {
            Place::V1(dir) => Self { dir, file: V1_OOM, reach: Reach::Local },
            Place::V2(dir) => Self { dir, file: V2_EVENTS, reach: Reach::Hierarchical },
        }
    }

    /// How many processes the OOM killer has taken; `None` when the cgroup is gone or the kernel does not count.
    pub(crate) fn read(&self) -> Result<Option<u64>, Error> {
        let of = |dir: &Dir| Ok(dir.read(self.file)?.and_then(|text| flat_keyed::value_of(&text, "oom_kill")));
        match self.reach {
            Reach::Hierarchical => of(self.dir),
            Reach::Local => {
                let mut sum: Option<u64> = None;
                tree::each(self.dir, |dir| {
                    if let Some(count) = of(dir)? {
                        sum = Some(sum.unwrap_or(0).saturating_add(count));
                    }
                    Ok(())
                })?;
                Ok(sum)
            }
        }
    }
}
