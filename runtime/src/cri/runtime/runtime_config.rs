// SPDX-License-Identifier: Apache-2.0
//! `RuntimeConfig`: which cgroup driver the kubelet must use; constant while the daemon lives.

use proto::cri::{CgroupDriver, LinuxRuntimeConfiguration, RuntimeConfigRequest, RuntimeConfigResponse};
use tonic::Status;

use crate::config;
use crate::cri::Node;

pub(super) async fn answer(node: &Node, _: RuntimeConfigRequest) -> Result<RuntimeConfigResponse, Status> {
    let driver = match node.config.cgroup.driver {
        config::CgroupDriver::Cgroupfs => CgroupDriver::Cgroupfs,
    };
    let linux = LinuxRuntimeConfiguration { cgroup_driver: driver.into() };
    Ok(RuntimeConfigResponse { linux: Some(linux) })
}
