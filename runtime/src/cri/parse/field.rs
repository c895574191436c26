// SPDX-License-Identifier: Apache-2.0
//! The name of a field, as the proto has it, for errors. It lives on the stack and is written out only when needed.

use std::fmt;

use super::Refusal;

/// A field of a request: `config.envs[3].key`.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    parent: Option<&'a Field<'a>>,
    name: &'a str,
    entry: Entry<'a>,
}

#[derive(Clone, Copy)]
enum Entry<'a> {
    Whole,
    Index(usize),
    Key(&'a str),
}

impl<'a> Field<'a> {
    /// A field of the request itself.
    pub(crate) const fn of_request(name: &'a str) -> Self {
        Self { parent: None, name, entry: Entry::Whole }
    }

    /// A field of this field's message.
    pub(crate) const fn then(&'a self, name: &'a str) -> Self {
        Self { parent: Some(self), name, entry: Entry::Whole }
    }

    /// One element of this repeated field.
    pub(crate) const fn at(self, index: usize) -> Self {
        Self { entry: Entry::Index(index), ..self }
    }

    /// One entry of this map.
    pub(crate) const fn key(self, key: &'a str) -> Self {
        Self { entry: Entry::Key(key), ..self }
    }

    /// The error that its value cannot be right.
    pub(crate) fn invalid(&self, reason: impl Into<String>) -> Refusal {
        Refusal::Invalid { field: self.to_string(), reason: reason.into() }
    }

    /// The message of a field that must be set.
    pub(crate) fn required<T>(&self, value: Option<T>) -> Result<T, Refusal> {
        value.ok_or_else(|| self.invalid("it is not set, and must be"))
    }
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}.")?;
        }
        f.write_str(self.name)?;
        match self.entry {
            Entry::Whole => Ok(()),
            Entry::Index(index) => write!(f, "[{index}]"),
            // A key is the client's text; a long one tells no more than its beginning.
            Entry::Key(key) => write!(f, "[{:.100}]", key.escape_debug().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_protos() {
        let config = Field::of_request("config");
        let envs = config.then("envs").at(3);
        assert_eq!(envs.then("key").to_string(), "config.envs[3].key");
        assert_eq!(config.then("labels").key("a\nb").to_string(), "config.labels[a\\nb]");
        assert!(config.then("labels").key(&"x".repeat(5000)).to_string().len() < 200);
    }
}
