//! What somebody may have meant.

/// The one of the names that is most like `text`, if any is like it at all: at most a third of it differs.
pub(crate) fn nearest<'n>(text: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let limit = text.chars().count().div_ceil(3);
    names
        .into_iter()
        .map(|name| (distance(&text.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// How many letters have to be put in, taken out or changed to make one text of the other (Levenshtein).
pub(crate) fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        let mut left = index + 1;
        next.push(left);
        for ((there, diagonal), above) in other.iter().zip(&row).zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(letter != *there)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_strange_one_is_not() {
        for (one, other, far) in
            [("", "", 0), ("abc", "", 3), ("", "abc", 3), ("kitten", "sitting", 3), ("a", "a", 0)]
        {
            assert_eq!(distance(one, other), far, "{one} {other}");
        }
        let names = ["settings", "secrets", "db"];
        assert_eq!(nearest("setings", names), Some("settings"));
        assert_eq!(nearest("zookeeper", names), None);
    }
}
