//! What a moment is called, by a clock that people and programs set.

use crate::reading::Moment;

/// A clock that was set back by no more than this, in milliseconds, is waited for: labels run ahead of it and stay in
/// order. By more, labels follow it, and what it had labelled ahead of time gives way
/// (`Series` of the core).
const PATIENCE: i64 = 60_000;

/// The label of a moment that the clock calls `wall`, `boot` milliseconds after the start of the machine.
pub fn label(before: Option<Moment>, wall: i64, boot: u64) -> i64 {
    let Some(before) = before else { return wall };
    let due = before.label.saturating_add(passed(before.boot, boot));
    let ahead = due.saturating_sub(wall);
    if (1..=PATIENCE).contains(&ahead) { due } else { wall }
}

/// From when to when the time between two moments is said to be: never backwards, and never longer than it was.
pub(crate) fn span(before: Moment, after: Moment) -> (i64, i64) {
    let begin = after.label.saturating_sub(passed(before.boot, after.boot));
    // Clocks differ by a little; where one was set forward, the time in between never was.
    if (0..2_000).contains(&begin.saturating_sub(before.label)) {
        (before.label, after.label)
    } else {
        (begin, after.label)
    }
}

fn passed(from: u64, to: u64) -> i64 {
    i64::try_from(to.saturating_sub(from)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment(label: i64, boot: u64) -> Moment {
        Moment { label, boot, awake: boot }
    }

    #[test]
    fn a_small_step_back_is_waited_for_and_a_large_one_followed() {
        let before = Some(moment(1_000_000, 50_000));
        for (wall, expected) in [
            (1_015_000, 1_015_000), // as it should be
            (1_015_400, 1_015_400), // a little late
            (1_012_000, 1_015_000), // set back by three seconds
            (955_000, 1_015_000),   // by a minute
            (954_999, 954_999),     // by more
            (9_000_000, 9_000_000), // set forward
            (-5, -5),               // before 1970
        ] {
            assert_eq!(label(before, wall, 65_000), expected, "{wall}");
        }
        assert_eq!(label(None, 7, 9), 7);
    }

    #[test]
    fn a_clock_that_was_set_forward_makes_no_time() {
        assert_eq!(span(moment(1_000, 0), moment(16_010, 15_000)), (1_000, 16_010));
        assert_eq!(span(moment(1_000, 0), moment(900_000, 15_000)), (885_000, 900_000));
        assert_eq!(span(moment(900_000, 0), moment(16_000, 15_000)), (1_000, 16_000));
    }

    proptest! {
        #[test]
        fn spans_never_run_backwards_nor_overlap_unless_the_clock_was_set_back_by_more_than_a_minute(
            steps in prop::collection::vec((1..60_000_u64, -100_000..100_000_i64), 1..50)
        ) {
            let (mut wall, mut boot) = (1_000_000_000_i64, 5_000_u64);
            let mut before = moment(wall, boot);
            for (length, jump) in steps {
                boot += length;
                wall += i64::try_from(length).unwrap() + jump;
                let after = moment(label(Some(before), wall, boot), boot);
                let (from, to) = span(before, after);
                prop_assert!(to - from >= i64::try_from(length).unwrap());
                prop_assert!(from >= before.label || after.label == wall);
                before = after;
            }
        }
    }
}
