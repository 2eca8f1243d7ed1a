//! Durations, sizes, and the quantities of Kubernetes, as people write them in configuration.

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

/// Why a text is no quantity of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a quantity: write a number with a unit, such as `500m`, `0.5`, `128Mi`, `1Gi` or `1e3`"
)]
pub struct InvalidQuantity(String);

/// An amount of something in Kubernetes (apimachinery, `resource.Quantity`): exact, in billionths of its unit, as the
/// API server keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(i128);

const BILLION: i128 = 1_000_000_000;
/// What the API server makes of anything greater.
const GREATEST: i128 = i64::MAX as i128 * BILLION;

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Whole units: cores, bytes, pods.
    pub const fn whole(units: u64) -> Self {
        Self(units as i128 * BILLION)
    }

    /// The sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference; it may be negative.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// So many times as much.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count as i128))
    }

    /// How many whole times `part` is in it; none where `part` is not positive.
    pub fn holds(self, part: Self) -> Option<u64> {
        let times = (part.0 > 0).then(|| self.0.max(0) / part.0)?;
        Some(u64::try_from(times).unwrap_or(u64::MAX))
    }

    /// The whole units in it, rounded up; nothing where it is negative.
    pub fn units(self) -> u64 {
        let up = self.0.max(0).saturating_add(BILLION - 1) / BILLION;
        u64::try_from(up).unwrap_or(u64::MAX)
    }

    /// The thousandths of a unit in it, rounded up; nothing where it is negative.
    pub fn thousandths(self) -> u64 {
        let size = BILLION / 1000;
        let up = self.0.max(0).saturating_add(size - 1) / size;
        u64::try_from(up).unwrap_or(u64::MAX)
    }

    /// Thousandths of a unit.
    pub const fn of_thousandths(count: u64) -> Self {
        Self(count as i128 * (BILLION / 1000))
    }

    /// As processors are counted: `500m`, `2`.
    pub fn cores(self) -> String {
        let thousandths = self.0.div_euclid(BILLION / 1000);
        if thousandths % 1000 == 0 { (thousandths / 1000).to_string() } else { format!("{thousandths}m") }
    }

    /// As memory is counted: `512Mi`, `1.5Gi`, rounded down to a tenth where it is not whole.
    pub fn bytes(self) -> String {
        let bytes = self.0.div_euclid(BILLION);
        let units = [(1_i128 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
        let Some((size, unit)) = units.into_iter().find(|(size, _)| bytes.abs() >= *size) else {
            return bytes.to_string();
        };
        match bytes * 10 / size {
            tenths if tenths % 10 == 0 => format!("{}{unit}", tenths / 10),
            tenths => format!("{}.{}{unit}", tenths / 10, tenths.abs() % 10),
        }
    }
}

impl std::str::FromStr for Quantity {
    type Err = InvalidQuantity;

    /// `[+|-]number[unit]`: a number with or without a point, and one of `n u m k M G T P E`, `Ki Mi Gi Ti Pi Ei`,
    /// or an exponent (`e3`, `E-2`). What is finer than a billionth is rounded away from zero, as the API server does.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidQuantity(text.chars().take(40).collect());
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = unsigned.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(unsigned.len());
        let (number, unit) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let (binary, decimal) = scale(unit).ok_or_else(invalid)?;
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let places = i64::try_from(fraction.len()).map_err(|_| invalid())?;
        let size = amount(digits, decimal + 9 - places, binary);
        Ok(Self(if text.starts_with('-') { -size } else { size }))
    }
}

/// A unit as a power of two and a power of ten.
fn scale(unit: &str) -> Option<(u32, i64)> {
    Some(match unit {
        "" => (0, 0),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        exponent => {
            let exponent: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            (0, i64::from(exponent))
        }
    })
}

/// `digits` times `10^tens` times `2^twos`, rounded up, and no more than the greatest there is.
fn amount(digits: &str, tens: i64, twos: u32) -> i128 {
    if digits.is_empty() {
        return 0;
    }
    let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    // The greatest has 28 digits, and the first digit is not zero. Ten more fit into 128 bits; whatever lies beyond ten
    // digits behind a billionth counts for the rounding alone.
    if length.saturating_add(tens) > 28 {
        return GREATEST;
    }
    let keep = usize::try_from((length + tens + 10).clamp(0, length)).unwrap_or(0);
    let (kept, cut) = digits.split_at(keep);
    let tens = tens + i64::try_from(cut.len()).unwrap_or(0);
    let rest = cut.bytes().any(|digit| digit != b'0');
    let number: i128 = if kept.is_empty() { 0 } else { kept.parse().unwrap_or(GREATEST) };
    let (number, rest) = match u32::try_from(tens) {
        Ok(up) => (number.saturating_mul(10_i128.saturating_pow(up)), rest),
        Err(_) => {
            let size = 10_i128.saturating_pow(u32::try_from(-tens).unwrap_or(u32::MAX));
            // Split, so that a large number times a power of two does not overflow before it is divided.
            let (whole, part) = (number / size, number % size);
            let shifted = part.saturating_mul(1 << twos);
            let whole = whole.saturating_mul(1 << twos).saturating_add(shifted / size);
            return whole.saturating_add(i128::from(rest || shifted % size != 0)).min(GREATEST);
        }
    };
    number.saturating_mul(1 << twos).saturating_add(i128::from(rest)).min(GREATEST)
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

    #[test]
    fn quantities_are_what_the_api_server_takes_them_for() {
        let nano = |text: &str| text.parse::<Quantity>().unwrap().0;
        for (text, billionths) in [
            ("0", 0),
            ("500m", 500_000_000),
            ("0.5", 500_000_000),
            (".5", 500_000_000),
            ("5.", 5 * BILLION),
            ("+2", 2 * BILLION),
            ("-1", -BILLION),
            ("1e3", 1000 * BILLION),
            ("1E3", 1000 * BILLION),
            ("1E", 10_i128.pow(18) * BILLION),
            ("12e-1", 1_200_000_000),
            ("1n", 1),
            ("1u", 1000),
            ("0.1n", 1),
            ("-0.1n", -1),
            ("1.0000000001", BILLION + 1),
            ("1k", 1000 * BILLION),
            ("1Ki", 1024 * BILLION),
            ("1.5Gi", (3 << 29) * BILLION),
            ("0.1Ki", 102_400_000_000),
            ("0.0000000001Ki", 103),
            ("128974848", 128_974_848 * BILLION),
            ("129e6", 129_000_000 * BILLION),
            ("7Ei", (7_i128 << 60) * BILLION),
            ("8Ei", GREATEST),
            ("1e99", GREATEST),
            ("1e-99", 1),
            ("0e99", 0),
            ("99999999999999999999999999999999999999999999", GREATEST),
            ("00000000000000000000000000000000000000000001", BILLION),
        ] {
            assert_eq!(nano(text), billionths, "{text}");
        }
        for text in
            ["", "m", ".", "1.2.3", "1 Gi", "1gi", "1K", "1MB", "1e", "1e3m", "--1", "1mm", "0x1", "e3", "½"]
        {
            assert!(text.parse::<Quantity>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn quantities_read_as_people_write_them() {
        let quantity = |text: &str| text.parse::<Quantity>().unwrap();
        for (text, cores) in [("1500m", "1500m"), ("2000m", "2"), ("0.1", "100m"), ("0", "0")] {
            assert_eq!(quantity(text).cores(), cores, "{text}");
        }
        for (text, bytes) in
            [("1Gi", "1Gi"), ("1536Mi", "1.5Gi"), ("16093532Ki", "15.3Gi"), ("100", "100"), ("-1Gi", "-1Gi")]
        {
            assert_eq!(quantity(text).bytes(), bytes, "{text}");
        }
        assert_eq!(quantity("1").holds(quantity("300m")), Some(3));
        assert_eq!(quantity("-1").holds(quantity("300m")), Some(0));
        assert_eq!(quantity("1").holds(Quantity::ZERO), None);
        assert_eq!(quantity("1500m").units(), 2);
        assert_eq!(quantity("0.0001").thousandths(), 1);
        assert_eq!(Quantity::of_thousandths(1500).cores(), "1500m");
    }
}
