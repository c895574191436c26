// SPDX-License-Identifier: Apache-2.0
//! User and group ids.

use proto::cri;

use super::{Field, Refusal};
use crate::limits;

/// A user or group id that the kernel takes.
pub(super) fn user_id(field: &Field<'_>, id: i64) -> Result<u32, Refusal> {
    match u32::try_from(id) {
        Ok(kernel) if id <= limits::MAX_USER_ID => Ok(kernel),
        _ => Err(field.invalid(format!("{id} is not a user or group id; ids are 0 to {}", limits::MAX_USER_ID))),
    }
}

/// An id in its wrapper, where absent is another thing than 0.
pub(super) fn optional_id(field: &Field<'_>, id: Option<&cri::Int64Value>) -> Result<Option<u32>, Refusal> {
    id.map(|id| user_id(field, id.value)).transpose()
}

/// Supplementary groups.
pub(super) fn groups(field: &Field<'_>, ids: &[i64]) -> Result<Vec<u32>, Refusal> {
    ids.iter().enumerate().map(|(index, id)| user_id(&field.at(index), *id)).collect()
}

/// How supplementary groups are made up: only a number that the CRI knows.
pub(super) fn groups_policy(field: &Field<'_>, number: i32) -> Result<(), Refusal> {
    match cri::SupplementalGroupsPolicy::try_from(number) {
        Ok(_) => Ok(()),
        Err(_) => Err(field.invalid(format!("{number} is not a policy; Merge is 0 and Strict is 1"))),
    }
}
