// SPDX-License-Identifier: Apache-2.0
//! Errors about hostile input are one line of bounded length: they reach logs and gRPC status messages (threats.md, F-ERRLOG).

use std::fmt::Display;

use crate::limits;

/// Checks the text of an error.
///
/// # Panics
/// When it has a control character, is empty, or is longer than [`limits::MESSAGE_BYTES`].
pub fn check(error: &impl Display) {
    let text = error.to_string();
    assert!(!text.is_empty(), "an error has no text");
    assert!(text.len() <= limits::MESSAGE_BYTES, "an error has {} bytes: {:.200}", text.len(), text);
    assert!(!text.contains(char::is_control), "an error has a control character: {text:?}");
}
