// SPDX-License-Identifier: Apache-2.0
//! What a container executes: arguments, environment, working directory, standard input.

use proto::cri;
use sandbox::config::{Environment, StdinRequest};

use super::{Field, Refusal, strings};

/// Arguments of a program.
pub(super) fn arguments(field: &Field<'_>, texts: &[String]) -> Result<Vec<String>, Refusal> {
    texts.iter().enumerate().map(|(index, text)| strings::without_nul(&field.at(index), text)).collect()
}

/// Environment variables; the values are bytes and need not be UTF-8.
pub(super) fn environment(field: &Field<'_>, pairs: &[cri::KeyValue]) -> Result<Vec<Environment>, Refusal> {
    let variable = |(index, pair): (usize, &cri::KeyValue)| {
        let entry = field.at(index);
        let key = entry.then("key");
        let name = strings::one_line(&key, &pair.key)?;
        if name.is_empty() || name.contains('=') {
            return Err(key.invalid("the name of a variable is not empty and has no `=`"));
        }
        if pair.value.contains(&0) {
            return Err(entry.then("value").invalid("it contains a NUL byte"));
        }
        Ok(Environment { name, value: pair.value.clone() })
    };
    pairs.iter().enumerate().map(variable).collect()
}

/// The working directory; empty is the image's.
pub(super) fn working_dir(field: &Field<'_>, text: &str) -> Result<Option<String>, Refusal> {
    if text.is_empty() { Ok(None) } else { strings::absolute_path(field, text).map(Some) }
}

/// Standard input. `stdin_once` without `stdin` asks for nothing.
pub(super) fn stdin(config: &cri::ContainerConfig) -> StdinRequest {
    match (config.stdin, config.stdin_once) {
        (false, _) => StdinRequest::Closed,
        (true, false) => StdinRequest::Open,
        (true, true) => StdinRequest::Once,
    }
}
