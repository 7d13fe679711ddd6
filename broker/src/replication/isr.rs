//! From the progress of replicas to the high watermark. Pure.

/// The high watermark that follows from the log ends of the in-sync replicas, the leader's included.
///
/// It never goes back within an epoch: `current` is its lower bound.
pub(crate) fn decide_high_watermark(current: i64, in_sync_ends: impl Iterator<Item = i64>) -> i64 {
    in_sync_ends.min().map_or(current, |end| end.max(current))
}

#[cfg(test)]
mod tests {
    use super::decide_high_watermark;

    #[test]
    fn the_slowest_replica_in_sync_decides() {
        assert_eq!(decide_high_watermark(3, [10].into_iter()), 10);
        assert_eq!(decide_high_watermark(3, [10, 7, 12].into_iter()), 7);
    }

    #[test]
    fn the_high_watermark_never_goes_back() {
        assert_eq!(decide_high_watermark(8, [10, 7].into_iter()), 8);
        assert_eq!(decide_high_watermark(8, std::iter::empty()), 8);
    }
}
