//! Dead letters: the records of `Q.dead`.
//!
//! ```text
//! key: id   value: payload
//! headers   dead: p=PLACE n=ATTEMPT [ref=1]   error: why   task: its options
//! ```
//! `ref`: the payload would not fit beside the rest, and is read from its place in `Q.tasks`.

use bytes::Bytes;
use nyala_coordinator::ids::{PartitionIndex, TopicName};

use super::super::error::TaskError;
use super::super::event::Verdict;
use super::super::fields::{Fields, FieldsOut};
use super::super::queue::Parts;
use super::super::state::Decision;
use super::super::tail::read_at;
use super::super::task::{Options, Place, TASK, header};
use crate::consumer::ConsumerRecord;
use crate::error::SendError;
use crate::producer::{Header, Record};

/// Header of a dead letter: which task it was.
pub(crate) const DEAD: &str = "dead";
/// Header of a dead letter: why.
const ERROR: &str = "error";
/// Of an error, what a letter keeps for which more is too much.
const SHORT_ERROR_BYTES: usize = 256;

/// The place that a dead letter's header names.
pub(crate) fn dead_place(fields: Fields<'_>) -> Option<Place> {
    Place::parse(fields.text("p")?)
}

/// Whether the payload of a dead letter is to be read from its place.
pub(crate) fn is_referred(fields: Fields<'_>) -> bool {
    fields.get::<u8>("ref") == Some(1)
}

/// How much of it a letter holds: the first that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Whole,
    ShortError,
    WithoutPayload,
}

/// Writes the letter; one that does not fit is shortened until it does.
pub(super) async fn write_letter(parts: &Parts, decision: &Decision) -> Result<(), TaskError> {
    let target = parts.topics.lane(decision.place.index());
    let submitted = match read_at(&parts.cluster, &target, decision.place.offset).await {
        Ok(record) => Some(record),
        // Nothing is left to bury but the name.
        Err(TaskError::Gone { .. }) => None,
        Err(error) => return Err(error),
    };
    let mut size = Size::Whole;
    loop {
        let letter = letter(&parts.topics.dead, decision, submitted.as_ref(), size);
        let sent = match parts.producer.send(letter).await {
            Ok(ack) => ack.await.map(drop),
            Err(error) => Err(error),
        };
        size = match (sent, size) {
            (Err(error), Size::Whole) if error.is_too_large() => Size::ShortError,
            (Err(error), Size::ShortError) if error.is_too_large() => {
                told(parts, decision, &error);
                Size::WithoutPayload
            }
            (sent, _) => return Ok(sent?),
        };
    }
}

fn told(parts: &Parts, decision: &Decision, error: &SendError) {
    tracing::warn!(
        queue = parts.topics.queue,
        id = %decision.id,
        place = %decision.place,
        %error,
        "a dead letter refers to its payload, which goes with the history"
    );
}

fn letter(
    dead: &TopicName,
    decision: &Decision,
    submitted: Option<&ConsumerRecord>,
    size: Size,
) -> Record {
    let referred = size == Size::WithoutPayload && submitted.is_some();
    let fields = FieldsOut::default()
        .with("p", decision.place)
        .with("n", decision.attempt)
        .unless(&0, "ref", &u8::from(referred));
    let header = |key: &str, value: Option<Bytes>| Header {
        key: key.to_owned(),
        value,
    };
    let error = match &decision.verdict {
        Verdict::Dead { error } => Some(match size {
            Size::Whole => error.clone(),
            _ => error.slice(..error.len().min(SHORT_ERROR_BYTES)),
        }),
        _ => None,
    };
    let mut headers = vec![
        header(DEAD, Some(fields.text().into())),
        header(ERROR, error),
    ];
    headers.extend(submitted.and_then(|record| options(record, referred)));
    let payload = submitted
        .filter(|_| !referred)
        .and_then(|r| r.value.clone());
    Record {
        topic: dead.clone(),
        partition: Some(PartitionIndex(0)),
        key: Some(Bytes::copy_from_slice(decision.id.as_str().as_bytes())),
        value: payload,
        headers,
        timestamp_ms: None,
    }
}

/// The header of the task's options: as it was, or only what is understood of it.
fn options(record: &ConsumerRecord, short: bool) -> Option<Header> {
    let own = record.headers.iter().find(|h| h.key == TASK)?;
    if !short {
        return Some(own.clone());
    }
    let options = Options::read(header(&record.headers, TASK)?);
    let text = options.write(FieldsOut::default()).text();
    Some(Header {
        key: TASK.to_owned(),
        value: Some(text.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::task::TaskId;
    use super::*;

    #[test]
    fn a_letter_can_be_made_to_fit() {
        let name = |text| TopicName::new(text).expect("legal");
        let place = Place { lane: 5, offset: 7 };
        let decision = Decision {
            place,
            id: TaskId::new("t").expect("legal"),
            attempt: 3,
            verdict: Verdict::Dead {
                error: vec![b'e'; 4000].into(),
            },
        };
        let submitted = ConsumerRecord {
            topic: name("q.tasks"),
            partition: PartitionIndex(5),
            offset: 7,
            timestamp_ms: 0,
            key: None,
            value: Some(vec![b'x'; 100_000].into()),
            headers: vec![Header {
                key: TASK.to_owned(),
                value: Some(format!("retries=0 other={}", "o".repeat(50_000)).into()),
            }],
        };
        let written = |size| letter(&name("q.dead"), &decision, Some(&submitted), size);
        assert!(written(Size::Whole).bytes() > 154_000);
        let shorter = written(Size::ShortError);
        assert!(shorter.bytes() < 151_000);
        let shortest = written(Size::WithoutPayload);
        assert!(shortest.bytes() < 400);
        for (letter, referred) in [(shorter, false), (shortest, true)] {
            let fields = header(&letter.headers, DEAD).expect("it is there");
            assert_eq!(dead_place(fields), Some(place));
            assert_eq!(is_referred(fields), referred);
            let options = header(&letter.headers, TASK).map(Options::read);
            assert_eq!(options.expect("it is there").retries, 0);
        }
    }
}
