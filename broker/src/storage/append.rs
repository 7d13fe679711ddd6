//! The way of an append: check the producer, make room, put and stamp, note, publish.
//!
//! For a small batch the hot path allocates nothing and calls the system only when the window or the index
//! memory is used up. An error before the batch is put changes nothing; a fault meanwhile takes the log
//! offline before it is published, so nothing behind a hole is ever acknowledged.

use std::sync::Arc;

use nyala_coordinator::ids::LeaderEpoch;

use super::batch_head::Marker;
use super::batch_head::{BatchHead, Stamp, marker};
use super::fences::FenceMark;
use super::log::Log;
use super::producers::{Checked, ProducedBatch};
use super::reservation::Reservation;
use super::tail::{Tail, TailFile};
use super::{AppendError, StorageError};

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A producer: sequence and epoch are checked, `min.free.bytes` holds.
    Client,
    /// This broker's own coordinators (offsets): not held back by `min.free.bytes`.
    Coordinator,
}

/// How a leader appends a batch.
#[derive(Clone, Copy, Debug)]
pub struct AppendAs<'a> {
    /// Epoch of the leader, stamped into the batch.
    pub leader_epoch: LeaderEpoch,
    /// Who appends.
    pub origin: Origin,
    /// Wall time.
    pub now_ms: i64,
    /// `message.timestamp.type=LogAppendTime`: `now_ms` becomes the batch's timestamp (and its CRC is
    /// made anew).
    pub log_append_time: bool,
    /// Under the produce guard: the fencing tokens of the batch.
    pub fences: &'a [FenceMark],
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// The broker's timestamp under LogAppendTime, else -1: as the produce response carries it.
    pub log_append_time_ms: i64,
    /// First offset of the log.
    pub log_start: i64,
    /// The producer had sent this batch before: nothing was appended, the offsets are the first one's.
    pub duplicate: bool,
}

/// A batch that passed all checks, with the offsets that it gets.
struct Admitted {
    head: BatchHead,
    stamp: Stamp,
    marker: Option<Marker>,
}

enum Admission {
    New(Admitted),
    Known(Appended),
}

impl Log {
    /// Appends one batch as its leader: checks the producer's sequence, gives offsets, stamps base offset
    /// and leader epoch while the bytes are copied to their place. The caller has checked the CRC.
    pub fn append(&mut self, batch: &[u8], how: &AppendAs<'_>) -> Result<Appended, AppendError> {
        let admitted = match self.admit(batch, how)? {
            Admission::New(admitted) => admitted,
            Admission::Known(appended) => return Ok(appended),
        };
        self.put(batch, &admitted.stamp, &admitted.head, how.now_ms)?;
        self.publish(&admitted, how)
    }

    /// First step of a large append: refuses now what could not be appended anyway, before its bytes come.
    /// Fill the reservation outside of the lock, then [`Self::commit`] it.
    pub fn reserve(&self, len: usize) -> Result<Reservation, AppendError> {
        self.syncer.ok()?;
        self.check_space(Origin::Client)?;
        self.check_fits_segment(len)?;
        Ok(Reservation::new(len))
    }

    /// Makes a filled reservation (one whole batch, CRC checked by the caller) part of the log.
    pub fn commit(
        &mut self,
        reservation: &Reservation,
        how: &AppendAs<'_>,
    ) -> Result<Appended, AppendError> {
        if reservation.remaining() > 0 {
            return Err(AppendError::Malformed("reservation is not filled"));
        }
        self.append(reservation.filled(), how)
    }

    /// Appends whole batches that a leader wrote, offsets and epochs as they are (a follower's way).
    /// Returns the next offset.
    pub fn append_replicated(&mut self, batches: &[u8], now_ms: i64) -> Result<i64, AppendError> {
        self.syncer.ok()?;
        let mut rest = batches;
        while !rest.is_empty() {
            let head = parse(rest)?;
            let Some((batch, behind)) = rest.split_at_checked(head.size) else {
                return Err(AppendError::Malformed(
                    "batch is longer than the bytes given",
                ));
            };
            let begins_at = match head.base_offset < self.next_offset {
                true => Some(self.begin_within(&head, now_ms)?),
                false => None,
            };
            let admitted = Admitted {
                stamp: Stamp {
                    base_offset: head.base_offset,
                    leader_epoch: head.leader_epoch,
                    log_append_time_ms: None,
                },
                marker: marker(&head, batch),
                head,
            };
            self.put(batch, &admitted.stamp, &head, now_ms)?;
            self.note_published(&admitted, now_ms)?;
            self.note_fences(&self.replicated_marks(batch));
            if let Some(log_start) = begins_at {
                self.set_high_watermark(log_start);
                self.raise_log_start(log_start)?;
            }
            rest = behind;
        }
        Ok(self.next_offset)
    }

    /// The leader's log may start within a batch (DeleteRecords): its first batch then starts before an
    /// empty log that was begun at that offset. Makes room for it; gives the offset to start at.
    fn begin_within(&mut self, head: &BatchHead, now_ms: i64) -> Result<i64, AppendError> {
        let (start, end) = (self.log_start, self.next_offset);
        if start != end || head.last_offset() < end || head.base_offset < 0 {
            return Err(AppendError::OffsetOutOfOrder {
                found: head.base_offset,
                expected: end,
            });
        }
        self.restart_at(head.base_offset, now_ms)?;
        Ok(start)
    }

    /// Checks a batch against the log's state; changes nothing.
    fn admit(&self, batch: &[u8], how: &AppendAs<'_>) -> Result<Admission, AppendError> {
        self.syncer.ok()?;
        let mut head = parse(batch)?;
        if head.size != batch.len() {
            return Err(AppendError::Malformed(
                "batch length is not that of the bytes given",
            ));
        }
        self.check_space(how.origin)?;
        if how.origin == Origin::Client
            && let Checked::Duplicate(known) = self.producers.check(&head)?
        {
            return Ok(Admission::Known(self.known(known, how)));
        }
        self.check_fences(how.fences)?;
        let log_append_time_ms = how.log_append_time.then_some(how.now_ms);
        head.base_offset = self.next_offset;
        head.leader_epoch = how.leader_epoch.0;
        head.max_timestamp = log_append_time_ms.unwrap_or(head.max_timestamp);
        Ok(Admission::New(Admitted {
            head,
            stamp: Stamp {
                base_offset: self.next_offset,
                leader_epoch: how.leader_epoch.0,
                log_append_time_ms,
            },
            marker: marker(&head, batch),
        }))
    }

    fn known(&self, batch: ProducedBatch, how: &AppendAs<'_>) -> Appended {
        Appended {
            base_offset: batch.first_offset(),
            last_offset: batch.last_offset,
            log_append_time_ms: if how.log_append_time {
                batch.timestamp_ms
            } else {
                -1
            },
            log_start: self.log_start,
            duplicate: true,
        }
    }

    fn check_space(&self, origin: Origin) -> Result<(), AppendError> {
        match (origin, self.runtime.space.check()) {
            (Origin::Client, Err((free, limit))) => Err(AppendError::LowSpace { free, limit }),
            _ => Ok(()),
        }
    }

    fn check_fits_segment(&self, len: usize) -> Result<(), AppendError> {
        let limit = self.config.segment_bytes_max;
        if len as u64 > limit {
            return Err(AppendError::LargerThanSegment { bytes: len, limit });
        }
        Ok(())
    }

    /// Rolls if the batch does not fit, and makes room in memory for its index entries.
    fn make_room(
        &mut self,
        len: usize,
        now_ms: i64,
        last_offset: i64,
        timestamp_ms: Option<i64>,
    ) -> Result<(), AppendError> {
        self.check_fits_segment(len)?;
        if self.is_roll_due(len, now_ms, last_offset, timestamp_ms)? {
            self.roll_active(now_ms)?;
        }
        let written = self.active_mut().write_due_entries();
        written.map_err(|error| self.broken(error).into())
    }

    /// Puts a batch to the end; it is not visible yet.
    fn put(
        &mut self,
        batch: &[u8],
        stamp: &Stamp,
        head: &BatchHead,
        now_ms: i64,
    ) -> Result<(), AppendError> {
        let timestamp_ms = Some(head.max_timestamp);
        self.make_room(batch.len(), now_ms, head.last_offset(), timestamp_ms)?;
        let at = self.active().size;
        let written = self.tail()?.write(at, batch, stamp, now_ms);
        written.map_err(|error| self.broken(error).into())
    }

    fn publish(
        &mut self,
        admitted: &Admitted,
        how: &AppendAs<'_>,
    ) -> Result<Appended, AppendError> {
        self.note_published(admitted, how.now_ms)?;
        self.note_fences(how.fences);
        Ok(Appended {
            base_offset: admitted.head.base_offset,
            last_offset: admitted.head.last_offset(),
            log_append_time_ms: admitted.stamp.log_append_time_ms.unwrap_or(-1),
            log_start: self.log_start,
            duplicate: false,
        })
    }

    /// The batch lies at the end, whole: takes it into all that the log knows, and moves the end.
    fn note_published(&mut self, admitted: &Admitted, now_ms: i64) -> Result<(), StorageError> {
        let head = &admitted.head;
        let interval = self.config.index_interval_bytes;
        let noted = self.active_mut().note(head, interval);
        noted.map_err(|error| self.syncer.fail(error))?;
        self.producers.note(head, admitted.marker);
        self.next_offset = head.last_offset() + 1;
        self.syncer.publish(self.next_offset);
        self.last_append_ms = now_ms;
        self.unsettled = true;
        self.unsynced_since_ms.get_or_insert(now_ms);
        self.unsynced_bytes += head.size as u64;
        if self.epochs.latest() != Some(LeaderEpoch(head.leader_epoch))
            && self
                .epochs
                .assign(LeaderEpoch(head.leader_epoch), head.base_offset)
        {
            // Kept for the next checkpoint if the disk is full just now: recovery finds it in the log.
            match self.write_epochs() {
                Err(error) if !error.is_no_space() => return Err(error),
                _ => {}
            }
        }
        self.flush_if_due();
        Ok(())
    }

    fn flush_if_due(&mut self) {
        let Some(messages) = self.config.flush_messages else {
            return;
        };
        let unsynced = self.next_offset - self.syncer.synced();
        if u64::try_from(unsynced).is_ok_and(|unsynced| unsynced >= messages) {
            self.syncer.request();
        }
    }

    /// The tail of the active segment; opened by the first append to it.
    fn tail(&mut self) -> Result<&Arc<Tail>, AppendError> {
        if self.tail.is_none() {
            let opened = self.open_tail();
            self.tail = Some(opened.map_err(|error| self.broken(error))?);
        }
        Ok(self
            .tail
            .as_ref()
            .expect("it was opened just now, or before"))
    }

    fn open_tail(&self) -> Result<Arc<Tail>, StorageError> {
        let active = self.active();
        let file = Arc::clone(active.file()?);
        let path = active.path();
        let created = active.size == 0;
        self.syncer
            .writes_to(Arc::clone(&file), path.clone(), created);
        let target = TailFile {
            file,
            path,
            fault: Arc::default(),
            limit: self.config.segment_bytes_max,
            space: Arc::clone(&self.runtime.space),
        };
        let size = active.size;
        Ok(Tail::new(target, size, self.runtime.workers.clone()))
    }
}

/// Reads and checks the head of the batch at the start of `bytes`.
fn parse(bytes: &[u8]) -> Result<BatchHead, AppendError> {
    let head = BatchHead::parse(bytes).ok_or(AppendError::Malformed("no record batch v2"))?;
    if head.last_offset_delta < 0 {
        return Err(AppendError::Malformed("last offset delta is negative"));
    }
    Ok(head)
}
