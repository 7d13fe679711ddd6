//! Versions of the requests that the controller sends: they follow `inter.broker.protocol.version`,
//! for nobody is asked which versions it serves.

use crate::config::Release;

/// Versions for one release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    pub(super) leader_and_isr: i16,
    pub(super) update_metadata: i16,
    pub(super) stop_replica: i16,
}

impl Versions {
    /// Versions that a cluster at `release` understands. Releases before 2.4 get those of 2.4.
    pub(super) fn of(release: Release) -> Self {
        let since = |first: &str| release >= Release::of(first);
        Self {
            leader_and_isr: match () {
                () if since("3.4-IV0") => 7,
                () if since("3.2-IV0") => 6,
                () if since("2.8-IV1") => 5,
                () => 4,
            },
            update_metadata: match () {
                () if since("3.4-IV0") => 8,
                () if since("2.8-IV1") => 7,
                () => 6,
            },
            stop_replica: match () {
                () if since("3.4-IV0") => 4,
                () if since("2.6-IV0") => 3,
                () => 2,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_follow_the_release() {
        for (release, expected) in [
            ("3.9-IV0", (7, 8, 4)),
            ("3.9", (7, 8, 4)),
            ("3.4-IV0", (7, 8, 4)),
            ("3.3-IV3", (6, 7, 3)),
            ("3.1", (5, 7, 3)),
            ("2.8-IV1", (5, 7, 3)),
            ("2.8-IV0", (4, 6, 3)),
            ("2.5", (4, 6, 2)),
            ("0.10.0", (4, 6, 2)),
        ] {
            let v = Versions::of(Release::of(release));
            let found = (v.leader_and_isr, v.update_metadata, v.stop_replica);
            assert_eq!(found, expected, "{release}");
        }
    }
}
