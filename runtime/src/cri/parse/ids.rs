// SPDX-License-Identifier: Apache-2.0
//! Ids: whole or an unambiguous prefix, as `crictl` users type them.

use std::sync::Arc;

use sandbox::{ContainerView, PodView, Snapshot, Unresolved};

use super::{Field, Refusal};
use crate::limits;

/// An object that was looked up, or the error that nothing has the id: Stop and Remove take that for success.
pub(crate) type Found<T> = Result<Arc<T>, Refusal>;

/// Looks a pod up by `pod_sandbox_id`.
///
/// The outer error is a text that cannot be an id or names several pods.
pub(crate) fn pod_id(snapshot: &Snapshot, text: &str) -> Result<Found<PodView>, Refusal> {
    resolved(&Field::of_request("pod_sandbox_id"), "pod sandbox", text, snapshot.pod(text))
}

/// Looks a container up by `container_id`.
///
/// The outer error is a text that cannot be an id or names several containers.
pub(crate) fn container_id(snapshot: &Snapshot, text: &str) -> Result<Found<ContainerView>, Refusal> {
    resolved(&Field::of_request("container_id"), "container", text, snapshot.container(text))
}

fn resolved<T>(
    field: &Field<'_>,
    what: &'static str,
    text: &str,
    found: Result<&Arc<T>, Unresolved>,
) -> Result<Found<T>, Refusal> {
    well_formed(field, text)?;
    match found {
        Ok(view) => Ok(Ok(Arc::clone(view))),
        // What another runtime might have for an id is no id of ours: unknown, as everything else is that is not here.
        Err(Unresolved::Unknown | Unresolved::Malformed) => Ok(Err(Refusal::Unknown { what, id: text.to_owned() })),
        Err(Unresolved::Ambiguous) => {
            Err(field.invalid(format!("{text:?} is the beginning of several ids; give more digits")))
        }
    }
}

/// Refuses what could be no runtime's id.
pub(super) fn well_formed(field: &Field<'_>, text: &str) -> Result<(), Refusal> {
    if text.is_empty() {
        return Err(field.invalid("it is empty; give an id or the beginning of one"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.len() > limits::ID_BYTES || !text.bytes().all(plain) || text.contains("..") {
        return Err(field.invalid("it is not an id; ids are 64 hexadecimal digits, or the first ones of them"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::parse::samples;

    #[test]
    fn ids_and_prefixes() {
        let snapshot = samples::snapshot(&["ab01", "ab02", "cd01"]);
        let full = format!("{:0<64}", "ab01");
        for text in ["ab01", "cd", full.as_str()] {
            let found = pod_id(&snapshot, text).unwrap().unwrap();
            assert!(found.id.to_string().starts_with(text), "{text}");
        }
        for text in ["ef", "nonsense", "AB01", &"0".repeat(64), &format!("{full}0")] {
            let unknown = pod_id(&snapshot, text).unwrap().unwrap_err();
            assert_eq!(unknown.kind(), sandbox::Kind::NotFound, "{text}");
        }
        for text in ["", "ab", "../etc", "..", "a/b", "a b", "ab01\0", "ab01\n", "ä", &"a".repeat(200)] {
            let malformed = pod_id(&snapshot, text).unwrap_err();
            assert_eq!(malformed.kind(), sandbox::Kind::InvalidInput, "{text:?}");
            assert!(malformed.to_string().starts_with("pod_sandbox_id: "), "{malformed}");
            if text != "ab" {
                assert!(
                    container_id(&snapshot, text).unwrap_err().to_string().starts_with("container_id: "),
                    "{text:?}"
                );
            }
        }
    }
}
