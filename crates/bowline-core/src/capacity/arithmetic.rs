//! Logarithm and powers, the same on every machine to the last digit.
//!
//! Those of the standard library are the system's, and differ between systems in the last digit. One digit decides into
//! which bucket of a histogram a value falls that lies on a border, or which bucket a percentile ends in.
//!
//! Method and constants of [`logarithm`] and [`power_of_two`] are those of FreeBSD's `e_log.c` and `e_exp.c`, with the
//! operations in the order in which Go's `math.Log` and `math.Exp2` do them on amd64, which is what the recommenders
//! run on whose figures are to be met. The notice of those files: Copyright (C) 1993, 2004 by Sun Microsystems, Inc. All
//! rights reserved. Permission to use, copy, modify, and distribute this software is freely granted, provided that this
//! notice is preserved.

/// The natural logarithm of 2 in two parts: the first has so few digits that its multiples are exact.
const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// The natural logarithm of a number that is positive, finite and not subnormal.
pub(super) fn logarithm(x: f64) -> f64 {
    let (fraction, exponent) = split(x);
    let f = fraction - 1.0;
    let k = exponent as f64;
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    let odd = s2
        * (6.666_666_666_666_735e-1
            + s4 * (2.857_142_874_366_239e-1
                + s4 * (1.818_357_216_161_805e-1 + s4 * 1.479_819_860_511_658_6e-1)));
    let even =
        s4 * (3.999_999_999_940_942e-1 + s4 * (2.222_219_843_214_978_4e-1 + s4 * 1.531_383_769_920_937_3e-1));
    let half_square = 0.5 * f * f;
    k * LN_2_HIGH - ((half_square - (s * (half_square + (odd + even)) + k * LN_2_LOW)) - f)
}

/// A number as `fraction * 2^exponent`, the fraction between the square roots of a half and of two.
fn split(x: f64) -> (f64, i64) {
    const FRACTION: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i64 - 0x3fe;
    let fraction = f64::from_bits((bits & FRACTION) | 0.5_f64.to_bits());
    if fraction < std::f64::consts::FRAC_1_SQRT_2 {
        (fraction * 2.0, exponent - 1)
    } else {
        (fraction, exponent)
    }
}

/// 2 to the power of a number; 0 where that is less than the least positive number.
pub(super) fn power_of_two(x: f64) -> f64 {
    // Casts cut off the part behind the point: this rounds to the nearest.
    let k = (x + 0.5_f64.copysign(x)) as i64;
    let rest = x - k as f64;
    let high = rest * LN_2_HIGH;
    let low = -rest * LN_2_LOW;
    let r = high - low;
    let t = r * r;
    let c = r - t
        * (1.666_666_666_666_666_6e-1
            + t * (-2.777_777_777_701_559_3e-3
                + t * (6.613_756_321_437_934e-5
                    + t * (-1.653_390_220_546_525_2e-6 + t * 4.138_136_797_057_238_5e-8))));
    let y = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
    y * whole_power_of_two(k)
}

/// 2 to the power of a whole number, exactly; 0 or infinity where no number is that small or that great.
pub(super) fn whole_power_of_two(exponent: i64) -> f64 {
    match exponent {
        ..-1074 => 0.0,
        -1074..-1022 => f64::from_bits(1 << (exponent + 1074)),
        -1022..=1023 => f64::from_bits(((exponent + 1023) as u64) << 52),
        _ => f64::INFINITY,
    }
}

/// A number to the power of a whole number, by squaring, which is how Go's `math.Pow` does it.
pub(super) fn power(base: f64, exponent: i32) -> f64 {
    let mut product = 1.0;
    let mut square = base;
    let mut rest = exponent.unsigned_abs();
    while rest != 0 {
        if rest & 1 == 1 {
            product *= square;
        }
        square *= square;
        rest >>= 1;
    }
    if exponent < 0 { 1.0 / product } else { product }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_those_of_go_to_the_last_bit() {
        // Printed by Go 1.26 on amd64.
        for (x, bits) in [
            (1.05, 0x3fa8_fb06_3ef2_c7f0),
            (1.1024999999999998, 0x3fb8_fb06_3ef2_c7dd),
            (1.5, 0x3fd9_f323_ecbf_984c),
            (2.0, 0x3fe6_2e42_fefa_39ef),
            (std::f64::consts::FRAC_1_SQRT_2, 0xbfd6_2e42_fefa_39ee),
            (3.1, 0x3ff2_1a39_19b7_ac89),
            (5001.000000000001, 0x4021_08e7_c1fc_d5f9),
            (0.3, 0xbff3_4378_fcbd_a721),
            (123456.789, 0x4027_7281_cad8_a844),
            (1e-9, 0xc034_b927_f32b_ffb8),
        ] {
            assert_eq!(logarithm(x).to_bits(), bits, "log {x}");
        }
        for (x, bits) in [
            (0.0, 0x3ff0_0000_0000_0000),
            (1.0, 0x4000_0000_0000_0000),
            (0.5, 0x3ff6_a09e_667f_3bcc),
            (-0.5, 0x3fe6_a09e_667f_3bcc),
            (0.4993055555555556, 0x3ff6_9dd4_c51b_707b),
            (99.91527777777777, 0x462e_2cc7_3242_bbef),
            (-3.7, 0x3fb3_b2c4_7bff_8328),
            (0.0006944444444444445, 0x3ff0_01f8_db1a_5615),
            (0.75, 0x3ffa_e89f_995a_d3ae),
        ] {
            assert_eq!(power_of_two(x).to_bits(), bits, "2^{x}");
        }
        for (x, y, bits) in [
            (1.05, 1, 0x3ff0_cccc_cccc_cccd),
            (1.05, 2, 0x3ff1_a3d7_0a3d_70a4),
            (1.05, 37, 0x4018_535c_5773_7740),
            (1.05, 175, 0x40b3_f28c_0b1c_2558),
            (1.288, -2, 0x3fe3_4a14_c27b_3c18),
            (1.0001, -2, 0x3fef_fe5c_a1eb_ecae),
            (2.44, 1, 0x4003_851e_b851_eb85),
        ] {
            assert_eq!(power(x, y).to_bits(), bits, "{x}^{y}");
        }
    }

    #[test]
    fn powers_of_two_reach_from_nothing_to_infinity() {
        for (exponent, power) in
            [(0, 1.0), (-1, 0.5), (10, 1024.0), (-1022, f64::MIN_POSITIVE), (-1074, 5e-324), (-1075, 0.0)]
        {
            assert_eq!(whole_power_of_two(exponent), power, "{exponent}");
        }
        assert_eq!(whole_power_of_two(1024), f64::INFINITY);
        assert_eq!(power_of_two(-2000.0), 0.0);
    }
}
