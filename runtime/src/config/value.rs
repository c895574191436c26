// SPDX-License-Identifier: Apache-2.0
//! Values of keys: from TOML, with what is wrong in words, and back.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use crate::subnet::Subnet;

/// The default network of `--embedded-network`, which podman and others use for the same purpose.
pub(super) const EMBEDDED_SUBNET: Subnet = Subnet::v4([10, 88, 0, 0], 16);

/// A text.
pub(super) fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    let text = value.as_str().ok_or_else(|| format!("a string is expected, not {}", article(value)))?;
    if text.chars().any(char::is_control) { Err("it contains a control character".to_owned()) } else { Ok(text) }
}

/// An absolute path.
pub(super) fn path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let text = text(value)?;
    let path = Path::new(text);
    if !path.is_absolute() || path.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(format!("{text:?} is not an absolute path without `..`"));
    }
    Ok(path.to_owned())
}

/// A list of whatever `element` reads.
pub(super) fn list<T>(
    value: &DeValue<'_>,
    element: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let array = value.as_array().ok_or_else(|| format!("an array is expected, not {}", article(value)))?;
    array.iter().map(|entry| element(entry.get_ref())).collect()
}

/// A whole number within bounds.
pub(super) fn number(value: &DeValue<'_>, bounds: RangeInclusive<u64>) -> Result<u64, String> {
    let integer = value.as_integer().ok_or_else(|| format!("a whole number is expected, not {}", article(value)))?;
    match u64::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(number) if bounds.contains(&number) => Ok(number),
        _ => Err(format!("{integer} is not between {} and {}", bounds.start(), bounds.end())),
    }
}

/// One of the words of a table.
pub(super) fn word<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Result<T, String> {
    let text = text(value)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
    found.ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        format!("{text:?} is not one of {}", known.join(", "))
    })
}

/// A text in the form of TOML.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A path in the form of TOML.
pub(super) fn quoted_path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// A list of texts in the form of TOML.
pub(super) fn quoted_list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<_> = texts.into_iter().map(quoted).collect();
    format!("[{}]", quoted.join(", "))
}

fn article(value: &DeValue<'_>) -> String {
    let name = value.type_str();
    let vowel = name.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {name}", if vowel { "an" } else { "a" })
}
