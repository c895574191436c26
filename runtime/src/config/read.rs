// SPDX-License-Identifier: Apache-2.0
//! Reads a configuration file and tells everything that is wrong with it at once, each with its line.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::KEYS;
use super::{Config, SOCKET};
use crate::limits;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The line, from 1; `None` for the file as a whole.
    pub(crate) line: Option<usize>,
    /// What is wrong, and what would be right.
    pub(crate) reason: String,
}

/// Everything that is wrong with a file, from its top to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let end = if index + 1 < self.0.len() { "\n" } else { "" };
            match fault.line {
                Some(line) => write!(f, "line {line}: {}{end}", fault.reason)?,
                None => write!(f, "{}{end}", fault.reason)?,
            }
        }
        Ok(())
    }
}

/// Reads the file at a path.
pub(crate) fn load(path: &Path) -> Result<Config, Faults> {
    let whole = |reason: String| Faults(vec![Fault { line: None, reason }]);
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(limits::CONFIG_BYTES + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(whole(format!("it cannot be read: {error}"))),
        Ok(bytes) if bytes as u64 > limits::CONFIG_BYTES => {
            Err(whole(format!("it is larger than {} bytes", limits::CONFIG_BYTES)))
        }
        Ok(_) => parse(&text),
    }
}

/// Reads a configuration from its text.
pub(crate) fn parse(text: &str) -> Result<Config, Faults> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { text, config: Config::default(), faults: Vec::new(), socket_given: false };
    for error in errors {
        reader.fault(error.span().map_or(0, |span| span.start), error.message().to_owned());
    }
    reader.table("", document.get_ref());
    reader.finish()
}

struct Reader<'a> {
    text: &'a str,
    config: Config,
    faults: Vec<(usize, Fault)>,
    socket_given: bool,
}

impl Reader<'_> {
    fn table(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            self.entry(section, name.get_ref(), name.span().start, value);
        }
    }

    fn entry(&mut self, section: &str, name: &str, at: usize, value: &Spanned<DeValue<'_>>) {
        let key = KEYS.iter().find(|key| key.section == section && key.name == name);
        let is_section = section.is_empty() && KEYS.iter().any(|key| key.section == name);
        match (key, value.get_ref()) {
            (Some(key), value) => {
                if let Err(reason) = (key.read)(&mut self.config, value) {
                    self.fault(at, format!("{}: {reason}", path(section, name)));
                } else if (section, name) == ("server", "socket") {
                    self.socket_given = true;
                }
            }
            (None, DeValue::Table(inner)) if is_section => self.table(name, inner),
            (None, other) if is_section => {
                self.fault(at, format!("{name}: a table is expected, not {}", other.type_str()));
            }
            (None, _) => self.fault(at, format!("{} is not a key of husk's{}", path(section, name), hint(section))),
        }
    }

    fn fault(&mut self, at: usize, reason: String) {
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        self.faults.push((at, Fault { line: Some(line), reason }));
    }

    fn finish(mut self) -> Result<Config, Faults> {
        if !self.socket_given {
            self.config.server.socket = self.config.state.join(SOCKET);
        }
        if self.config.root == self.config.state {
            let reason = "root and state: they are the same directory, and must be two".to_owned();
            self.faults.push((usize::MAX, Fault { line: None, reason }));
        }
        if self.faults.is_empty() {
            return Ok(self.config);
        }
        self.faults.sort_by_key(|(at, _)| *at);
        Err(Faults(self.faults.into_iter().map(|(_, fault)| fault).collect()))
    }
}

fn path(section: &str, name: &str) -> String {
    let shown: String = name.chars().take(64).collect();
    if section.is_empty() { shown } else { format!("{section}.{shown}") }
}

/// What there is instead of an unknown key.
fn hint(section: &str) -> String {
    let keys = KEYS.iter().filter(|key| key.section == section).map(|key| key.name.to_owned());
    if !section.is_empty() {
        return format!("; [{section}] has {}", keys.collect::<Vec<_>>().join(", "));
    }
    let mut known: Vec<_> = keys.collect();
    known.extend(KEYS.iter().filter(|key| !key.section.is_empty()).map(|key| format!("[{}]", key.section)));
    // The keys of a section stand together in the table.
    known.dedup();
    format!("; the top level has {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogLevel;

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(parse(""), Ok(Config::default()));
        assert_eq!(parse("# nothing\n\n[cni]\n"), Ok(Config::default()));
    }

    #[test]
    fn the_socket_follows_the_state() {
        let moved = parse("state = \"/tmp/s\"").unwrap();
        assert_eq!(moved.server.socket, Path::new("/tmp/s/husk.sock"));
        let fixed = parse("state = \"/tmp/s\"\n[server]\nsocket = \"/tmp/x.sock\"").unwrap();
        assert_eq!(fixed.server.socket, Path::new("/tmp/x.sock"));
    }

    #[test]
    fn keys_are_taken() {
        let text = "root = '/a'\n[cni]\nbin_dirs = ['/x', '/y']\ntimeout_seconds = 0x10\n\
                    [image]\npinned = ['busybox']\n[log]\nlevel = 'debug'\n[network]\nembedded_subnet = '10.1.0.0/24'\n";
        let config = parse(text).unwrap();
        assert_eq!(config.root, Path::new("/a"));
        assert_eq!(config.cni.bin_dirs, [Path::new("/x"), Path::new("/y")]);
        assert_eq!((config.cni.timeout.as_secs(), config.log.level), (16, LogLevel::Debug));
        assert_eq!(config.image.pinned, ["docker.io/library/busybox:latest"]);
        assert_eq!(config.network.embedded_subnet.to_string(), "10.1.0.0/24");
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let text = "root = 'relative'\nspeed = 9\n\n[cni]\nconf_dirs = '/etc'\nbin_dirs = '/x'\n\
                    [cgroup]\ndriver = 'systemd'\nparent = 'husk'\n[log]\nlevel = 'loud'\n[nope]\na = 1\n\
                    [image]\nmax_parallel_layers = -1\npinned = ['a b']\n";
        let faults = parse(text).unwrap_err().0;
        let told: Vec<_> = faults.iter().map(|fault| (fault.line.unwrap_or(0), fault.reason.as_str())).collect();
        let expected = [
            (1, "root: \"relative\" is not an absolute path without `..`"),
            (
                2,
                "speed is not a key of husk's; the top level has root, state, [server], [cni], [network], [image], [cgroup], [log]",
            ),
            (5, "cni.conf_dirs is not a key of husk's; [cni] has conf_dir, bin_dirs, timeout_seconds"),
            (6, "cni.bin_dirs: an array is expected, not a string"),
            (8, "cgroup.driver: the driver \"systemd\" is not supported by this version of husk; use \"cgroupfs\""),
        ];
        assert_eq!(told[..5], expected);
        let rest: Vec<_> = told[5..].iter().map(|(line, reason)| (*line, reason.split([':', ' ']).next())).collect();
        let expected = [
            (9, "cgroup.parent"),
            (11, "log.level"),
            (12, "nope"),
            (15, "image.max_parallel_layers"),
            (16, "image.pinned"),
        ];
        assert_eq!(rest, expected.map(|(line, key)| (line, Some(key))));
    }

    #[test]
    fn malformed_files() {
        for text in [
            "root = ",
            "root = 1",
            "root = '/a'\nroot = '/b'",
            "cni = 3",
            "[[cni]]",
            "root = '/a\0'",
            "root = '/a/../b'",
            "= 1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let two = parse("[log]\nlevel = \n[cni\n").unwrap_err().0;
        assert!(
            two.iter().any(|fault| fault.line == Some(2)) && two.iter().any(|fault| fault.line == Some(3)),
            "{two:?}"
        );
        let same = parse("root = '/a'\nstate = '/a'").unwrap_err().to_string();
        assert!(same.contains("same directory"), "{same}");
    }

    #[test]
    fn a_file_that_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let missing = load(&dir.path().join("no")).unwrap_err().to_string();
        assert!(missing.starts_with("it cannot be read: "), "{missing}");
        let large = dir.path().join("large");
        std::fs::write(&large, vec![b'#'; limits::CONFIG_BYTES as usize + 1]).unwrap();
        assert!(load(&large).unwrap_err().to_string().contains("larger"));
        let good = dir.path().join("good");
        std::fs::write(&good, crate::config::print_default()).unwrap();
        assert_eq!(load(&good), Ok(Config::default()));
    }
}
