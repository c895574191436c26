// SPDX-License-Identifier: Apache-2.0
//! What the code under test made of an input.

/// Whether an input was taken. Corpus files are named after it, so that a corpus cannot rot into refusals unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was read, and every check of the target held.
    Accepted,
    /// It was refused with an error.
    Refused,
}

impl Verdict {
    /// The verdict that a result stands for.
    pub fn of<T, E>(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Accepted } else { Self::Refused }
    }
}
