//! The head of a record batch v2 as the log needs it: lengths, offsets, timestamps, producer.
//!
//! A thin reading of `wire::batch`'s layout; nothing here looks at records.

/// Bytes before the records: the smallest batch.
pub(crate) const HEAD_BYTES: usize = 61;
/// The only format that this broker writes and reads.
pub(crate) const MAGIC_V2: i8 = 2;
/// The CRC covers the batch from its attributes on.
pub(crate) const CRC_FROM: usize = 21;
/// `batchLength` counts the bytes behind itself.
pub(crate) const LENGTH_OFFSET: usize = 12;

const MAGIC_AT: usize = 16;
const ATTRIBUTE_TRANSACTIONAL: i16 = 0x10;
const ATTRIBUTE_CONTROL: i16 = 0x20;

/// The fields of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHead {
    pub(crate) base_offset: i64,
    /// Size of the whole batch, head included.
    pub(crate) size: usize,
    pub(crate) leader_epoch: i32,
    pub(crate) magic: i8,
    pub(crate) crc: u32,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) records: i32,
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl BatchHead {
    /// Reads the head at the start of `bytes`; `None` when there are too few or when the stated length
    /// cannot be that of a batch. Looks neither at the magic nor at the CRC.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEAD_BYTES)?;
        let length = i32::from_be_bytes(field(bytes, 8)?);
        let size = usize::try_from(length).ok()?.checked_add(LENGTH_OFFSET)?;
        if size < HEAD_BYTES {
            return None;
        }
        Some(Self {
            base_offset: i64::from_be_bytes(field(bytes, 0)?),
            size,
            leader_epoch: i32::from_be_bytes(field(bytes, 12)?),
            magic: i8::from_be_bytes(field(bytes, MAGIC_AT)?),
            crc: u32::from_be_bytes(field(bytes, 17)?),
            attributes: i16::from_be_bytes(field(bytes, 21)?),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)?),
            base_timestamp: i64::from_be_bytes(field(bytes, 27)?),
            max_timestamp: i64::from_be_bytes(field(bytes, 35)?),
            producer_id: i64::from_be_bytes(field(bytes, 43)?),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)?),
            base_sequence: i32::from_be_bytes(field(bytes, 53)?),
            records: i32::from_be_bytes(field(bytes, 57)?),
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
        self.attributes & ATTRIBUTE_TRANSACTIONAL != 0
    }

    pub(crate) fn is_control(&self) -> bool {
        self.attributes & ATTRIBUTE_CONTROL != 0
    }

    /// Sequence of the last record; wraps at `i32::MAX` to 0 (KIP-98).
    pub(crate) fn last_sequence(&self) -> i32 {
        super::producers::add_sequence(self.base_sequence, self.last_offset_delta)
    }
}
