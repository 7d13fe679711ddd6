//! Which partition a record goes to. Pure: no clock, no ZooKeeper, no locks.
//!
//! A key hashes with murmur2, as in Kafka's Java client, so that producers of both kinds agree.
//! Records without key go round robin over the (broker id, partition) list, which is a recipe of
//! the coordinator's: `recipes/balance.rs`.

use nyala_coordinator::ids::PartitionIndex;

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
}
