// SPDX-License-Identifier: Apache-2.0
//! `RuntimeService`: which call is answered by what.

mod container_status;
mod create_container;
mod exec_sync;
mod list_containers;
mod list_pod_sandbox;
mod pod_sandbox_status;
mod remove_container;
mod remove_pod_sandbox;
mod reopen_container_log;
mod run_pod_sandbox;
mod runtime_config;
mod service;
mod start_container;
mod status;
mod stop_container;
mod stop_pod_sandbox;
mod update_runtime_config;
mod version;
