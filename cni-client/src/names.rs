// SPDX-License-Identifier: Apache-2.0
//! Names that end up in paths, variables and interface names: they are checked once, here.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits;

/// A name that the specification does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} is not valid: {rule}")]
pub struct InvalidName {
    /// What kind of name it is.
    pub what: &'static str,
    /// The name, shortened.
    pub name: String,
    /// What it would have to look like.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks a name.
            ///
            /// # Errors
            /// When it does not follow the rule of the specification.
            pub fn parse(name: &str) -> Result<Self, InvalidName> {
                match $check(name) {
                    Ok(()) => Ok(Self(name.to_owned())),
                    Err(rule) => Err(InvalidName {
                        what: $what,
                        name: name.chars().take(64).collect(),
                        rule,
                    }),
                }
            }

            /// The name as it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(name: String) -> Result<Self, InvalidName> {
                Self::parse(&name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// CNI_CONTAINERID: whatever the caller's unit is; this crate knows no pods.
    ContainerId,
    "the container id",
    check_word
);
name!(
    /// The name of a network (CNI "Configuration format", `name`).
    NetworkName,
    "the network name",
    check_word
);
name!(
    /// The type of a plugin, which is the name of its binary. A slash in it would execute any file
    /// (CVE-2021-20206).
    PluginType,
    "the plugin type",
    check_word
);
name!(
    /// CNI_IFNAME: the interface inside the namespace.
    InterfaceName,
    "the interface name",
    check_interface
);

fn check_word(name: &str) -> Result<(), &'static str> {
    let mut bytes = name.bytes();
    let starts_well = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let goes_well = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if !starts_well || !goes_well {
        return Err("a letter or digit, then letters, digits, '_', '.' and '-'");
    }
    if name.len() > limits::ID_BYTES {
        return Err("at most 200 bytes");
    }
    Ok(())
}

fn check_interface(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > limits::IFNAME_BYTES {
        return Err("1 to 15 bytes");
    }
    if name == "." || name == ".." {
        return Err("not a directory");
    }
    if !name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':') {
        return Err("no slash, colon, space, control or non-ASCII character");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, word: bool, interface: bool) {
        assert_eq!(PluginType::parse(name).is_ok(), word, "word {name:?}");
        assert_eq!(InterfaceName::parse(name).is_ok(), interface, "interface {name:?}");
    }

    #[test]
    fn names() {
        check("bridge", true, true);
        check("eth0", true, true);
        check("a.b_c-d", true, true);
        check("0", true, true);
        check("eth0@if3", false, true);
        check("an-interface-of-16", true, false);
        check("", false, false);
        check(".", false, false);
        check("..", false, false);
        check("../evil", false, false);
        check("a/b", false, false);
        check("a b", false, false);
        check("a:b", false, false);
        check("a\0b", false, false);
        check("a\n", false, false);
        check("é", false, false);
        check(&"x".repeat(200), true, false);
        check(&"x".repeat(201), false, false);
    }

    #[test]
    fn an_error_names_what_and_why_and_is_short() {
        let error = PluginType::parse(&"/".repeat(1000)).unwrap_err().to_string();
        assert!(error.starts_with("the plugin type \"///"), "{error}");
        assert!(error.len() < 250, "{error}");
    }
}
