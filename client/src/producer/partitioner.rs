//! Which partition a record goes to. Pure: no clock, no ZooKeeper, no locks.
//!
//! A key hashes with murmur2, as in Kafka's Java client, so that producers of both kinds agree.
//! Records without key stay with one partition until its batch is full or gone, then move on
//! along the list ordered by (broker id, partition): round robin in batches, not in records.

use nyala_coordinator::ids::{BrokerId, PartitionIndex};

/// One step of the round: a partition and the broker that leads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// Leader of the partition.
    pub broker: BrokerId,
    /// The partition.
    pub partition: PartitionIndex,
}

/// Where the round stands for one topic.
#[derive(Debug)]
pub(crate) struct RoundRobin {
    start: usize,
    at: Option<Slot>,
    used: bool,
}

impl RoundRobin {
    /// Starts at the `start`-th slot (modulo their number), so that many producers spread out.
    pub(crate) fn new(start: usize) -> Self {
        Self {
            start,
            at: None,
            used: false,
        }
    }

    /// The slot for the next record out of `slots`, which are sorted and may have changed since.
    ///
    /// `room` says whether the open batch of a partition takes the record.
    pub(crate) fn choose(
        &mut self,
        slots: &[Slot],
        room: impl Fn(PartitionIndex) -> bool,
    ) -> Option<PartitionIndex> {
        let slot = match self.at {
            None => *slots.get(self.start.checked_rem(slots.len())?)?,
            Some(at) if self.used && !room(at.partition) => Self::after(slots, at)?,
            Some(at) if slots.binary_search(&at).is_err() => Self::after(slots, at)?,
            Some(at) => at,
        };
        self.at = Some(slot);
        self.used = true;
        Some(slot.partition)
    }

    fn after(slots: &[Slot], at: Slot) -> Option<Slot> {
        let next = slots.partition_point(|s| *s <= at);
        slots.get(next).or_else(|| slots.first()).copied()
    }
}

/// The partition of `key` in a topic of `partitions` partitions; `None` when there are none.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: usize) -> Option<PartitionIndex> {
    let count = u32::try_from(partitions).ok().filter(|n| *n > 0)?;
    let positive = murmur2(key) & 0x7fff_ffff;
    i32::try_from(positive % count).ok().map(PartitionIndex)
}

/// Murmur 2 with Kafka's seed (`Utils.murmur2`), as unsigned.
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    // Kafka's lengths are int: keys beyond 2 GiB do not exist.
    let mut h = SEED ^ u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().unwrap_or_default()).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        for (i, b) in (0_u32..).zip(tail) {
            h ^= u32::from(*b) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(list: &[(i32, i32)]) -> Vec<Slot> {
        let slot = |&(b, p): &(i32, i32)| Slot {
            broker: BrokerId(b),
            partition: PartitionIndex(p),
        };
        list.iter().map(slot).collect()
    }

    #[test]
    fn murmur2_is_kafkas() {
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key).cast_signed(), hash, "{key:?}");
        }
    }

    #[test]
    fn keys_need_a_partition() {
        assert_eq!(partition_for_key(b"k", 0), None);
        assert_eq!(partition_for_key(b"k", 1), Some(PartitionIndex(0)));
    }

    #[test]
    fn a_round_goes_by_broker_then_partition() {
        let list = slots(&[(0, 1), (0, 3), (1, 0), (2, 2)]);
        let mut round = RoundRobin::new(0);
        let full = |_| false;
        let seen: Vec<i32> = (0..6)
            .filter_map(|_| round.choose(&list, full))
            .map(|p| p.0)
            .collect();
        assert_eq!(seen, [1, 3, 0, 2, 1, 3]);
    }

    #[test]
    fn a_batch_with_room_keeps_its_partition() {
        let list = slots(&[(0, 0), (1, 1)]);
        let mut round = RoundRobin::new(1);
        for _ in 0..3 {
            assert_eq!(round.choose(&list, |_| true), Some(PartitionIndex(1)));
        }
        assert_eq!(round.choose(&list, |_| false), Some(PartitionIndex(0)));
    }

    #[test]
    fn a_changed_list_goes_on_after_the_vanished_slot() {
        let mut round = RoundRobin::new(0);
        let before = slots(&[(0, 0), (0, 1), (1, 2)]);
        round.choose(&before, |_| true);
        round.choose(&before, |_| false);
        let after = slots(&[(0, 0), (1, 2), (2, 1)]);
        assert_eq!(round.choose(&after, |_| true), Some(PartitionIndex(2)));
        assert_eq!(round.choose(&[], |_| false), None);
    }
}
