// SPDX-License-Identifier: Apache-2.0
//! PAX records, checked strictly (POSIX pax, "pax Extended Header"): a record that one reader skips and another honours is how entries are
//! smuggled past scanners.

use super::Time;

/// What the parser crate doesn't hand on.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Records {
    /// `mtime` with its fraction, also before 1970.
    pub(super) mtime: Option<Time>,
}

/// Checks all records: well-formed lengths to the very end, and decimal numbers where a number decides about the stream.
pub(super) fn check(mut data: &[u8]) -> Result<Records, &'static str> {
    let mut records = Records::default();
    while !data.is_empty() {
        let (key, value, rest) = record(data).ok_or("its PAX header is malformed")?;
        match key {
            b"size" | b"uid" | b"gid" => {
                let text = std::str::from_utf8(value).map_err(|_| "its PAX header has a number that is none")?;
                let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                if !digits || text.parse::<u64>().is_err() {
                    return Err("its PAX header has a number that is none");
                }
            }
            b"mtime" => records.mtime = Some(time(value).ok_or("its PAX header has a time that is none")?),
            _ => {}
        }
        data = rest;
    }
    Ok(records)
}

/// `"%d %s=%s\n"`, the number being the length of it all.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(12).position(|b| *b == b' ')?;
    let digits = &data[..space];
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let body = data.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=')?;
    (equals > 0).then(|| (&body[..equals], &body[equals + 1..], &data[length..]))
}

fn time(value: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nanoseconds: u32 = format!("{fraction:0<9}")[..9].parse().ok()?;
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let at = |text: &str| time(text.as_bytes()).map(|t| (t.seconds, t.nanoseconds));
        assert_eq!(at("12"), Some((12, 0)));
        assert_eq!(at("12.5"), Some((12, 500_000_000)));
        assert_eq!(at("12.1234567891"), Some((12, 123_456_789)));
        assert_eq!(at("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(at("-62135596800"), Some((-62_135_596_800, 0)));
        for bad in ["", "-", ".5", "1e3", "99999999999999999999", "1.x"] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    #[test]
    fn malformed_records() {
        assert!(check(b"11 path=ab\n13 size=0123\n").is_ok());
        for bad in [
            &b"11 path=abc\n"[..],
            b"x path=ab\n",
            b"11 path=ab\n\0\0",
            b"7 path\n",
            b"99999999999999999999 a=b\n",
            b"10 size=x1\n",
            b"8 size=\n",
            b"5 =b\n",
            b" 11 path=ab\n",
            b"11 path=ab\n3",
            b"2 a=b\n",
            b"11 size=-1\n",
        ] {
            assert!(check(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
