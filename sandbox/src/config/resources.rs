// SPDX-License-Identifier: Apache-2.0
//! Resources of a container (CRI `LinuxContainerResources`): only what is set.

use serde::{Deserialize, Serialize};

/// Resources; a `None` leaves the kernel's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// CFS period in microseconds.
    pub cpu_period_us: Option<u64>,
    /// CFS quota in microseconds per period; `Some(-1)` is not kept, it is `None`.
    pub cpu_quota_us: Option<u64>,
    /// Relative weight, 2 and up.
    pub cpu_shares: Option<u64>,
    /// Memory limit in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Memory plus swap limit in bytes.
    pub memory_swap_limit_bytes: Option<u64>,
    /// `oom_score_adj`, −1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// CPUs, as the kernel writes lists.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes, as the kernel writes lists.
    pub cpuset_mems: Option<String>,
}
