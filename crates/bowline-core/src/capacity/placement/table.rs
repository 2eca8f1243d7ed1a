//! Rows of numbers, which hold nothing where nothing was written.

pub(super) fn at<T: Copy + Default>(row: &[T], place: usize) -> T {
    row.get(place).copied().unwrap_or_default()
}

pub(super) fn add(row: &mut [i64], place: usize, amount: i64) {
    if let Some(there) = row.get_mut(place) {
        *there = there.saturating_add(amount);
    }
}

pub(super) fn set<T: Clone + Default>(row: &mut Vec<T>, place: usize, value: T) {
    if row.len() <= place {
        row.resize(place + 1, T::default());
    }
    if let Some(there) = row.get_mut(place) {
        *there = value;
    }
}

/// A count as a number that may become less than nothing.
pub(super) fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
