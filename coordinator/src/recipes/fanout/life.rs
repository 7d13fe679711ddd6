//! Which items' folder a cursor speaks of. Pure.
//!
//! A folder that is made anew (deleted by hand, or copied to another ZooKeeper) numbers its items from 0
//! again: a cursor of the folder before would be ahead of items that its consumer never had. So a cursor
//! is held to the folder that it was written for, and to the numbers that the folder can have given.

use crate::session::Stat;

/// A folder of items, from its creation to its deletion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Life {
    czxid: i64,
    /// Another ZooKeeper may count to the same transaction; hardly in the same millisecond.
    ctime: i64,
}

/// The folder of items at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) life: Life,
    /// The number that the next item gets: all that were put have a lower one.
    pub(super) next: u64,
}

impl Folder {
    pub(super) fn of(stat: &Stat) -> Self {
        // The stat counts creations and deletions of children: twice the creations less those there.
        let twice = stat.cversion.wrapping_add(stat.num_children);
        Self {
            life: Life {
                czxid: stat.czxid,
                ctime: stat.ctime,
            },
            next: u64::from(twice.cast_unsigned() / 2),
        }
    }
}

/// What a consumer's node says: up to where it has acknowledged, and of which folder's items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    /// The number behind what was acknowledged.
    pub(super) position: u64,
    /// `None`: written by a version that did not say.
    pub(super) life: Option<Life>,
}

impl Claim {
    /// `<position>[ <czxid>-<ctime>]`; what is no claim acknowledges nothing.
    pub(super) fn read(data: &[u8]) -> Self {
        let text = std::str::from_utf8(data).unwrap_or_default();
        Self::parse(text).unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Self> {
        let Some((position, life)) = text.split_once(' ') else {
            let position = text.parse().ok()?;
            let life = None;
            return Some(Self { position, life });
        };
        let (czxid, ctime) = life.split_once('-')?;
        let life = Some(Life {
            czxid: i64::from_str_radix(czxid, 16).ok()?,
            ctime: i64::from_str_radix(ctime, 16).ok()?,
        });
        let position = position.parse().ok()?;
        Some(Self { position, life })
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let position = self.position;
        match self.life {
            Some(Life { czxid, ctime }) => format!("{position} {czxid:x}-{ctime:x}"),
            None => position.to_string(),
        }
        .into_bytes()
    }

    /// What is left of it in the folder that is there: all, or nothing.
    pub(super) fn within(self, folder: &Folder) -> Self {
        let same = self.life.is_none_or(|life| life == folder.life);
        Self {
            position: match same && self.position <= folder.next {
                true => self.position,
                false => 0,
            },
            life: Some(folder.life),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(czxid: i64, next: u64) -> Folder {
        let life = Life { czxid, ctime: 9 };
        Folder { life, next }
    }

    #[test]
    fn a_claim_comes_back_and_what_is_none_claims_nothing() {
        let life = Some(folder(i64::MAX, 0).life);
        for claim in [
            Claim { position: 7, life },
            Claim {
                position: 7,
                life: None,
            },
        ] {
            assert_eq!(Claim::read(&claim.write()), claim);
        }
        for foreign in [
            &b"\xff"[..],
            b"",
            b"-1",
            b"7 ",
            b"7 1",
            b"7 x-y",
            b"7 1-2-3",
        ] {
            assert_eq!(Claim::read(foreign), Claim::default(), "{foreign:?}");
        }
    }

    #[test]
    fn a_claim_counts_in_its_own_folder_and_below_the_next_number() {
        let in_3 = |position, life| Claim { position, life }.within(&folder(3, 20)).position;
        let (same, other) = (Some(folder(3, 0).life), Some(folder(4, 0).life));
        assert_eq!(
            [in_3(20, same), in_3(20, None), in_3(20, other)],
            [20, 20, 0]
        );
        assert_eq!([in_3(21, same), in_3(21, None)], [0, 0]);
    }

    #[test]
    fn the_next_number_is_that_of_the_creations() {
        let stat = |cversion, num_children| Stat {
            czxid: 0,
            mzxid: 0,
            pzxid: 0,
            ctime: 0,
            mtime: 0,
            version: 0,
            cversion,
            ephemeral_owner: 0,
            num_children,
        };
        assert_eq!(Folder::of(&stat(0, 0)).next, 0);
        // Three were created, one of them deleted.
        assert_eq!(Folder::of(&stat(4, 2)).next, 3);
        // 2^30 and one: twice that is beyond an i32.
        assert_eq!(Folder::of(&stat(i32::MIN + 1, 1)).next, (1 << 30) + 1);
    }
}
