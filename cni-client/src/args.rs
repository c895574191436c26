// SPDX-License-Identifier: Apache-2.0
//! CNI_ARGS: pairs as `K=V;K=V`, a format without escapes.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::limits;

/// Checked arguments, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(String, String)>", into = "Vec<(String, String)>")]
pub struct CniArgs(Vec<(String, String)>);

impl CniArgs {
    /// Checks the pairs.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when a key is not a word, or a value holds what would end it (`;`),
    /// look like another pair (`=`) or is a control character; or when there is too much of them.
    pub fn parse(pairs: Vec<(String, String)>) -> Result<Self, Error> {
        for (key, value) in &pairs {
            if !is_key(key) {
                return Err(invalid(key, "its key is not of letters, digits, '_', '.' and '-'"));
            }
            if value.chars().any(|c| matches!(c, ';' | '=') || c.is_control()) {
                return Err(invalid(key, "its value has a ';', a '=' or a control character"));
            }
        }
        let args = Self(pairs);
        if args.to_variable().len() > limits::ARGS_BYTES {
            return Err(invalid("all", "together they have more than 16 KiB"));
        }
        Ok(args)
    }

    /// The value of the variable CNI_ARGS.
    pub fn to_variable(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(k, v)| format!("{k}={v}")).collect();
        pairs.join(";")
    }
}

impl TryFrom<Vec<(String, String)>> for CniArgs {
    type Error = Error;

    fn try_from(pairs: Vec<(String, String)>) -> Result<Self, Error> {
        Self::parse(pairs)
    }
}

impl From<CniArgs> for Vec<(String, String)> {
    fn from(args: CniArgs) -> Self {
        args.0
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn invalid(key: &str, why: &str) -> Error {
    let key: String = key.chars().take(64).collect();
    Error::InvalidInput { what: "CNI_ARGS", why: format!("{key:?} cannot be passed, {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &[(&str, &str)], expected: Option<&str>) {
        let pairs = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let got = CniArgs::parse(pairs).ok().map(|args| args.to_variable());
        assert_eq!(got.as_deref(), expected);
    }

    #[test]
    fn pairs() {
        check(&[], Some(""));
        check(
            &[("IgnoreUnknown", "1"), ("K8S_POD_NAMESPACE", "default")],
            Some("IgnoreUnknown=1;K8S_POD_NAMESPACE=default"),
        );
        check(&[("K", "")], Some("K="));
        check(&[("K", "ü")], Some("K=ü"));
        check(&[("", "v")], None);
        check(&[("K=", "v")], None);
        check(&[("K;", "v")], None);
        check(&[("K", "a;MAC=1")], None);
        check(&[("K", "a=b")], None);
        check(&[("K", "a\nb")], None);
        check(&[("K", "a\0b")], None);
        check(&[("K", &"x".repeat(20_000))], None);
    }
}
