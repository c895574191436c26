// SPDX-License-Identifier: Apache-2.0
//! `Status`: the node's health, from memory, so that it answers whatever hangs.

use std::collections::HashMap;

use cni_client::Snapshot;
use proto::cri::{
    RuntimeCondition, RuntimeFeatures, RuntimeHandler, RuntimeHandlerFeatures, RuntimeStatus, StatusRequest,
    StatusResponse,
};
use serde_json::json;
use tonic::Status;

use crate::cri::Node;
use crate::cri::parse::HANDLER;

pub(super) async fn answer(node: &Node, request: StatusRequest) -> Result<StatusResponse, Status> {
    let network = node.network.configuration();
    let pending = node.network.ledger().pending().len();
    let conditions = vec![runtime_ready(), network_ready(&network), network_released(pending)];
    Ok(StatusResponse {
        status: Some(RuntimeStatus { conditions }),
        info: if request.verbose { info(node, &network) } else { HashMap::new() },
        // The default handler is there under its name and under none, as the kubelet looks it up.
        runtime_handlers: ["", HANDLER].map(handler).into(),
        features: Some(RuntimeFeatures::default()),
    })
}

/// Whoever gets an answer has a daemon that has recovered and serves.
fn runtime_ready() -> RuntimeCondition {
    RuntimeCondition { r#type: "RuntimeReady".to_owned(), status: true, ..Default::default() }
}

/// Pods can be given addresses. Pods on the host's network work in any case.
fn network_ready(network: &Snapshot) -> RuntimeCondition {
    let (status, reason, message) = match network.network() {
        Ok(_) => (true, "", String::new()),
        // The kubelet's own word for it.
        Err(error) => (false, "NetworkPluginNotReady", error.to_line()),
    };
    RuntimeCondition { r#type: "NetworkReady".to_owned(), status, reason: reason.to_owned(), message }
}

/// What stopped pods had of the network is given back. A condition of husk's own: the kubelet logs it and decides
/// nothing by it.
fn network_released(pending: usize) -> RuntimeCondition {
    let (reason, message) = match pending {
        0 => ("", String::new()),
        _ => (
            "PendingDeletes",
            format!(
                "{pending} attachments of stopped pods wait until their plugin releases them; it is asked again and again"
            ),
        ),
    };
    RuntimeCondition { r#type: "NetworkReleased".to_owned(), status: pending == 0, reason: reason.to_owned(), message }
}

fn handler(name: &str) -> RuntimeHandler {
    RuntimeHandler { name: name.to_owned(), features: Some(RuntimeHandlerFeatures::default()) }
}

fn info(node: &Node, network: &Snapshot) -> HashMap<String, String> {
    let list = network.network.as_ref().map(|list| {
        let plugins: Vec<String> = list.plugins.iter().map(|plugin| plugin.plugin_type.to_string()).collect();
        json!({
            "name": list.name.to_string(),
            "cniVersion": list.version.to_string(),
            "source": list.source,
            "plugins": plugins,
        })
    });
    let faults: Vec<_> = network.faults.iter().map(|f| json!({"path": f.path, "error": f.error.to_string()})).collect();
    let pending: Vec<_> = node.network.ledger().pending().iter().map(|entry| entry.container_id.to_string()).collect();
    let snapshot = node.pods.snapshot();
    let usage = node.images.usage();
    let facts = [
        ("config", json!(*node.config)),
        ("cni", json!({"directory": network.dir, "network": list, "faults": faults, "pendingDeletes": pending})),
        (
            "images",
            json!({
                "mountpoint": usage.mountpoint,
                "usedBytes": usage.bytes,
                "inodesUsed": usage.inodes,
                "count": node.images.list().len(),
            }),
        ),
        ("pods", json!({"pods": snapshot.pods.len(), "containers": snapshot.containers.len()})),
        ("build", json!({"version": env!("CARGO_PKG_VERSION"), "monitor": crate::embedded::BUILD})),
    ];
    facts.into_iter().map(|(key, value)| (key.to_owned(), value.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_configuration_the_network_is_not_ready() {
        let none = Snapshot { dir: "/etc/cni/net.d".into(), network: None, faults: Vec::new() };
        let condition = network_ready(&none);
        assert!(!condition.status);
        assert_eq!((condition.r#type.as_str(), condition.reason.as_str()), ("NetworkReady", "NetworkPluginNotReady"));
        assert!(condition.message.contains("/etc/cni/net.d"), "{}", condition.message);
        assert!(runtime_ready().status);
        assert!(network_released(0).status);
        assert_eq!((network_released(2).status, network_released(2).reason.as_str()), (false, "PendingDeletes"));
    }
}
