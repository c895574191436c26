// SPDX-License-Identifier: Apache-2.0
//! Containers that talk: over localhost, by pod address, through host ports, across nodes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use husk_tests::client::Client;
use husk_tests::cni;
use husk_tests::http::{self, Request};
use husk_tests::world::World;
use proto::cri::{self, NamespaceMode, PodSandboxConfig};

const LIMIT: Duration = Duration::from_secs(20);

/// A web server whose log names the address of each client, and says when it listens.
const SERVER: &str = "httpd -f -vv -p 8080 -h /var/www & \
    until wget -q -O /dev/null http://127.0.0.1:8080/; do :; done; echo listening; wait";

/// Starts [`SERVER`] in a pod and waits until it serves.
async fn serve(world: &World, pod_id: &str, pod: &PodSandboxConfig) -> Result<String> {
    let config = world.container_config("server", &["sh", "-c", SERVER]);
    let id = world.client.launch(pod_id, pod, &config).await?;
    let ready = "until wget -q -O /dev/null http://127.0.0.1:8080/; do :; done";
    world.client.output(&id, &["sh", "-c", ready]).await?;
    Ok(id)
}

/// Fetches the page from another pod's container.
async fn fetch(from: &Client, id: &str, ip: &str) -> Result<()> {
    let url = format!("http://{ip}:8080/");
    let page = from.output(id, &["wget", "-q", "-O", "-", &url]).await?;
    assert_eq!(page, "served by busybox\n");
    Ok(())
}

#[tokio::test]
async fn two_containers_of_a_pod_talk_over_localhost() -> Result<()> {
    World::new("localhost")
        .await?
        .live(async |world| {
            let (pod_id, pod) = world.run_pod("pod").await?;
            serve(world, &pod_id, &pod).await?;
            let config = world.container_config("client", &["wget", "-q", "-O", "-", "http://127.0.0.1:8080/"]);
            let id = world.client.launch(&pod_id, &pod, &config).await?;
            let status = world.client.wait_exited(&id, LIMIT).await?;
            assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
            assert_eq!(world.log(&pod, "client")?.stdout()?, "served by busybox\n");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_pod_reaches_another_by_its_address_without_nat() -> Result<()> {
    World::new("podtopod")
        .await?
        .live(async |world| {
            let (server_id, server) = world.run_pod("server").await?;
            let (client_id, client) = world.run_pod("client").await?;
            serve(world, &server_id, &server).await?;
            let config = world.container_config("client", &["sleep", "1000"]);
            let id = world.client.launch(&client_id, &client, &config).await?;
            let (server_ip, client_ip) =
                (world.client.pod_ip(&server_id).await?, world.client.pod_ip(&client_id).await?);
            assert_ne!(server_ip, client_ip);
            fetch(&world.client, &id, &server_ip).await?;
            world.wait_for_stderr(&server, "server", &client_ip).await?;
            let inside = world.client.output(&id, &["ip", "-o", "-4", "address"]).await?;
            ensure!(inside.contains("127.0.0.1/8") && inside.contains(&format!("{client_ip}/24")), "{inside}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_host_port_leads_into_the_pod() -> Result<()> {
    World::new("hostport")
        .await?
        .live(async |world| {
            let mut pod = world.pod_config("pod")?;
            pod.port_mappings = vec![
                cri::PortMapping { container_port: 8080, host_port: 18080, ..Default::default() },
                // No host port: nothing to map.
                cri::PortMapping { container_port: 8081, host_port: 0, ..Default::default() },
            ];
            let pod_id = world.client.run_pod(&pod).await?;
            serve(world, &pod_id, &pod).await?;
            let get = |address: [u8; 4]| http::call(world.node(), (address, 18080).into(), &Request::get("/"));
            for address in [[10, 88, 0, 1], [127, 0, 0, 1]] {
                assert_eq!(get(address)?.text(), "served by busybox\n");
            }
            world.client.stop_pod(&pod_id).await?;
            ensure!(get([10, 88, 0, 1]).is_err(), "the host port is still open");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn pods_on_two_nodes_reach_each_other_without_nat() -> Result<()> {
    let (east, west) = World::linked("east", "west").await?;
    east.live(async |east| {
        let (server_id, server) = east.run_pod("server").await?;
        serve(east, &server_id, &server).await?;
        let ip = east.client.pod_ip(&server_id).await?;
        west.live(async |west| {
            let (pod_id, pod) = west.run_pod("client").await?;
            let config = west.container_config("client", &["sleep", "1000"]);
            let id = west.client.launch(&pod_id, &pod, &config).await?;
            fetch(&west.client, &id, &ip).await?;
            let seen = west.client.pod_ip(&pod_id).await?;
            ensure!(seen.starts_with("10.92.0."), "the client's address is {seen}");
            let log = east.log(&server, "server")?.stderr()?;
            ensure!(log.contains(&seen), "the server did not see {seen}:\n{log}");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn macvlan_attaches_pods_that_reach_each_other() -> Result<()> {
    World::macvlan("macvlan", "10.89.0.0/24")
        .await?
        .live(async |world| {
            let (server_id, server) = world.run_pod("server").await?;
            let (client_id, client) = world.run_pod("client").await?;
            serve(world, &server_id, &server).await?;
            let config = world.container_config("client", &["sleep", "1000"]);
            let id = world.client.launch(&client_id, &client, &config).await?;
            let ip = world.client.pod_ip(&server_id).await?;
            ensure!(ip.starts_with("10.89.0."), "the server's address is {ip}");
            fetch(&world.client, &id, &ip).await
        })
        .await
}

#[tokio::test]
async fn a_host_network_pod_shares_the_nodes_network() -> Result<()> {
    World::new("hostnet")
        .await?
        .live(async |world| {
            let mut pod = world.pod_config("pod")?;
            pod.hostname.clear();
            let host = |options: &mut cri::NamespaceOption| options.set_network(NamespaceMode::Node);
            let security = pod.linux.as_mut().and_then(|linux| linux.security_context.as_mut()).context("security")?;
            host(security.namespace_options.as_mut().context("namespaces")?);
            let pod_id = world.client.run_pod(&pod).await?;
            assert!(world.ground.network.leased().is_empty(), "CNI was called for a host network pod");
            let mut config = world.container_config("main", &["sleep", "1000"]);
            let security =
                config.linux.as_mut().and_then(|linux| linux.security_context.as_mut()).context("security")?;
            host(security.namespace_options.as_mut().context("namespaces")?);
            let id = world.client.launch(&pod_id, &pod, &config).await?;
            let links = world.client.output(&id, &["ip", "-o", "link"]).await?;
            ensure!(links.contains(cni::BRIDGE), "the node's bridge is not there: {links}");
            let inside = world.client.output(&id, &["readlink", "/proc/self/ns/net"]).await?;
            let node = std::fs::read_link(world.node().namespace("net"))?;
            assert_eq!(inside.trim(), node.display().to_string());
            Ok(())
        })
        .await
}

#[tokio::test]
async fn without_a_configuration_only_host_network_pods_start() -> Result<()> {
    World::new("nonet")
        .await?
        .live(async |world| {
            let (pod_id, _) = world.run_pod("before").await?;
            world.ground.network.disable()?;
            // The directory is watched; the answer follows the event, so it is asked again until it does.
            let deadline = std::time::Instant::now() + LIMIT;
            loop {
                let status = world.client.status().await?.status.context("a status")?;
                let network = status.conditions.iter().find(|one| one.r#type == "NetworkReady");
                if !network.context("NetworkReady")?.status {
                    break;
                }
                ensure!(std::time::Instant::now() < deadline, "NetworkReady stays true");
                tokio::time::sleep(husk_tests::limits::TICK).await;
            }
            let refused = world.client.run_pod(&world.pod_config("after")?).await;
            ensure!(refused.is_err(), "a pod runs without a network configuration");
            // The ledger knows how to give back what was taken while there was one.
            world.client.stop_pod(&pod_id).await?;
            assert!(world.ground.network.leased().is_empty());
            world.ground.network.enable()?;
            let deadline = std::time::Instant::now() + LIMIT;
            let config = world.pod_config("again")?;
            while let Err(error) = world.client.run_pod(&config).await {
                ensure!(std::time::Instant::now() < deadline, "the configuration is not seen: {error}");
                tokio::time::sleep(husk_tests::limits::TICK).await;
            }
            Ok(())
        })
        .await
}
