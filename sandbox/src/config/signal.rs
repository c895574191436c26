// SPDX-License-Identifier: Apache-2.0
//! Signals by name and number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A Linux signal, 1 to 64. The real-time range is the C libraries': SIGRTMIN is 34.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8")]
pub struct Signal(u8);

impl TryFrom<u8> for Signal {
    type Error = SignalError;
    fn try_from(number: u8) -> Result<Self, SignalError> {
        if (1..=RTMAX).contains(&number) { Ok(Self(number)) } else { Err(SignalError(number.to_string())) }
    }
}

/// A text that names no signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a signal; write a name such as SIGTERM or SIGRTMIN+3, or a number from 1 to 64")]
pub struct SignalError(String);

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

impl Signal {
    /// SIGTERM, the signal that stops a container when nobody asks for another.
    pub const TERM: Self = Self(15);
    /// SIGKILL.
    pub const KILL: Self = Self(9);

    /// The kernel's number.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl FromStr for Signal {
    type Err = SignalError;

    /// Reads `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3` or `SIGRTMAX-2`, in any case, as image configurations write them.
    fn from_str(text: &str) -> Result<Self, SignalError> {
        let wrong = || SignalError(text.chars().take(40).collect());
        if let Ok(number) = text.parse::<u8>() {
            return if (1..=RTMAX).contains(&number) { Ok(Self(number)) } else { Err(wrong()) };
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let alias = match name {
            "CLD" => "CHLD",
            "IOT" => "ABRT",
            "POLL" => "IO",
            "UNUSED" => "SYS",
            other => other,
        };
        if let Some(index) = NAMES.iter().position(|known| *known == alias) {
            return Ok(Self(index as u8 + 1));
        }
        let offset = |rest: &str, sign: char| match rest.strip_prefix(sign) {
            Some(digits) => digits.parse::<u8>().ok(),
            None if rest.is_empty() => Some(0),
            None => None,
        };
        let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
            (Some(rest), _) => offset(rest, '+').and_then(|n| RTMIN.checked_add(n)),
            (_, Some(rest)) => offset(rest, '-').and_then(|n| RTMAX.checked_sub(n)),
            _ => None,
        };
        real_time.filter(|number| (RTMIN..=RTMAX).contains(number)).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n @ 1..=31 => write!(f, "SIG{}", NAMES[usize::from(n) - 1]),
            RTMIN => f.write_str("SIGRTMIN"),
            RTMAX => f.write_str("SIGRTMAX"),
            // The CRI's enum counts up from SIGRTMIN to +15 and then down from SIGRTMAX.
            n if n <= RTMIN + 15 => write!(f, "SIGRTMIN+{}", n - RTMIN),
            n if n > RTMIN => write!(f, "SIGRTMAX-{}", RTMAX - n),
            n => write!(f, "signal {n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_name_that_reads_back() {
        for number in (1..=31).chain(RTMIN..=RTMAX) {
            let signal: Signal = number.to_string().parse().unwrap();
            assert_eq!(signal.to_string().parse(), Ok(signal), "{signal}");
            assert_eq!(signal.number(), number);
        }
    }

    #[test]
    fn names_as_images_write_them() {
        let table = [("SIGTERM", 15), ("term", 15), ("9", 9), ("SIGRTMIN+3", 37), ("SIGRTMAX-14", 50), ("SIGPOLL", 29)];
        for (text, number) in table {
            assert_eq!(text.parse::<Signal>().map(Signal::number), Ok(number), "{text}");
        }
        for text in ["", "0", "65", "SIGNOPE", "SIGRTMIN+31", "SIGRTMAX-31", "RTMIN3", "-1", "300"] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
    }
}
