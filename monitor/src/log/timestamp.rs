// SPDX-License-Identifier: Apache-2.0
//! Wall time as log lines show it.

/// A moment in RFC 3339 form with nine digits of a second and `Z`, always 30 bytes, so that every log line has a
/// header of the same length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp([u8; Self::BYTES]);

impl Timestamp {
    /// Its length in bytes.
    pub const BYTES: usize = 30;

    /// The moment `wall_ns` nanoseconds after the epoch. A `u64` ends in the year 2554, so four digits are enough.
    pub fn from_wall_ns(wall_ns: u64) -> Self {
        let (seconds, nanoseconds) = (wall_ns / 1_000_000_000, wall_ns % 1_000_000_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil(days);
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        for (place, value) in [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, second / 3600),
            (14..16, second / 60 % 60),
            (17..19, second % 60),
            (20..29, nanoseconds),
        ] {
            digits(&mut text[place], value);
        }
        Self(text)
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

fn digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of a number of days since the epoch (proleptic Gregorian calendar). The year is counted from
/// March, so that the leap day is its last one and the lengths of the months follow a straight line.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_0000_03_01: u64 = 719_468;
    const DAYS_PER_400_YEARS: u64 = 146_097;
    let days = days + DAYS_TO_0000_03_01;
    let (era, day_of_era) = (days / DAYS_PER_400_YEARS, days % DAYS_PER_400_YEARS);
    let leaps_before = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leaps_before) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_from_march + 2) / 5 + 1;
    let month = if months_from_march < 10 { months_from_march + 3 } else { months_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wall_ns: u64, expected: &str) {
        let text = Timestamp::from_wall_ns(wall_ns);
        assert_eq!(std::str::from_utf8(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn known_moments() {
        check(0, "1970-01-01T00:00:00.000000000Z");
        check(951_782_399_999_999_999, "2000-02-28T23:59:59.999999999Z");
        check(951_782_400_000_000_000, "2000-02-29T00:00:00.000000000Z");
        check(951_868_800_000_000_001, "2000-03-01T00:00:00.000000001Z");
        check(1_709_164_800_120_000_000, "2024-02-29T00:00:00.120000000Z");
        check(4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000000Z");
        check(u64::MAX, "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..200_000 {
            assert_eq!(civil(days), (year, month, day), "day {days}");
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }
}
