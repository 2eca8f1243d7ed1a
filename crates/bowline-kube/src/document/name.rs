//! Words of people as parts of names and labels in a cluster.

use bowline_core::digest::Digest;

/// How much of a word is kept.
const LONGEST: usize = 40;

/// A word as a part of an object's name, which is also a label's value (RFC 1123: small letters, digits and `-`). Where
/// that loses something, a few digits of the word's digest make up for it: different words, different parts.
pub(super) fn name_part(word: &str) -> String {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let plain: String = word.chars().map(|c| if fits(c) { c } else { '-' }).take(LONGEST).collect();
    let plain = plain.trim_matches('-');
    if plain == word && !word.is_empty() {
        return word.to_owned();
    }
    let digits = Digest::of(word.as_bytes()).short();
    if plain.is_empty() { digits } else { format!("{plain}-{digits}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_words_stay_different() {
        assert_eq!(name_part("chat"), "chat");
        assert_eq!(name_part("20261122t101500-3f9c2ab417"), "20261122t101500-3f9c2ab417");
        let words =
            ["Chat", "chat ", "-chat", "chät", "채팅", "", "a/b", "a.b", &"x".repeat(41), &"x".repeat(42)];
        let parts: std::collections::BTreeSet<_> = words.iter().map(|word| name_part(word)).collect();
        assert_eq!(parts.len(), words.len(), "{parts:?}");
        for part in parts {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            assert!(part.len() <= 63 && part.starts_with(plain) && part.ends_with(plain), "{part}");
            assert!(part.chars().all(|c| plain(c) || c == '-'), "{part}");
        }
    }
}
