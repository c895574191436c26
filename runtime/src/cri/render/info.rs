// SPDX-License-Identifier: Apache-2.0
//! What `verbose` adds: JSON under the key `info`, of which scripts read `pid` and `runtimeSpec`.

use std::collections::HashMap;

use serde_json::Value;

/// The `info` map of an answer that has facts to add, which only a verbose one has.
pub(crate) fn info(facts: Option<Value>) -> HashMap<String, String> {
    facts.map(|facts| ("info".to_owned(), facts.to_string())).into_iter().collect()
}
