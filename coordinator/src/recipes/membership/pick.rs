//! Picking one of several members. Pure but for the random one.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How one of the members is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick<'a> {
    /// Each in turn, in order of ids.
    RoundRobin,
    /// Any.
    Random,
    /// The same for the same key, in every process, as long as it is there; when a member comes or
    /// goes only its own share of the keys moves.
    Key(&'a [u8]),
}

/// Where the round stands.
#[derive(Debug, Default)]
pub(super) struct Round(AtomicUsize);

impl Round {
    /// One of `ids`, which are in order.
    pub(super) fn choose<'a>(&self, by: Pick<'_>, ids: &[&'a str]) -> Option<&'a str> {
        match by {
            Pick::RoundRobin => {
                let turn = self.0.fetch_add(1, Ordering::Relaxed);
                ids.get(turn.checked_rem(ids.len())?).copied()
            }
            Pick::Random if ids.is_empty() => None,
            Pick::Random => ids.get(rand::random_range(0..ids.len())).copied(),
            Pick::Key(key) => choose_by_key(key, ids),
        }
    }
}

/// The id with the highest weight for `key`: rendezvous hashing (Thaler and Ravishankar, 1998).
#[must_use]
pub fn choose_by_key<'a>(key: &[u8], ids: &[&'a str]) -> Option<&'a str> {
    let weighed = ids.iter().map(|id| (weight(key, id.as_bytes()), *id));
    weighed.max().map(|(_, id)| id)
}

/// FNV-1a over both, then the finisher of `SplitMix64`: fixed for all times, or keys would move.
fn weight(key: &[u8], id: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = key.iter().chain(&[0xff]).chain(id);
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325, step);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_robin_gives_each_its_turn() {
        let round = Round::default();
        let turn = |ids: &[&'static str]| round.choose(Pick::RoundRobin, ids);
        let seen: Vec<_> = (0..4).filter_map(|_| turn(&["a", "b", "c"])).collect();
        assert_eq!(seen, ["a", "b", "c", "a"]);
        assert_eq!(turn(&[]), None);
        assert_eq!(round.choose(Pick::Random, &[]), None);
        assert_eq!(round.choose(Pick::Random, &["x"]), Some("x"));
    }

    #[test]
    fn keys_spread_and_only_the_share_of_one_who_goes_moves() {
        let ids = ["a", "b", "c", "d", "e"];
        let mut count = [0; 5];
        let mut moved = 0;
        for n in 0..10_000_u32 {
            let key = n.to_be_bytes();
            let with = choose_by_key(&key, &ids).expect("there are some");
            let at = ids.iter().position(|id| *id == with).expect("one of them");
            count[at] += 1;
            let without = choose_by_key(&key, &ids[..4]).expect("there are some");
            assert!(
                with == "e" || with == without,
                "{n} moved from {with} to {without}"
            );
            moved += u32::from(with != without);
        }
        assert!(count.iter().all(|c| (1800..2200).contains(c)), "{count:?}");
        assert_eq!(moved, count[4]);
        assert_eq!(choose_by_key(b"k", &[]), None);
    }
}
