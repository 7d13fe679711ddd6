//! What a control batch says: the end of a transaction, and how it ended.
//!
//! One uncompressed record; key: i16 version, i16 type (0 abort, 1 commit); value: i16 version, i32
//! coordinator epoch.

use super::batch_head::{BatchHead, HEAD_BYTES};
use super::producers::Marker;

const TYPE_ABORT: i16 = 0;
const TYPE_COMMIT: i16 = 1;

/// The marker in a control batch; `None` for data, and for control records of another kind.
pub(crate) fn marker(head: &BatchHead, batch: &[u8]) -> Option<Marker> {
    if !head.is_control() {
        return None;
    }
    let mut record = batch.get(HEAD_BYTES..)?;
    varint(&mut record)?; // length
    record = record.get(1..)?; // attributes
    varint(&mut record)?; // timestamp delta
    varint(&mut record)?; // offset delta
    let key = bytes(&mut record)?;
    let value = bytes(&mut record)?;
    let kind = i16::from_be_bytes(*key.get(2..)?.first_chunk()?);
    if kind != TYPE_ABORT && kind != TYPE_COMMIT {
        return None;
    }
    Some(Marker {
        commit: kind == TYPE_COMMIT,
        coordinator_epoch: i32::from_be_bytes(*value.get(2..)?.first_chunk()?),
    })
}

fn bytes<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint(from)?).ok()?;
    let (head, rest) = from.split_at_checked(len)?;
    *from = rest;
    Some(head)
}

/// A zigzag varint of up to 10 bytes.
fn varint(from: &mut &[u8]) -> Option<i64> {
    let mut bits = 0_u64;
    for shift in (0..70).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        bits |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            let magnitude = i64::try_from(bits >> 1).ok()?;
            return Some(magnitude ^ -i64::from(bits & 1 == 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_marker_is_read() {
        let mut batch = vec![0; HEAD_BYTES];
        batch[8..12].copy_from_slice(&66_i32.to_be_bytes());
        batch[22] = 0x30;
        // length, attributes, two deltas, key of 4, value of 6, no headers
        batch.extend([32, 0, 0, 0, 8, 0, 0, 0, 1, 12, 0, 0, 0, 0, 0, 5, 0]);
        let head = BatchHead::parse(&batch).expect("head");
        let read = marker(&head, &batch);
        let expected = Marker {
            commit: true,
            coordinator_epoch: 5,
        };
        assert_eq!(read, Some(expected));
        for len in 0..batch.len() - 1 {
            let _ = marker(&head, &batch[..len]);
        }
        batch[22] = 0;
        let head = BatchHead::parse(&batch).expect("head");
        assert_eq!(marker(&head, &batch), None);
    }
}
