//! A task as it is submitted: what to do, how soon, how hard to try. And its record in `Q.tasks`:
//!
//! ```text
//! partition 0-9: the priority, 10: not due yet      key: id      value: payload
//! header "task": pri=5 due=0 retries=3 backoff=1000 lease=1800000 unique=1     (usual ones left out)
//! ```
//! Pure, but for the clock and the dice of a new id.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nyala_coordinator::clock;
use nyala_coordinator::ids::PartitionIndex;

use super::error::TaskError;
use super::fields::{Fields, FieldsOut};
use crate::consumer::ConsumerRecord;
use crate::producer::Header;

/// Longest id.
pub(crate) const ID_BYTES_MAX: usize = 200;
/// Hexadecimal digits of the time in an id that was made here, and of the random part.
const ID_PART_DIGITS: usize = 12;
/// Highest priority.
pub const PRIORITY_MAX: u8 = 9;
/// Partition of tasks that are not due when they are submitted.
pub(crate) const LATER: i32 = 10;
/// Partitions of `Q.tasks`.
pub(crate) const LANES: usize = 11;
/// Header of a task's record.
pub(crate) const TASK: &str = "task";

/// Names a task within its queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(Arc<str>);

impl TaskId {
    /// An id of the caller's choice.
    pub fn new(text: &str) -> Result<Self, TaskError> {
        let legal = (1..=ID_BYTES_MAX).contains(&text.len());
        if legal && text.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(Self(text.into()));
        }
        Err(TaskError::Id(text.to_owned()))
    }

    /// A new id: the time in milliseconds and 48 random bits, in hexadecimal. Later ids sort behind.
    #[must_use]
    pub fn generate() -> Self {
        let ms = clock::wall_ms().max(0);
        let dice = rand::random::<u64>() >> 16;
        Self(format!("{ms:012x}{dice:012x}").into())
    }

    /// When the task was submitted, if the id was made by [`Self::generate`].
    pub(crate) fn made_ms(&self) -> Option<i64> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let own = self.0.len() == 2 * ID_PART_DIGITS && self.0.bytes().all(hex);
        let digits = self.0.get(..ID_PART_DIGITS).filter(|_| own)?;
        i64::from_str_radix(digits, 16).ok()
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a submission stands in `Q.tasks`: the true identity of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) lane: i32,
    pub(crate) offset: i64,
}

impl Place {
    /// Place of a record of `Q.tasks`; `None` if the partition is none of ours.
    pub(crate) fn of(record: &ConsumerRecord) -> Option<Self> {
        let lane = record.partition.0;
        (0..=LATER).contains(&lane).then_some(Self {
            lane,
            offset: record.offset,
        })
    }

    /// The lane as an index of an array of [`LANES`].
    pub(crate) fn index(self) -> usize {
        usize::try_from(self.lane).unwrap_or(0).min(LANES - 1)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (lane, offset) = text.split_once('/')?;
        let place = Self {
            lane: lane.parse().ok()?,
            offset: offset.parse().ok()?,
        };
        ((0..=LATER).contains(&place.lane) && place.offset >= 0).then_some(place)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.lane, self.offset)
    }
}

/// How a task is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) priority: u8,
    /// Wall time before which it does not run; 0: at once.
    pub(crate) due_ms: i64,
    /// Tries after the first one.
    pub(crate) retries: u32,
    /// Pause before the first retry; doubles with each.
    pub(crate) backoff_ms: i64,
    /// Longest run without progress.
    pub(crate) lease_ms: i64,
    /// The id was chosen by the submitter: a second task of that id is a duplicate.
    pub(crate) unique: bool,
    /// Back from the dead letters.
    pub(crate) redriven: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            priority: 5,
            due_ms: 0,
            retries: 3,
            backoff_ms: 1000,
            lease_ms: 30 * 60 * 1000,
            unique: false,
            redriven: false,
        }
    }
}

/// Longest pause before a retry.
const BACKOFF_MS_MAX: i64 = 60 * 60 * 1000;

impl Options {
    pub(crate) fn write(&self, fields: FieldsOut) -> FieldsOut {
        let usual = Self::default();
        let flag = |set: bool| u8::from(set);
        fields
            .unless(&usual.priority, "pri", &self.priority)
            .unless(&usual.due_ms, "due", &self.due_ms)
            .unless(&usual.retries, "retries", &self.retries)
            .unless(&usual.backoff_ms, "backoff", &self.backoff_ms)
            .unless(&usual.lease_ms, "lease", &self.lease_ms)
            .unless(&0, "unique", &flag(self.unique))
            .unless(&0, "redriven", &flag(self.redriven))
    }

    /// What cannot be read is as usual: a record is never dropped for its options.
    pub(crate) fn read(fields: Fields<'_>) -> Self {
        let usual = Self::default();
        let flag = |name| fields.get::<u8>(name) == Some(1);
        let least = |value: i64, least: i64| value.max(least);
        Self {
            priority: fields
                .get("pri")
                .unwrap_or(usual.priority)
                .min(PRIORITY_MAX),
            due_ms: least(fields.get("due").unwrap_or(usual.due_ms), 0),
            retries: fields.get("retries").unwrap_or(usual.retries),
            backoff_ms: least(fields.get("backoff").unwrap_or(usual.backoff_ms), 0),
            lease_ms: least(fields.get("lease").unwrap_or(usual.lease_ms), 1),
            unique: flag("unique"),
            redriven: flag("redriven"),
        }
    }

    /// Pause after the `failures`-th failure, from 1.
    pub(crate) fn pause_ms(&self, failures: u32) -> i64 {
        let doubled = 1_i64 << failures.saturating_sub(1).min(30);
        self.backoff_ms.saturating_mul(doubled).min(BACKOFF_MS_MAX)
    }
}

/// A task to submit. Built with [`Task::new`] and the `with_*` calls.
#[derive(Clone, Debug)]
pub struct Task {
    pub(crate) id: Option<TaskId>,
    pub(crate) payload: Bytes,
    pub(crate) options: Options,
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Task {
    /// A task that hands `payload` to whoever works on it.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self {
            id: None,
            payload: payload.into(),
            options: Options::default(),
        }
    }

    /// With an id of the caller's choice. While the queue remembers a task of that id that is open or
    /// done, another one is a duplicate and does nothing: submitting may be repeated.
    #[must_use]
    pub fn with_id(mut self, id: TaskId) -> Self {
        self.id = Some(id);
        self.options.unique = true;
        self
    }

    /// From 0 to [`PRIORITY_MAX`], which goes first; 5 unless told otherwise.
    #[must_use]
    pub fn with_priority(mut self, priority: u8) -> Self {
        self.options.priority = priority.min(PRIORITY_MAX);
        self
    }

    /// Not before `delay` is over.
    #[must_use]
    pub fn with_delay(self, delay: Duration) -> Self {
        let due = clock::wall_ms().saturating_add(ms(delay));
        self.with_due_ms(due)
    }

    /// Not before this time, in milliseconds since 1970.
    #[must_use]
    pub fn with_due_ms(mut self, due_ms: i64) -> Self {
        self.options.due_ms = due_ms.max(0);
        self
    }

    /// Tries after the first one before it goes to the dead letters; 3 unless told otherwise.
    #[must_use]
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.options.retries = retries;
        self
    }

    /// Pause before the first retry, doubled with each, at most an hour; 1 s unless told otherwise.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Duration) -> Self {
        self.options.backoff_ms = ms(backoff);
        self
    }

    /// Longest run without progress before another worker gets it; 30 min unless told otherwise.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.options.lease_ms = ms(lease).max(1);
        self
    }

    /// Partition of `Q.tasks` that it goes to.
    pub(crate) fn lane(&self, now_ms: i64) -> PartitionIndex {
        if self.options.due_ms > now_ms {
            return PartitionIndex(LATER);
        }
        PartitionIndex(self.options.priority.into())
    }
}

/// A task's record, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Submitted {
    pub(crate) place: Place,
    pub(crate) id: TaskId,
    pub(crate) options: Options,
    pub(crate) payload: Bytes,
    pub(crate) at_ms: i64,
}

impl Submitted {
    /// `None`: not a task. A record that some other program wrote is one too, under an id of its place.
    pub(crate) fn read(record: &ConsumerRecord) -> Option<Self> {
        let place = Place::of(record)?;
        let key = record.key.as_deref().map(std::str::from_utf8);
        let id = match key.and_then(Result::ok).map(TaskId::new) {
            Some(Ok(id)) => id,
            _ => TaskId(place.to_string().into()),
        };
        let mut options =
            Options::read(header(&record.headers, TASK).unwrap_or_else(|| Fields::new(b"")));
        if let Ok(priority) = u8::try_from(place.lane)
            && place.lane < LATER
        {
            options.priority = priority;
        }
        Some(Self {
            place,
            id,
            options,
            payload: record.value.clone().unwrap_or_default(),
            at_ms: record.timestamp_ms,
        })
    }
}

/// The pairs of a record's header.
pub(crate) fn header<'a>(headers: &'a [Header], name: &str) -> Option<Fields<'a>> {
    let found = headers.iter().find(|h| h.key == name)?;
    Some(Fields::new(found.value.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_when_they_were_made() {
        let id = TaskId::generate();
        let made = id.made_ms().expect("own id");
        assert!((clock::wall_ms() - made).abs() < 60_000, "{id}");
        assert_eq!(TaskId::new("order-1").expect("legal").made_ms(), None);
        for bad in ["", "a b", "a\n", "\u{e9}", &"x".repeat(201)] {
            assert!(TaskId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn options_come_back_and_usual_ones_cost_nothing() {
        let usual = Options::default();
        assert_eq!(usual.write(FieldsOut::default()).text(), "");
        let options = Options {
            priority: 9,
            due_ms: 7,
            retries: 0,
            backoff_ms: 5,
            lease_ms: 1,
            unique: true,
            redriven: true,
        };
        let text = options.write(FieldsOut::default()).text();
        assert_eq!(Options::read(Fields::new(text.as_bytes())), options);
        let odd = Options::read(Fields::new(b"pri=77 due=-1 lease=0 retries=x"));
        assert_eq!((odd.priority, odd.due_ms, odd.lease_ms), (9, 0, 1));
        assert_eq!(odd.retries, usual.retries);
    }

    #[test]
    fn pauses_double_up_to_an_hour() {
        let options = Options::default();
        let pauses: Vec<i64> = [1, 2, 3, 20, u32::MAX].map(|n| options.pause_ms(n)).into();
        assert_eq!(pauses, [1000, 2000, 4000, BACKOFF_MS_MAX, BACKOFF_MS_MAX]);
    }

    #[test]
    fn places_come_back() {
        let place = Place {
            lane: 10,
            offset: 77,
        };
        assert_eq!(Place::parse(&place.to_string()), Some(place));
        for bad in ["", "5", "11/0", "-1/0", "0/-1", "a/b"] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }
}
