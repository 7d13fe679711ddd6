//! What happens to tasks: the records of `Q.events`, whose order is the truth about the queue.
//!
//! ```text
//! key: id   value: payload, result, error or progress   one header, named for the event:
//! elected     f=FENCE                                a scheduler begins; lower fences are void from here on
//! assigned    f= p=PLACE n=ATTEMPT w=WORKER lease=MS [ref=1]  value: payload; ref: read it from Q.tasks
//! started, progress, returned   p= n= w=             the worker's; the first two renew the lease
//! done        p= n= w= [ref=OFFSET]                  value: result; ref: read it from Q.results
//! failed      p= n= w= [final=1]                     value: error; final: no further try
//! lost, retry, dead, duplicate  f= p= n= [due=MS]    the scheduler's
//! leaving     w= [final=1]                           the worker takes no more; final: has nothing any more
//! checkpoint  f= from=OFFSET seq= of= ...            see checkpoint.rs
//! ```
//! The first `done` or `dead` of a place is its end: whatever comes later about it is void. Pure.

use std::sync::Arc;

use bytes::Bytes;

use super::checkpoint::Part;
use super::fields::{Fields, FieldsOut};
use super::task::{Place, TaskId};
use crate::consumer::ConsumerRecord;
use crate::producer::Header;

/// Up to here payloads and results travel in the event itself: every worker reads all events.
pub(crate) const INLINE_BYTES_MAX: usize = 4 << 10;

/// Of an error's text, what is kept.
pub(crate) const ERROR_BYTES_MAX: usize = 4 << 10;

/// A greater one is no event's: no ZooKeeper counts so far, and behind it there must be room for more.
const FENCE_MAX: i64 = i64::MAX >> 1;
/// An assignment's number is the next one; one so far ahead of it was not a scheduler's.
const ATTEMPTS_AHEAD_MAX: u32 = 1000;

/// A scheduler's word in the log: the czxid of its ownership, or one more than the log's greatest, should
/// the log know greater ones. It is the scheduler's whose `elected` first raised the log to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fence(pub(crate) i64);

impl Fence {
    /// The next one, if there is any.
    pub(crate) fn next(self) -> Option<Self> {
        let next = self.0.checked_add(1)?;
        (next <= FENCE_MAX).then_some(Self(next))
    }
}

/// Whether an assignment of this number can follow the one that is known.
pub(crate) fn may_follow(attempt: u32, known: u32) -> bool {
    let ahead = attempt.checked_sub(known);
    ahead.is_some_and(|ahead| (1..=ATTEMPTS_AHEAD_MAX).contains(&ahead))
}

/// A worker's name: one session of one worker.
pub(crate) type WorkerId = Arc<str>;

/// A result, or where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Inline(Bytes),
    /// Offset in `Q.results`.
    At(i64),
}

/// What a worker says of a task that it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Started,
    Progress(Bytes),
    /// Handed back, not begun or not finished, through no fault of the task.
    Returned,
    Done(Stored),
    Failed {
        error: Bytes,
        fatal: bool,
    },
}

/// What the scheduler decides about a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Assigned {
        worker: WorkerId,
        lease_ms: i64,
        /// `None`: the worker reads it from `Q.tasks`.
        payload: Option<Bytes>,
    },
    /// The worker died, or its lease ran out.
    Lost,
    Retry {
        due_ms: i64,
    },
    Dead {
        error: Bytes,
    },
    Duplicate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Elected(Fence),
    Reported {
        place: Place,
        id: TaskId,
        attempt: u32,
        worker: WorkerId,
        report: Report,
    },
    Decided {
        fence: Fence,
        place: Place,
        id: TaskId,
        attempt: u32,
        verdict: Verdict,
    },
    /// The worker takes no more.
    Leaving(WorkerId),
    /// And has nothing any more.
    Left(WorkerId),
    Checkpoint(Fence, Part),
}

/// A record on its way: key, header and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) header: Header,
}

fn written(name: &str, fields: FieldsOut, id: Option<&TaskId>, value: Option<Bytes>) -> Written {
    Written {
        key: id.map(|id| Bytes::copy_from_slice(id.as_str().as_bytes())),
        value,
        header: Header {
            key: name.to_owned(),
            value: Some(fields.text().into()),
        },
    }
}

impl Event {
    pub(crate) fn write(self) -> Written {
        let fields = FieldsOut::default();
        match self {
            Self::Elected(fence) => written("elected", fields.with("f", fence.0), None, None),
            Self::Leaving(worker) => written("leaving", fields.with("w", worker), None, None),
            Self::Left(worker) => {
                let fields = fields.with("w", worker).with("final", 1);
                written("leaving", fields, None, None)
            }
            Self::Checkpoint(fence, part) => {
                let (fields, value) = part.write(fields.with("f", fence.0));
                written("checkpoint", fields, None, Some(value))
            }
            Self::Reported {
                place,
                id,
                attempt,
                worker,
                report,
            } => {
                let fields = fields.with("p", place).with("n", attempt).with("w", worker);
                let (name, fields, value) = report.write(fields);
                written(name, fields, Some(&id), value)
            }
            Self::Decided {
                fence,
                place,
                id,
                attempt,
                verdict,
            } => {
                let fields = fields.with("f", fence.0).with("p", place);
                let (name, fields, value) = verdict.write(fields.with("n", attempt));
                written(name, fields, Some(&id), value)
            }
        }
    }

    /// Whether a task has come to its end by it.
    pub(crate) fn is_end(&self) -> bool {
        match self {
            Self::Reported { report, .. } => matches!(report, Report::Done(_)),
            Self::Decided { verdict, .. } => matches!(verdict, Verdict::Dead { .. }),
            _ => false,
        }
    }

    /// `None`: not an event of this version.
    pub(crate) fn read(record: &ConsumerRecord) -> Option<Self> {
        let header = record.headers.first()?;
        let fields = Fields::new(header.value.as_deref().unwrap_or_default());
        let value = record.value.clone();
        let fence = || {
            let fence = fields.get("f").filter(|f| *f <= FENCE_MAX);
            fence.map(Fence)
        };
        match header.key.as_str() {
            "elected" => return Some(Self::Elected(fence()?)),
            "leaving" => {
                let worker = fields.text("w")?.into();
                return Some(match fields.get::<u8>("final") {
                    Some(1) => Self::Left(worker),
                    _ => Self::Leaving(worker),
                });
            }
            "checkpoint" => return Some(Self::Checkpoint(fence()?, Part::read(fields, value)?)),
            _ => {}
        }
        let place = Place::parse(fields.text("p")?)?;
        let id = TaskId::new(std::str::from_utf8(record.key.as_deref()?).ok()?).ok()?;
        let attempt = fields.get("n")?;
        if let Some(report) = Report::read(&header.key, fields, value.clone()) {
            return Some(Self::Reported {
                place,
                id,
                attempt,
                worker: fields.text("w")?.into(),
                report,
            });
        }
        Some(Self::Decided {
            fence: fence()?,
            place,
            id,
            attempt,
            verdict: Verdict::read(&header.key, fields, value)?,
        })
    }
}

impl Report {
    fn write(self, fields: FieldsOut) -> (&'static str, FieldsOut, Option<Bytes>) {
        match self {
            Self::Started => ("started", fields, None),
            Self::Progress(text) => ("progress", fields, Some(text)),
            Self::Returned => ("returned", fields, None),
            Self::Done(Stored::Inline(result)) => ("done", fields, Some(result)),
            Self::Done(Stored::At(offset)) => ("done", fields.with("ref", offset), None),
            Self::Failed { error, fatal } => {
                let fields = fields.unless(&0, "final", &u8::from(fatal));
                ("failed", fields, Some(error))
            }
        }
    }

    fn read(name: &str, fields: Fields<'_>, value: Option<Bytes>) -> Option<Self> {
        Some(match name {
            "started" => Self::Started,
            "progress" => Self::Progress(value.unwrap_or_default()),
            "returned" => Self::Returned,
            "done" => Self::Done(match fields.get("ref") {
                Some(offset) => Stored::At(offset),
                None => Stored::Inline(value.unwrap_or_default()),
            }),
            "failed" => Self::Failed {
                error: value.unwrap_or_default(),
                fatal: fields.get::<u8>("final") == Some(1),
            },
            _ => return None,
        })
    }
}

impl Verdict {
    fn write(self, fields: FieldsOut) -> (&'static str, FieldsOut, Option<Bytes>) {
        match self {
            Self::Assigned {
                worker,
                lease_ms,
                payload,
            } => {
                let fields = fields.with("w", worker).with("lease", lease_ms);
                let by_reference = u8::from(payload.is_none());
                ("assigned", fields.unless(&0, "ref", &by_reference), payload)
            }
            Self::Lost => ("lost", fields, None),
            Self::Retry { due_ms } => ("retry", fields.with("due", due_ms), None),
            Self::Dead { error } => ("dead", fields, Some(error)),
            Self::Duplicate => ("duplicate", fields, None),
        }
    }

    fn read(name: &str, fields: Fields<'_>, value: Option<Bytes>) -> Option<Self> {
        Some(match name {
            "assigned" => Self::Assigned {
                worker: fields.text("w")?.into(),
                lease_ms: fields.get("lease")?,
                payload: match fields.get::<u8>("ref") {
                    Some(1) => None,
                    _ => Some(value.unwrap_or_default()),
                },
            },
            "lost" => Self::Lost,
            "retry" => Self::Retry {
                due_ms: fields.get("due")?,
            },
            "dead" => Self::Dead {
                error: value.unwrap_or_default(),
            },
            "duplicate" => Self::Duplicate,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use nyala_coordinator::ids::{PartitionIndex, TopicName};

    use super::*;

    fn record(written: Written) -> ConsumerRecord {
        ConsumerRecord {
            topic: TopicName::new("q.events").expect("legal"),
            partition: PartitionIndex(0),
            offset: 3,
            timestamp_ms: 0,
            key: written.key,
            value: written.value,
            headers: vec![written.header],
        }
    }

    fn events() -> Vec<Event> {
        let place = Place { lane: 5, offset: 9 };
        let id = TaskId::new("t").expect("legal");
        let reports = [
            Report::Started,
            Report::Progress("40%".into()),
            Report::Returned,
            Report::Done(Stored::Inline("r".into())),
            Report::Done(Stored::At(44)),
            Report::Failed {
                error: "e e".into(),
                fatal: true,
            },
        ];
        let verdict = |payload| Verdict::Assigned {
            worker: "w=1".into(),
            lease_ms: 5,
            payload,
        };
        let verdicts = [
            verdict(Some("p".into())),
            verdict(None),
            Verdict::Lost,
            Verdict::Retry { due_ms: 8 },
            Verdict::Dead { error: "x".into() },
            Verdict::Duplicate,
        ];
        let reported = reports.map(|report| Event::Reported {
            place,
            id: id.clone(),
            attempt: 2,
            worker: "w".into(),
            report,
        });
        let decided = verdicts.map(|verdict| Event::Decided {
            fence: Fence(7),
            place,
            id: id.clone(),
            attempt: 2,
            verdict,
        });
        let left = Event::Left("w".into());
        let others = [Event::Elected(Fence(7)), Event::Leaving("w".into()), left];
        reported.into_iter().chain(decided).chain(others).collect()
    }

    #[test]
    fn events_come_back() {
        for event in events() {
            let read = Event::read(&record(event.clone().write()));
            assert_eq!(read, Some(event));
        }
    }

    #[test]
    fn no_fence_is_so_great_that_none_can_follow() {
        for (fence, next) in [
            (7, Some(8)),
            (FENCE_MAX - 1, Some(FENCE_MAX)),
            (FENCE_MAX, None),
        ] {
            assert_eq!(Fence(fence).next(), next.map(Fence));
        }
        let read = |fence| Event::read(&record(Event::Elected(Fence(fence)).write()));
        assert_eq!(read(FENCE_MAX), Some(Event::Elected(Fence(FENCE_MAX))));
        assert_eq!(read(i64::MAX), None);
    }

    #[test]
    fn what_is_no_event_is_none() {
        for event in events() {
            let mut foreign = record(event.clone().write());
            foreign.headers.clear();
            assert_eq!(Event::read(&foreign), None);
            for cut in [&b""[..], b"p=1", b"f=x n=1 p=5/9", b"\xff"] {
                let mut bad = record(event.clone().write());
                bad.headers[0].value = Some(Bytes::copy_from_slice(cut));
                assert_eq!(Event::read(&bad), None, "{event:?} {cut:?}");
            }
        }
    }
}
