// SPDX-License-Identifier: Apache-2.0
//! Rates from annotations, written as Kubernetes quantities (`10M`, `1.5Gi`, `1e9`).

use std::collections::HashMap;

use sandbox::config::Bandwidth;

use super::{Field, Refusal};

const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS: &str = "kubernetes.io/egress-bandwidth";

/// Kubernetes takes rates from 1k to 1P, in bits a second.
const LOWEST: u64 = 1_000;
const HIGHEST: u64 = 1_000_000_000_000_000;

/// More digits than any rate needs, and few enough that a product with a suffix fits into 128 bits.
const DIGITS: usize = 18;

/// The rates that a pod's annotations ask for.
pub(super) fn bandwidth(
    field: &Field<'_>,
    annotations: &HashMap<String, String>,
) -> Result<Option<Bandwidth>, Refusal> {
    let rate = |key: &'static str| match annotations.get(key) {
        None => Ok(None),
        Some(text) => within_bounds(text).map(Some).map_err(|reason| field.key(key).invalid(reason)),
    };
    let asked = Bandwidth { ingress_bits_per_second: rate(INGRESS)?, egress_bits_per_second: rate(EGRESS)? };
    let any = asked.ingress_bits_per_second.is_some() || asked.egress_bits_per_second.is_some();
    Ok(any.then_some(asked))
}

fn within_bounds(text: &str) -> Result<u64, String> {
    let value = quantity(text).ok_or_else(|| {
        format!(
            "{:?} is not a quantity; write a rate in bits a second such as 10M",
            text.chars().take(40).collect::<String>()
        )
    })?;
    match u64::try_from(value) {
        Ok(rate @ LOWEST..=HIGHEST) => Ok(rate),
        _ => Err(format!("{:?} is not between 1k and 1P", text.chars().take(40).collect::<String>())),
    }
}

/// The value of a quantity that is not negative, rounded up to a whole number.
fn quantity(text: &str) -> Option<u128> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() + fraction.len() > DIGITS {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (factor, divisor) = scale(suffix)?;
    let divisor = 10u128.pow(fraction.len() as u32) * divisor;
    Some((digits * factor).div_ceil(divisor))
}

/// What a suffix multiplies with and divides by (apimachinery `resource.Quantity`).
fn scale(suffix: &str) -> Option<(u128, u128)> {
    let decimal = |power: u32| Some((10u128.pow(power), 1));
    let binary = |power: u32| Some((1u128 << power, 1));
    match suffix {
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1_000)),
        "" => Some((1, 1)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        other => {
            let exponent: i32 = other.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10u128.pow(Some(exponent.unsigned_abs()).filter(|power| *power <= 18)?);
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        let table = [
            ("1k", 1_000),
            ("10M", 10_000_000),
            ("1.5G", 1_500_000_000),
            ("1Ki", 1024),
            ("0.5Mi", 524_288),
            ("1e6", 1_000_000),
            ("1E6", 1_000_000),
            ("1000", 1_000),
            ("+2k", 2_000),
            ("1000.1", 1_001),
            ("1000000m", 1_000),
            (".5M", 500_000),
            ("1P", 1_000_000_000_000_000),
        ];
        for (text, expected) in table {
            assert_eq!(within_bounds(text).unwrap_or(0), expected, "{text}");
        }
        for text in [
            "",
            "k",
            ".",
            "1.2.3k",
            "-1M",
            "1 M",
            "1MB",
            "1K",
            "0",
            "999",
            "1.1P",
            "1E",
            "1e99",
            "1e",
            "5e-1M",
            "1e-2147483648",
            "9999999999999999999",
            "NaN",
        ] {
            assert!(within_bounds(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn annotations_that_ask_for_nothing() {
        let field = Field::of_request("annotations");
        assert_eq!(bandwidth(&field, &HashMap::new()), Ok(None));
        let wrong = HashMap::from([(EGRESS.to_owned(), "fast".to_owned())]);
        let refusal = bandwidth(&field, &wrong).unwrap_err().to_string();
        assert!(refusal.starts_with("annotations[kubernetes.io/egress-bandwidth]: "), "{refusal}");
        let one = HashMap::from([(INGRESS.to_owned(), "1M".to_owned())]);
        let asked = bandwidth(&field, &one).unwrap().unwrap();
        assert_eq!((asked.ingress_bits_per_second, asked.egress_bits_per_second), (Some(1_000_000), None));
    }
}
