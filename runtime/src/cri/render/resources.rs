// SPDX-License-Identifier: Apache-2.0
//! Resources of a container, as they were asked for and are in force.

use proto::cri;
use sandbox::config::Resources;

/// `ContainerStatus.resources`; `None` for a container that asked for none.
pub(super) fn resources(set: &Resources) -> Option<cri::ContainerResources> {
    if *set == Resources::default() {
        return None;
    }
    let number = |value: Option<u64>| value.map_or(0, |value| i64::try_from(value).unwrap_or(i64::MAX));
    let linux = cri::LinuxContainerResources {
        cpu_period: number(set.cpu_period_us),
        cpu_quota: number(set.cpu_quota_us),
        cpu_shares: number(set.cpu_shares),
        memory_limit_in_bytes: number(set.memory_limit_bytes),
        oom_score_adj: set.oom_score_adj.unwrap_or_default().into(),
        cpuset_cpus: set.cpuset_cpus.clone().unwrap_or_default(),
        cpuset_mems: set.cpuset_mems.clone().unwrap_or_default(),
        memory_swap_limit_in_bytes: number(set.memory_swap_limit_bytes),
        ..Default::default()
    };
    Some(cri::ContainerResources { linux: Some(linux), windows: None })
}
