// SPDX-License-Identifier: Apache-2.0
//! The default configuration as a file with a comment for each key.

use std::fmt::Write as _;

use super::Config;
use super::keys::KEYS;

/// The text of `husk config default`.
pub(crate) fn print_default() -> String {
    let config = Config::default();
    let mut out = String::from(
        "# Configuration of husk (TOML). Every key is optional; what stands here is the default.\n\
         # A key that husk does not know is an error.\n",
    );
    let mut section = "";
    for key in &KEYS {
        if key.section != section {
            section = key.section;
            // Writing to a String cannot fail.
            let _ = write!(out, "\n[{section}]\n");
        } else {
            out.push('\n');
        }
        for line in key.comment.lines() {
            let _ = writeln!(out, "# {line}");
        }
        let _ = writeln!(out, "{} = {}", key.name, (key.show)(&config));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::parse;

    #[test]
    fn the_printed_file_is_the_default() {
        let printed = print_default();
        assert_eq!(parse(&printed), Ok(Config::default()), "{printed}");
        assert!(printed.lines().all(|line| line.len() <= 120), "{printed}");
    }

    #[test]
    fn the_table_has_the_keys_of_the_struct() {
        let serde_json::Value::Object(top) = serde_json::to_value(Config::default()).unwrap() else {
            panic!("a struct is an object");
        };
        let mut of_struct = BTreeSet::new();
        for (name, value) in top {
            match value {
                serde_json::Value::Object(section) => {
                    of_struct.extend(section.keys().map(|key| format!("{name}.{key}")))
                }
                _ => drop(of_struct.insert(format!(".{name}"))),
            }
        }
        let of_table: BTreeSet<_> = KEYS.iter().map(|key| format!("{}.{}", key.section, key.name)).collect();
        assert_eq!(of_table, of_struct);
        assert_eq!(of_table.len(), KEYS.len(), "a key stands twice in the table");
    }

    #[test]
    fn every_key_has_a_comment_and_its_section_stands_together() {
        let mut seen: Vec<&str> = Vec::new();
        for key in &KEYS {
            assert!(key.comment.trim_end().ends_with('.') && key.comment.len() > 20, "{}", key.name);
            if seen.last() != Some(&key.section) {
                assert!(!seen.contains(&key.section), "{} is torn apart", key.section);
                seen.push(key.section);
            }
        }
    }
}
