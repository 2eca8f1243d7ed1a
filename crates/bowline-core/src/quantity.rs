//! Durations, sizes and shares of processors as people write them in configuration.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a duration: write a whole number with a unit, such as `500ms`, `120s`, `5m`, `1h` or `1m30s`"
)]
pub struct InvalidDuration(String);

/// Reads `500ms`, `120s`, `5m`, `1h` and sums such as `1m30s`: whole numbers with a unit, largest unit first
/// or not. At most ten years.
///
/// # Errors
/// When there is no number, no unit, an unknown unit, or more than ten years.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration(text.chars().take(40).collect());
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(invalid()),
        };
        let part = number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(invalid)?;
        total = total.checked_add(part).ok_or_else(invalid)?;
        rest = tail;
    }
    let ten_years = Duration::from_secs(10 * 365 * 86_400);
    if text.is_empty() || total > ten_years { Err(invalid()) } else { Ok(total) }
}

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: write a number with a unit, such as `512M`, `2G` or `1.5G`")]
pub struct InvalidSize(String);

/// Reads a size in bytes: `512M`, `512m`, `512MB`, `512MiB`, `1.5G`, `1024`. Units are powers of 1024, as Docker and
/// Compose read them (compose-spec, "Specifying byte values").
///
/// # Errors
/// When there is no number or an unknown unit, or when it does not fit into 63 bits.
pub fn parse_size(text: &str) -> Result<u64, InvalidSize> {
    let invalid = || InvalidSize(text.chars().take(40).collect());
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let power = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "ki" | "kib" => 1,
        "m" | "mb" | "mi" | "mib" => 2,
        "g" | "gb" | "gi" | "gib" => 3,
        "t" | "tb" | "ti" | "tib" => 4,
        _ => return Err(invalid()),
    };
    let (thousandths, exact) = thousandths(number).ok_or_else(invalid)?;
    if power == 0 && !exact {
        return Err(invalid());
    }
    let bytes = u128::from(thousandths) * 1024_u128.pow(power) / 1000;
    u64::try_from(bytes).ok().filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or_else(invalid)
}

/// A decimal number with at most three digits behind the point, in thousandths, and whether it is whole.
fn thousandths(number: &str) -> Option<(u64, bool)> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || number.ends_with('.') || fraction.len() > 3 || fraction.contains('.') {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = format!("{fraction:0<3}").parse().ok()?;
    Some((whole.checked_mul(1000)?.checked_add(fraction)?, fraction == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("120s", 120_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "120", "s", "1.5s", "-1s", "1d", "1 s", "99999999999999999999s", "9999999h"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_counted_in_powers_of_1024() {
        for (text, bytes) in [
            ("512M", 512 << 20),
            ("512mb", 512 << 20),
            ("512MiB", 512 << 20),
            ("1.5G", 3 << 29),
            ("1024", 1024),
            ("64k", 64 << 10),
            ("0.5g", 1 << 29),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "1.5", "-1M", "1.M", "1..5M", "512 M", "512X", "9999999999T", "1.2345G"] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
    }
}
