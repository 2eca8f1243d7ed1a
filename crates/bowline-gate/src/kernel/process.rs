//! `/proc/PID/stat`.

/// When a process began, in ticks since the machine was started (field 22).
pub fn parse_start(text: &str) -> Option<u64> {
    // The second field, the program's name, may hold blanks and brackets.
    text.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_anything() {
        let text = "4242 (java) :) x) S 4200 4242 4242 0 -1 1077936384 90 0 1 0 12 34 0 0 20 0 27 0 3944512 2500 1 0 0\n";
        assert_eq!(parse_start(text), Some(3_944_512));
        assert_eq!(parse_start("1 (sh) S"), None);
        assert_eq!(parse_start(""), None);
    }
}
