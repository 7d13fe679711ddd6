//! Versions of a follower's requests, and the requests themselves. Pure.
//!
//! Brokers do not ask one another for versions: `inter.broker.protocol.version` says what all of the
//! cluster's brokers speak.

/// Versions of the requests that a follower sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    /// Fetch.
    pub(crate) fetch: i16,
    /// OffsetForLeaderEpoch.
    pub(crate) epoch: i16,
    /// ListOffsets.
    pub(crate) offsets: i16,
}

impl Versions {
    /// Those of a release such as `3.9-IV0`, `3.9` or `0.11.0-IV2`, as in Kafka's `MetadataVersion`.
    /// Without `-IV`, the last of that release is meant.
    pub(crate) fn of(release: &str) -> Self {
        let release = parse(release);
        let since = |table: &[(&str, i16)]| {
            let first = table.iter().find(|(since, _)| release >= parse(since));
            first
                .or_else(|| table.last())
                .map_or(0, |(_, version)| *version)
        };
        Self {
            fetch: since(&[
                ("3.9-IV0", 17),
                ("3.7-IV4", 16),
                ("3.5-IV1", 15),
                ("3.5-IV0", 14),
                ("3.1-IV0", 13),
                ("2.7-IV1", 12),
                ("2.3-IV1", 11),
                ("2.0-IV1", 10),
                ("2.0-IV0", 8),
                ("1.1-IV0", 7),
                ("0.11.0-IV1", 5),
                ("0.0-IV0", 4),
            ]),
            epoch: since(&[("2.8-IV0", 4), ("2.3-IV1", 3), ("0.0-IV0", 2)]),
            offsets: since(&[
                ("3.9-IV0", 9),
                ("3.5-IV0", 8),
                ("3.0-IV1", 7),
                ("2.8-IV0", 6),
                ("2.2-IV1", 5),
                ("2.1-IV1", 4),
                ("2.0-IV1", 3),
                ("0.11.0-IV0", 2),
                ("0.0-IV0", 1),
            ]),
        }
    }
}

/// Major, minor and `IV` of a release. Before 1.0 a release had three numbers: the last is left out,
/// as there was but one 0.11.
fn parse(release: &str) -> (u32, u32, u32) {
    let (numbers, step) = match release.split_once("-IV") {
        Some((numbers, step)) => (numbers, step.parse().unwrap_or(u32::MAX)),
        None => (release, u32::MAX),
    };
    let mut numbers = numbers.split('.').map(|n| n.parse().unwrap_or(0));
    let (major, minor) = (numbers.next(), numbers.next());
    (major.unwrap_or(0), minor.unwrap_or(0), step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_follow_the_release() {
        let of = |release| {
            let v = Versions::of(release);
            (v.fetch, v.epoch, v.offsets)
        };
        assert_eq!(of("3.9-IV0"), (17, 4, 9));
        assert_eq!(of("3.9"), (17, 4, 9));
        assert_eq!(of("3.7"), (16, 4, 8));
        assert_eq!(of("3.7-IV3"), (15, 4, 8));
        assert_eq!(of("3.0-IV1"), (12, 4, 7));
        assert_eq!(of("2.7-IV0"), (11, 3, 5));
        assert_eq!(of("2.0"), (10, 2, 3));
        assert_eq!(of("0.11.0-IV2"), (5, 2, 2));
        assert_eq!(of("0.10.2"), (4, 2, 1));
    }
}
