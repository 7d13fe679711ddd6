//! A scheduler's state as records among the events, so that the next one need not read all history.
//!
//! ```text
//! header "checkpoint": f=FENCE from=OFFSET seq=0 of=3 pos=OFFSET,... [topic=ID] anchor=OFFSET:MS:OFFSET,...
//! value, a line an open task:  p=PLACE id=ID n=2 x=1 l=0 s=running:w:MS pri=9 ...     or   recent=ID
//! ```
//! `from`: events from there on are to be applied to it. `pos`: where to go on in each lane of `Q.tasks`;
//! what was never assigned lies behind it and is not listed. `topic`: the id of `Q.tasks`: all of it is
//! about another topic should that be made anew. `anchor`: an earlier checkpoint, of which
//! the history begins once it is old enough. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use nyala_coordinator::ids::TopicId;

use super::event::{Fence, WorkerId};
use super::fields::{Fields, FieldsOut};
use super::state::{Open, Phase, State};
use super::task::{LANES, LATER, Options, Place, TaskId};

/// Size of one record, roughly.
const PART_BYTES: usize = 256 << 10;
/// Of an error, what a checkpoint keeps.
const ERROR_BYTES_MAX: usize = 400;

/// An earlier checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Anchor {
    /// Its `from`.
    pub(crate) from: i64,
    pub(crate) at_ms: i64,
    pub(crate) positions: [i64; LANES],
}

/// One record of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) from: i64,
    pub(crate) seq: u32,
    pub(crate) of: u32,
    pub(crate) positions: [i64; LANES],
    /// `None`: not known, or written by a version that did not say.
    pub(crate) topic: Option<TopicId>,
    pub(crate) anchor: Option<Anchor>,
    pub(crate) lines: Bytes,
}

/// One line.
#[derive(Debug)]
pub(crate) enum Line {
    Open(Place, Open),
    Recent(TaskId),
}

fn join(positions: &[i64; LANES]) -> String {
    let each: Vec<String> = positions.iter().map(i64::to_string).collect();
    each.join(",")
}

fn split(text: &str) -> Option<[i64; LANES]> {
    let each: Option<Vec<i64>> = text.split(',').map(|n| n.parse().ok()).collect();
    each?.try_into().ok()
}

impl Anchor {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        Some(Self {
            from: parts.next()?.parse().ok()?,
            at_ms: parts.next()?.parse().ok()?,
            positions: split(parts.next()?)?,
        })
    }
}

impl Part {
    pub(crate) fn write(self, fields: FieldsOut) -> (FieldsOut, Bytes) {
        let fields = fields
            .with("from", self.from)
            .with("seq", self.seq)
            .with("of", self.of)
            .with("pos", join(&self.positions));
        let fields = match self.topic {
            Some(topic) => fields.with("topic", topic),
            None => fields,
        };
        let fields = match &self.anchor {
            Some(a) => {
                let text = format!("{}:{}:{}", a.from, a.at_ms, join(&a.positions));
                fields.with("anchor", text)
            }
            None => fields,
        };
        (fields, self.lines)
    }

    pub(crate) fn read(fields: Fields<'_>, value: Option<Bytes>) -> Option<Self> {
        Some(Self {
            from: fields.get("from")?,
            seq: fields.get("seq")?,
            of: fields.get("of")?,
            positions: split(fields.text("pos")?)?,
            topic: fields.text("topic").and_then(TopicId::parse),
            anchor: fields.text("anchor").and_then(Anchor::parse),
            lines: value.unwrap_or_default(),
        })
    }

    /// What its lines say; those of a later version are left out.
    pub(crate) fn read_lines(&self) -> impl Iterator<Item = Line> + '_ {
        self.lines.split(|b| *b == b'\n').filter_map(|line| {
            let fields = Fields::new(line);
            if let Some(id) = fields.text("recent") {
                return Some(Line::Recent(TaskId::new(id).ok()?));
            }
            let open = Open {
                id: TaskId::new(fields.text("id")?).ok()?,
                options: Options::read(fields),
                payload: None,
                attempt: fields.get("n")?,
                failures: fields.get("x")?,
                losses: fields.get("l")?,
                phase: read_phase(fields.text("s")?)?,
            };
            Some(Line::Open(Place::parse(fields.text("p")?)?, open))
        })
    }
}

fn write_phase(phase: &Phase) -> String {
    match phase {
        Phase::Ready(_) => "ready".to_owned(),
        Phase::Waiting { due_ms } => format!("waiting:{due_ms}"),
        Phase::Running { worker, until_ms } => {
            format!("running:{}:{worker}", until_ms.unwrap_or(0))
        }
        Phase::Failed { error, fatal } => format!("failed:{}:{}", u8::from(*fatal), escape(error)),
        // Given up again by the next scheduler, with the same words.
        Phase::Dying { error } => format!("failed:1:{}", escape(error)),
    }
}

fn read_phase(text: &str) -> Option<Phase> {
    let mut parts = text.splitn(3, ':');
    Some(match parts.next()? {
        "ready" => Phase::Ready(super::state::Turn::default()),
        "waiting" => Phase::Waiting {
            due_ms: parts.next()?.parse().ok()?,
        },
        "running" => Phase::Running {
            until_ms: Some(parts.next()?.parse().ok()?).filter(|ms| *ms > 0),
            worker: WorkerId::from(parts.next()?),
        },
        "failed" => Phase::Failed {
            fatal: parts.next()? == "1",
            error: unescape(parts.next()?),
        },
        _ => return None,
    })
}

/// As in URLs: what is no printable character stands in hexadecimal.
fn escape(bytes: &[u8]) -> String {
    let kept = bytes.get(..ERROR_BYTES_MAX).unwrap_or(bytes);
    let each = kept.iter().map(|b| match b {
        b'%' => "%25".to_owned(),
        b if b.is_ascii_graphic() => char::from(*b).to_string(),
        b => format!("%{b:02x}"),
    });
    each.collect()
}

fn unescape(text: &str) -> Bytes {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.get(..2).and_then(|d| u8::from_str_radix(d, 16).ok());
        bytes.extend(digits);
        rest = after.get(2..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes.into()
}

impl State {
    /// Where a later scheduler goes on in each lane.
    fn checkpoint_positions(&self) -> [i64; LANES] {
        let mut positions = self.positions;
        for (position, fresh) in positions.iter_mut().zip(&self.fresh) {
            if let Some(first) = fresh.first() {
                *position = (*position).min(*first);
            }
        }
        positions
    }

    /// The state as records; all events below `from` are applied.
    pub(crate) fn checkpoint(&self, from: i64, anchor: Option<&Anchor>) -> Vec<Part> {
        let mut bodies = vec![Vec::new()];
        let mut line = |text: String| {
            if let Some(body) = bodies.last_mut() {
                body.extend_from_slice(text.as_bytes());
                body.push(b'\n');
                if body.len() >= PART_BYTES {
                    bodies.push(Vec::new());
                }
            }
        };
        for (place, open) in &self.open {
            let fresh = self.fresh.get(place.index());
            if place.lane < LATER && fresh.is_some_and(|f| f.contains(&place.offset)) {
                continue;
            }
            let fields = FieldsOut::default()
                .with("p", place)
                .with("id", &open.id)
                .with("n", open.attempt)
                .with("x", open.failures)
                .with("l", open.losses)
                .with("s", write_phase(&open.phase));
            line(open.options.write(fields).text());
        }
        for id in &self.recent_order {
            line(FieldsOut::default().with("recent", id).text());
        }
        let of = u32::try_from(bodies.len()).unwrap_or(u32::MAX);
        let parts = (0..).zip(bodies).map(|(seq, body)| Part {
            from,
            seq,
            of,
            positions: self.checkpoint_positions(),
            topic: self.topic,
            anchor: anchor.cloned(),
            lines: body.into(),
        });
        parts.collect()
    }

    /// The state that `parts`, all of one checkpoint, describe.
    pub(crate) fn from_checkpoint(parts: &[Part]) -> Self {
        let mut state = Self::default();
        for part in parts {
            state.positions = part.positions;
            state.topic = part.topic;
            for line in part.read_lines() {
                match line {
                    Line::Open(place, open) => state.restore(place, open),
                    Line::Recent(id) => state.remember(id),
                }
            }
        }
        state
    }

    /// Lowest offset of each lane of `Q.tasks` that is still needed.
    pub(crate) fn needed(&self) -> [i64; LANES] {
        let mut needed = self.checkpoint_positions();
        for place in self.open.keys() {
            if let Some(least) = needed.get_mut(place.index()) {
                *least = (*least).min(place.offset);
            }
        }
        needed
    }
}

/// Gathers the records of checkpoints out of the events. Those of two schedulers may lie between each
/// other, and one may never be finished.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    begun: BTreeMap<(Fence, i64), Vec<Part>>,
}

impl Gathering {
    /// One more record; gives all of its checkpoint when they are complete.
    pub(crate) fn add(&mut self, fence: Fence, part: Part) -> Option<Vec<Part>> {
        let key = (fence, part.from);
        let parts = self.begun.entry(key).or_default();
        if part.seq == 0 {
            parts.clear();
        }
        let next = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        if part.seq != next {
            return None;
        }
        let of = part.of;
        parts.push(part);
        match next.saturating_add(1) == of {
            true => self.begun.remove(&key),
            false => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_kept_in_one_word() {
        let error = b"50% of\nit \xff:\"x\"";
        let text = escape(error);
        assert!(text.bytes().all(|b| b.is_ascii_graphic()), "{text}");
        assert_eq!(&unescape(&text)[..], error);
        assert_eq!(&unescape("a%zz%")[..], b"a");
    }

    #[test]
    fn checkpoints_are_whole_or_nothing() {
        let part = |from, seq| Part {
            from,
            seq,
            of: 2,
            positions: [3; LANES],
            topic: Some(TopicId([7; 16])),
            anchor: Some(Anchor::default()),
            lines: Bytes::new(),
        };
        let (fields, _) = part(7, 0).write(FieldsOut::default());
        let text = fields.text();
        let read = Part::read(Fields::new(text.as_bytes()), None);
        assert_eq!(read, Some(part(7, 0)));
        let mut gathering = Gathering::default();
        let mut add = |fence, part| gathering.add(Fence(fence), part).map(|p| p.len());
        assert_eq!(add(1, part(7, 1)), None, "its beginning is not there");
        assert_eq!(add(1, part(7, 0)), None);
        assert_eq!(add(2, part(9, 0)), None);
        assert_eq!(add(2, part(7, 1)), None, "another scheduler's");
        assert_eq!(add(2, part(9, 1)), Some(2));
        assert_eq!(add(1, part(7, 1)), Some(2));
    }
}
