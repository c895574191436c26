// SPDX-License-Identifier: Apache-2.0
//! Filters of the lists: everything that is set must fit. An id that nothing has selects nothing and is no error.

use std::collections::{BTreeMap, HashMap};

use proto::cri;
use sandbox::{ContainerView, PodView};

use super::{Field, Refusal};
use crate::cri::render;

/// Which pods are asked for.
#[derive(Debug, Default)]
pub(crate) struct PodSelection {
    id_prefix: String,
    state: Option<cri::PodSandboxState>,
    labels: HashMap<String, String>,
}

/// Which containers are asked for.
#[derive(Debug, Default)]
pub(crate) struct ContainerSelection {
    id_prefix: String,
    pod_prefix: String,
    state: Option<cri::ContainerState>,
    labels: HashMap<String, String>,
}

impl PodSelection {
    /// Reads `PodSandboxFilter`.
    pub(crate) fn parse(filter: Option<cri::PodSandboxFilter>) -> Result<Self, Refusal> {
        let Some(filter) = filter else { return Ok(Self::default()) };
        let state = state("PodSandboxState", filter.state.map(|value| value.state))?;
        Ok(Self { id_prefix: filter.id, state, labels: filter.label_selector })
    }

    /// Whether a pod fits.
    pub(crate) fn selects(&self, pod: &PodView) -> bool {
        begins(&pod.id, &self.id_prefix)
            && self.state.is_none_or(|state| state == render::pod_state(pod.state))
            && contains(&pod.config.labels, &self.labels)
    }
}

impl ContainerSelection {
    /// Reads `ContainerFilter`.
    pub(crate) fn parse(filter: Option<cri::ContainerFilter>) -> Result<Self, Refusal> {
        let Some(filter) = filter else { return Ok(Self::default()) };
        Ok(Self {
            id_prefix: filter.id,
            pod_prefix: filter.pod_sandbox_id,
            state: state("ContainerState", filter.state.map(|value| value.state))?,
            labels: filter.label_selector,
        })
    }

    /// Whether a container fits.
    pub(crate) fn selects(&self, container: &ContainerView) -> bool {
        begins(&container.id, &self.id_prefix)
            && begins(&container.pod, &self.pod_prefix)
            && self.state.is_none_or(|state| state == render::container_state(container))
            && contains(&container.config.labels, &self.labels)
    }
}

fn state<T: TryFrom<i32>>(what: &str, number: Option<i32>) -> Result<Option<T>, Refusal> {
    let filter = Field::of_request("filter");
    let field = filter.then("state");
    let known =
        |number| T::try_from(number).map_err(|_| field.then("state").invalid(format!("{number} is not a {what}")));
    number.map(known).transpose()
}

fn begins(id: &impl ToString, prefix: &str) -> bool {
    // Lists mostly come without an id: then no text is made.
    prefix.is_empty() || id.to_string().starts_with(prefix)
}

fn contains(labels: &BTreeMap<String, String>, wanted: &HashMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}
