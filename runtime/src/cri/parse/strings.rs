// SPDX-License-Identifier: Apache-2.0
//! Texts, paths and maps of a request.

use std::collections::{BTreeMap, HashMap};

use super::{Field, Refusal};
use crate::limits;

/// A text without NUL: what may reach the kernel as an argument or a file as a value.
pub(super) fn without_nul(field: &Field<'_>, text: &str) -> Result<String, Refusal> {
    if text.contains('\0') {
        return Err(field.invalid("it contains a NUL byte"));
    }
    Ok(text.to_owned())
}

/// A text without control characters: what may stand in one line.
pub(super) fn one_line(field: &Field<'_>, text: &str) -> Result<String, Refusal> {
    if let Some(control) = text.chars().find(|c| c.is_control()) {
        return Err(field.invalid(format!("it contains the control character U+{:04X}", u32::from(control))));
    }
    Ok(text.to_owned())
}

/// A name in metadata, which may be empty.
pub(super) fn name_or_empty(field: &Field<'_>, text: &str) -> Result<String, Refusal> {
    if text.len() > limits::NAME_BYTES {
        return Err(field.invalid(format!("it is {} bytes long; {} are allowed", text.len(), limits::NAME_BYTES)));
    }
    one_line(field, text)
}

/// A name in metadata.
pub(super) fn name(field: &Field<'_>, text: &str) -> Result<String, Refusal> {
    if text.is_empty() {
        return Err(field.invalid("it is empty; give it a name"));
    }
    name_or_empty(field, text)
}

/// A path as such: not empty, in one line, not too long for the kernel.
pub(super) fn path(field: &Field<'_>, text: &str) -> Result<String, Refusal> {
    if text.is_empty() {
        return Err(field.invalid("it is empty; give a path"));
    }
    if text.len() > limits::PATH_BYTES {
        return Err(field.invalid(format!(
            "it is {} bytes long; paths have at most {}",
            text.len(),
            limits::PATH_BYTES
        )));
    }
    one_line(field, text)
}

/// An absolute path.
pub(crate) fn absolute_path(field: &Field<'_>, text: &str) -> Result<String, Refusal> {
    let path = path(field, text)?;
    if !path.starts_with('/') {
        return Err(field.invalid(format!("{path:?} is not an absolute path")));
    }
    Ok(path)
}

/// Refuses `..` components.
pub(super) fn without_parent(field: &Field<'_>, path: String) -> Result<String, Refusal> {
    if path.split('/').any(|component| component == "..") {
        return Err(field.invalid(format!("{path:?} contains a `..` component")));
    }
    Ok(path)
}

/// Labels: every key with its value within the bound that clients know.
pub(super) fn labels(field: &Field<'_>, map: &HashMap<String, String>) -> Result<BTreeMap<String, String>, Refusal> {
    for (key, value) in map {
        if key.len() + value.len() > limits::LABEL_BYTES {
            let sum = key.len() + value.len();
            return Err(field
                .key(key)
                .invalid(format!("key and value have {sum} bytes; {} are allowed", limits::LABEL_BYTES)));
        }
    }
    strings(field, map)
}

/// A map of texts that is kept and returned unchanged: annotations may be of any length and hold newlines.
pub(super) fn strings(field: &Field<'_>, map: &HashMap<String, String>) -> Result<BTreeMap<String, String>, Refusal> {
    let mut kept = BTreeMap::new();
    for (key, value) in map {
        let entry = field.key(key);
        if key.is_empty() {
            return Err(entry.invalid("the key is empty"));
        }
        kept.insert(one_line(&entry, key)?, without_nul(&entry, value)?);
    }
    Ok(kept)
}
