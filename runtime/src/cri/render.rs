// SPDX-License-Identifier: Apache-2.0
//! Domain types to answers. The CRI's numbers are made here and nowhere else.

mod container;
mod image;
mod info;
mod pod;
mod resources;

pub(crate) use container::{container, container_state, container_status};
pub(crate) use image::{Digests, image};
pub(crate) use info::info;
pub(crate) use pod::{pod, pod_state, pod_status};

/// A time in the CRI's form: nanoseconds since the epoch, signed.
fn nanoseconds(since_epoch: u64) -> i64 {
    i64::try_from(since_epoch).unwrap_or(i64::MAX)
}

/// Now, in the CRI's form.
pub(crate) fn now() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // A clock before 1970 shows 0, which is what "not set" is to clients.
    since_epoch.map_or(0, |elapsed| nanoseconds(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)))
}
