//! The head of a record batch as the log keeps it: read once by `wire::batch`, owned, small.

use nyala_client::wire::batch;

use super::sequence::add_sequence;

pub(crate) use batch::{ATTRIBUTES_AT as CRC_FROM, HEAD_BYTES};

/// The fields of a head that the log uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHead {
    pub(crate) base_offset: i64,
    /// Size of the whole batch, head included.
    pub(crate) size: usize,
    pub(crate) leader_epoch: i32,
    pub(crate) crc: u32,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
}

impl BatchHead {
    /// Reads the head at the start of `bytes`; `None` when none is there: too few bytes, not format v2, or
    /// a length that no batch has. Does not look at the CRC.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let head = batch::BatchHead::parse(bytes).ok()?;
        Some(Self {
            base_offset: head.base_offset(),
            size: head.size(),
            leader_epoch: head.leader_epoch(),
            crc: head.crc(),
            attributes: head.attributes(),
            last_offset_delta: head.last_offset_delta(),
            max_timestamp: head.max_timestamp(),
            producer_id: head.producer_id(),
            producer_epoch: head.producer_epoch(),
            base_sequence: head.base_sequence(),
        })
    }

    pub(crate) fn last_offset(&self) -> i64 {
        self.base_offset
            .saturating_add(i64::from(self.last_offset_delta))
    }

    pub(crate) fn has_producer_id(&self) -> bool {
        self.producer_id >= 0
    }

    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & batch::TRANSACTIONAL != 0
    }

    pub(crate) fn is_control(&self) -> bool {
        self.attributes & batch::CONTROL != 0
    }

    /// Sequence of the last record; wraps at `i32::MAX` to 0 (KIP-98).
    pub(crate) fn last_sequence(&self) -> i32 {
        add_sequence(self.base_sequence, self.last_offset_delta)
    }
}

/// What the broker writes into the head of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) base_offset: i64,
    pub(crate) leader_epoch: i32,
    /// Under LogAppendTime: the timestamp; the CRC is then made anew.
    pub(crate) log_append_time_ms: Option<i64>,
}

impl Stamp {
    /// Writes it into `batch`, a whole one.
    pub(crate) fn put(&self, batch: &mut [u8]) {
        batch::stamp(batch, self.base_offset, self.leader_epoch);
        if let Some(now_ms) = self.log_append_time_ms {
            batch::stamp_log_append_time(batch, now_ms);
        }
    }
}

/// What an end-of-transaction marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) commit: bool,
    pub(crate) coordinator_epoch: i32,
}

/// What the marker in a control batch says; `None` for data and for control records of another kind.
pub(crate) fn marker(head: &BatchHead, bytes: &[u8]) -> Option<Marker> {
    if !head.is_control() {
        return None;
    }
    let view = batch::BatchView::parse(bytes).ok()?;
    let record = view.records(view.body()).next()?.ok()?;
    let commit = match record.control_type()? {
        batch::ControlType::Commit => true,
        batch::ControlType::Abort => false,
        batch::ControlType::Other(_) => return None,
    };
    // i16 version, i32 epoch of the transaction coordinator.
    let epoch = record.value?.get(2..)?.first_chunk()?;
    Some(Marker {
        commit,
        coordinator_epoch: i32::from_be_bytes(*epoch),
    })
}
