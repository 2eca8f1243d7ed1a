//! What a plain scalar means. kubectl reads manifests with sigs.k8s.io/yaml, whose rules are those of YAML 1.1 with a few
//! of its own (goyaml.v2, `resolve.go`): `yes` is true, `0644` is 420, and a date is text.

/// The value of a scalar without quotes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::kube) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// Above what `Int` holds.
    Unsigned(u64),
    Float(f64),
    Text,
}

/// What a plain scalar means.
pub(in crate::kube) fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ => number(text),
    }
}

fn number(text: &str) -> Scalar {
    match text.chars().next() {
        Some('.') => float(text).map_or(Scalar::Text, Scalar::Float),
        Some('+' | '-' | '0'..='9') => {
            let plain = text.replace('_', "");
            integer(&plain).or_else(|| float(&plain).map(Scalar::Float)).unwrap_or(Scalar::Text)
        }
        _ => Scalar::Text,
    }
}

/// As Go's `strconv.ParseInt` does for base 0: the prefix decides, and a leading zero means octal.
fn integer(text: &str) -> Option<Scalar> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, lower.as_str())
    } else {
        (10, lower.as_str())
    };
    // `from_str_radix` takes a sign of its own.
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    match (negative, i64::try_from(size)) {
        (false, Ok(size)) => Some(Scalar::Int(size)),
        (true, Ok(size)) => Some(Scalar::Int(-size)),
        (false, Err(_)) => Some(Scalar::Unsigned(size)),
        (true, Err(_)) => (size == i64::MIN.unsigned_abs()).then_some(Scalar::Int(i64::MIN)),
    }
}

/// A float in the form that YAML gives it; Rust's own parser would take `infinity` too.
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    let fits = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    (fits && exponent_fits).then(|| text.parse().ok()).flatten().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_kubectl_takes_them_for() {
        for (text, expected) in [
            ("", Scalar::Null),
            ("~", Scalar::Null),
            ("yes", Scalar::Bool(true)),
            ("y", Scalar::Bool(true)),
            ("On", Scalar::Bool(true)),
            ("off", Scalar::Bool(false)),
            ("N", Scalar::Bool(false)),
            ("yEs", Scalar::Text),
            ("0644", Scalar::Int(420)),
            ("0o644", Scalar::Int(420)),
            ("-0644", Scalar::Int(-420)),
            ("0x1F", Scalar::Int(31)),
            ("0b101", Scalar::Int(5)),
            ("00", Scalar::Int(0)),
            ("08", Scalar::Float(8.0)),
            ("1_000", Scalar::Int(1000)),
            ("+7", Scalar::Int(7)),
            ("-9223372036854775808", Scalar::Int(i64::MIN)),
            ("18446744073709551615", Scalar::Unsigned(u64::MAX)),
            ("99999999999999999999", Scalar::Float(1e20)),
            ("1.5", Scalar::Float(1.5)),
            (".5", Scalar::Float(0.5)),
            ("1.", Scalar::Float(1.0)),
            ("5e10", Scalar::Float(5e10)),
            ("1e999", Scalar::Text),
            ("1.2.3", Scalar::Text),
            ("5.0.2-b321acf", Scalar::Text),
            ("12:30:45", Scalar::Text),
            ("2001-12-14", Scalar::Text),
            ("100m", Scalar::Text),
            ("128Mi", Scalar::Text),
            ("-", Scalar::Text),
            ("+", Scalar::Text),
            ("--1", Scalar::Text),
            ("0x", Scalar::Text),
            (".", Scalar::Text),
            ("1e", Scalar::Text),
            ("infinity", Scalar::Text),
            ("<<", Scalar::Text),
            (".inf", Scalar::Float(f64::INFINITY)),
        ] {
            assert_eq!(resolve(text), expected, "{text:?}");
        }
        assert!(matches!(resolve(".nan"), Scalar::Float(value) if value.is_nan()));
    }
}
