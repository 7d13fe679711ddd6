//! Sequence numbers of producers: they go round, from `i32::MAX` to 0.

/// The one behind `last`.
pub(crate) fn next_sequence(last: i32) -> i32 {
    if last == i32::MAX { 0 } else { last + 1 }
}

/// `sequence + delta`, wrapping from `i32::MAX` to 0.
pub(crate) fn add_sequence(sequence: i32, delta: i32) -> i32 {
    sequence
        .checked_add(delta)
        .unwrap_or_else(|| delta - (i32::MAX - sequence) - 1)
}

/// `sequence - delta`, wrapping from 0 to `i32::MAX`.
pub(crate) fn subtract_sequence(sequence: i32, delta: i32) -> i32 {
    if sequence < delta {
        i32::MAX - (delta - sequence) + 1
    } else {
        sequence - delta
    }
}
