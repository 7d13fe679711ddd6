//! The order of one partition's batches on the wire. Pure: no clock, no sockets.
//!
//! A lane numbers its batches (KIP-98), lets several be in flight, and puts those that come back
//! in front again, in order. What it guarantees, for any mix of failures:
//! *order on the wire = order of sending*, and with idempotence *no batch is appended twice*.
//! Numbers are only given anew (under the next epoch, KIP-360) once the broker has shown, by
//! refusing the first batch as out of order, that neither it nor anything behind it is in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::batcher::Batch;

/// Id and epoch under which a partition's batches are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
}

/// Place of a batch in its lane: the order of sending, then the first record for parts of one.
type Place = (u64, u32);

/// A batch with its place and its number.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub(crate) batch: Batch,
    pub(crate) stamp: Option<Stamp>,
    pub(crate) sequence: i32,
    /// How often it was sent under its present stamp.
    pub(crate) attempts: u32,
    /// An attempt, under any stamp, ended without an answer that rules out that it was written.
    pub(crate) doubtful: bool,
    order: u64,
}

impl Numbered {
    fn place(&self) -> Place {
        (self.order, self.batch.promise.first())
    }

    fn count(&self) -> i64 {
        i64::try_from(self.batch.records.len()).unwrap_or(i64::MAX)
    }
}

/// What a lane is stamped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamping {
    /// Not idempotent: one batch at a time keeps the order.
    Plain,
    /// A producer id is needed before anything can go out.
    Needed,
    Stamped(Stamp),
}

/// One partition's way out. In flight plus waiting is all that has been numbered.
#[derive(Debug)]
pub(crate) struct Lane {
    stamping: Stamping,
    in_flight_max: usize,
    /// A batch under the present id was acknowledged, so every replica in sync knows the id. Until
    /// then one batch goes at a time: a leader that knows nothing of an id takes any sequence
    /// number as its first, also one that overtook another.
    proven: bool,
    next_order: u64,
    next_sequence: i32,
    in_flight: BTreeSet<Place>,
    waiting: BTreeMap<Place, Numbered>,
    /// A batch came back: nothing new goes out until all that are in flight have come back too.
    halted: bool,
    /// Number everything anew once nothing is in flight.
    renumber: bool,
    /// A numbered batch was given up: the broker will see a hole.
    gap: bool,
    resume_at: Option<Instant>,
}

impl Lane {
    pub(crate) fn new(idempotent: bool, in_flight_max: usize) -> Self {
        Self {
            stamping: if idempotent {
                Stamping::Needed
            } else {
                Stamping::Plain
            },
            in_flight_max: if idempotent { in_flight_max } else { 1 },
            proven: false,
            next_order: 0,
            next_sequence: 0,
            in_flight: BTreeSet::new(),
            waiting: BTreeMap::new(),
            halted: false,
            renumber: false,
            gap: false,
            resume_at: None,
        }
    }

    /// Must a fresh producer id be fetched before this lane can go on?
    pub(crate) fn needs_stamp(&self) -> bool {
        self.stamping == Stamping::Needed
    }

    /// Starts numbering from 0 under `stamp`, also what waits.
    pub(crate) fn set_stamp(&mut self, stamp: Stamp) {
        self.stamping = Stamping::Stamped(stamp);
        self.proven = false;
        self.renumber = false;
        self.gap = false;
        self.number_waiting();
    }

    /// May a batch go out now? If so, [`Self::resend`] comes first, then [`Self::admit`].
    pub(crate) fn open(&mut self, now: Instant) -> bool {
        if self.in_flight.is_empty() {
            self.halted = false;
            if self.renumber {
                self.bump();
            }
        }
        let in_flight_max = if self.proven { self.in_flight_max } else { 1 };
        self.stamping != Stamping::Needed
            && !self.halted
            && self.in_flight.len() < in_flight_max
            && self.resume_at.is_none_or(|at| now >= at)
    }

    /// When a lane that backs off goes on.
    pub(crate) fn resume_at(&self) -> Option<Instant> {
        self.resume_at.filter(|_| !self.waiting.is_empty())
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Size of the batch that [`Self::resend`] would give.
    pub(crate) fn waiting_bytes(&self) -> Option<usize> {
        self.waiting.first_key_value().map(|(_, n)| n.batch.bytes)
    }

    /// The first batch that came back, to be sent again.
    pub(crate) fn resend(&mut self) -> Option<Numbered> {
        let (place, mut numbered) = self.waiting.pop_first()?;
        numbered.attempts += 1;
        self.in_flight.insert(place);
        Some(numbered)
    }

    /// Numbers a new batch; it counts as in flight from here.
    pub(crate) fn admit(&mut self, batch: Batch) -> Numbered {
        debug_assert!(self.waiting.is_empty(), "what came back goes first");
        let mut numbered = Numbered {
            batch,
            stamp: None,
            sequence: -1,
            attempts: 1,
            doubtful: false,
            order: self.next_order,
        };
        self.next_order += 1;
        self.number(&mut numbered);
        self.in_flight.insert(numbered.place());
        numbered
    }

    /// The batch is in the log.
    pub(crate) fn succeeded(&mut self, numbered: &Numbered) {
        self.in_flight.remove(&numbered.place());
        self.resume_at = None;
        self.proven |=
            matches!(self.stamping, Stamping::Stamped(now) if numbered.stamp == Some(now));
    }

    /// The batch failed for good and its promise is about to be broken.
    pub(crate) fn gave_up(&mut self, numbered: &Numbered) {
        self.in_flight.remove(&numbered.place());
        self.gap = true;
    }

    /// The batch goes out again, not before `backoff` has passed.
    pub(crate) fn again(&mut self, numbered: Numbered, now: Instant, backoff: Duration) {
        self.in_flight.remove(&numbered.place());
        self.halted = true;
        self.resume_at = Some(now + backoff);
        self.waiting.insert(numbered.place(), numbered);
    }

    /// The broker says that the batch is out of order. Behind others that are still out, or came
    /// back, that is only their echo. For the first one it means a hole: new numbers are due. If no
    /// hole is known and the batch was sent before, it may be in the log, and so it comes back to
    /// be given up.
    pub(crate) fn out_of_order(
        &mut self,
        numbered: Numbered,
        now: Instant,
        backoff: Duration,
    ) -> Option<Numbered> {
        let place = numbered.place();
        let before = |p: &Place| *p < place;
        if self.in_flight.iter().any(before) || self.waiting.keys().any(before) {
            self.again(numbered, now, backoff);
            return None;
        }
        self.renumber = true;
        self.halted = true;
        self.proven = false;
        if self.gap || numbered.attempts <= 1 {
            self.again(numbered, now, backoff);
            return None;
        }
        self.in_flight.remove(&place);
        Some(numbered)
    }

    /// The broker does not accept the producer's id or epoch any more.
    pub(crate) fn fenced(&mut self) {
        if self.stamping != Stamping::Plain {
            self.stamping = Stamping::Needed;
        }
    }

    /// Cuts a batch that was too large in two halves, which go out again. Hands it back if it
    /// has a single record.
    pub(crate) fn split(&mut self, mut numbered: Numbered) -> Option<Numbered> {
        let half = numbered.batch.records.len() / 2;
        if half == 0 {
            return Some(numbered);
        }
        self.in_flight.remove(&numbered.place());
        self.halted = true;
        let records = numbered.batch.records.split_off(half);
        let bytes: usize = records.iter().map(super::record::Record::bytes).sum();
        let bytes = bytes.min(numbered.batch.bytes);
        numbered.batch.bytes -= bytes;
        let at = u32::try_from(half).unwrap_or(u32::MAX);
        let tail = Numbered {
            stamp: numbered.stamp,
            sequence: advance(numbered.sequence, numbered.count()),
            attempts: numbered.attempts,
            doubtful: numbered.doubtful,
            order: numbered.order,
            batch: Batch {
                target: numbered.batch.target.clone(),
                created: numbered.batch.created,
                promise: numbered.batch.promise.split(at),
                records,
                bytes,
            },
        };
        self.waiting.insert(numbered.place(), numbered);
        self.waiting.insert(tail.place(), tail);
        None
    }

    /// Takes out what was created before `horizon` and is not in flight.
    pub(crate) fn take_older(&mut self, horizon: Instant) -> Vec<Numbered> {
        let old = self
            .waiting
            .extract_if(.., |_, n| n.batch.created < horizon);
        let old: Vec<Numbered> = old.map(|(_, n)| n).collect();
        self.gap |= !old.is_empty();
        old
    }

    fn bump(&mut self) {
        self.renumber = false;
        self.gap = false;
        if let Stamping::Stamped(stamp) = &mut self.stamping {
            match stamp.epoch.checked_add(1) {
                // The last epoch is Kafka's mark for "exhausted".
                Some(epoch) if epoch < i16::MAX => stamp.epoch = epoch,
                _ => self.stamping = Stamping::Needed,
            }
        }
        self.number_waiting();
    }

    fn number_waiting(&mut self) {
        self.next_sequence = 0;
        let mut waiting = std::mem::take(&mut self.waiting);
        for numbered in waiting.values_mut() {
            self.number(numbered);
            numbered.attempts = 0;
        }
        self.waiting = waiting;
    }

    fn number(&mut self, numbered: &mut Numbered) {
        if let Stamping::Stamped(stamp) = self.stamping {
            numbered.stamp = Some(stamp);
            numbered.sequence = self.next_sequence;
            self.next_sequence = advance(self.next_sequence, numbered.count());
        }
    }
}

/// Sequence numbers go from `i32::MAX` back to 0.
fn advance(sequence: i32, count: i64) -> i32 {
    let next = (i64::from(sequence) + count) & i64::from(i32::MAX);
    i32::try_from(next).unwrap_or(0)
}

#[cfg(test)]
mod tests;
