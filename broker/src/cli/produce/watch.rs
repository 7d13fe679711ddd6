//! What becomes of the records of `nyala produce`: acknowledged, refused, or nobody knows.
//!
//! Acks are awaited in the order of the lines. A wait that is long is told, with the reason, and seldom.

use std::time::{Duration, Instant};

use futures::FutureExt as _;
use nyala_client::Producer;
use nyala_client::error::SendError;
use nyala_client::producer::Ack;
use nyala_coordinator::clock;
use tokio::sync::{Notify, mpsc};

use crate::cli::progress::Progress;

/// A wait of so long for one record is told.
const TELL_AFTER: Duration = Duration::from_secs(3);
/// And again after so long.
const TELL_AGAIN: Duration = Duration::from_secs(15);

/// What the task that waits for acks is told of each line.
pub(super) enum Fate {
    /// On its way; so many bytes.
    Sent(Ack, u64),
    /// Not even sent.
    Refused(String),
}

/// How many records ended how.
#[derive(Debug)]
pub(super) struct Tally {
    /// Those that were acknowledged.
    pub(super) progress: Progress,
    /// Those that are in no log.
    pub(super) refused: u64,
    /// Those that nobody acknowledged and that may be in the log.
    pub(super) unknown: u64,
    /// Those that were still on their way when there was no more time to wait.
    pub(super) left: u64,
    line: u64,
    quiet_until: Instant,
}

/// Waits for acks in the order of the lines, and reports each record that is not safe; after `give_up`
/// only counts.
pub(super) async fn watch(
    mut waiting: mpsc::Receiver<Fate>,
    progress: Progress,
    producer: Producer,
    give_up: &Notify,
) -> Tally {
    let mut tally = Tally::new(progress);
    while let Some(fate) = waiting.recv().await {
        tally.line += 1;
        let (mut ack, bytes) = match fate {
            Fate::Sent(ack, bytes) => (ack, bytes),
            Fate::Refused(reason) => {
                tally.refuse(&reason);
                continue;
            }
        };
        if let Some(outcome) = (&mut ack).now_or_never() {
            tally.count(outcome.map(|_| bytes));
            continue;
        }
        tokio::select! {
            outcome = tally.patient(&mut ack, &waiting, &producer) => {
                let outcome = outcome.map(|_| bytes);
                tally.count(outcome);
            }
            () = give_up.notified() => {
                tally.leave(ack, bytes, &mut waiting);
                break;
            }
        }
    }
    tally
}

impl Tally {
    fn new(progress: Progress) -> Self {
        Self {
            progress,
            refused: 0,
            unknown: 0,
            left: 0,
            line: 0,
            quiet_until: clock::now(),
        }
    }

    fn count(&mut self, outcome: Result<u64, SendError>) {
        match outcome {
            Ok(bytes) => self.progress.add(1, bytes),
            Err(error) if error.may_be_written() => {
                self.unknown += 1;
                let line = self.line;
                let words = format!("line {line}: {error}; it may have been written");
                self.progress.say(&words);
            }
            Err(error) => self.refuse(&error.to_string()),
        }
    }

    fn refuse(&mut self, reason: &str) {
        self.refused += 1;
        self.progress.say(&format!("line {}: {reason}", self.line));
    }

    /// The outcome of an ack; what is long in coming is told.
    async fn patient(
        &mut self,
        ack: &mut Ack,
        waiting: &mpsc::Receiver<Fate>,
        producer: &Producer,
    ) -> <Ack as Future>::Output {
        loop {
            let tell_at = self.quiet_until.max(clock::now() + TELL_AFTER);
            if let Ok(outcome) = tokio::time::timeout_at(tell_at.into(), &mut *ack).await {
                return outcome;
            }
            self.quiet_until = clock::now() + TELL_AGAIN;
            let behind = match waiting.len() {
                0 => String::new(),
                n => format!(" (up to {n} more behind it)"),
            };
            let reason = producer.obstacle();
            let reason = reason.map(|words| format!(": {words}")).unwrap_or_default();
            let line = self.line;
            let words = format!("line {line} is not acknowledged yet{behind}{reason}");
            self.progress.say(&words);
        }
    }

    /// Counts what is there by now, and the rest as left.
    fn leave(&mut self, ack: Ack, bytes: u64, waiting: &mut mpsc::Receiver<Fate>) {
        let mut next = Some(Fate::Sent(ack, bytes));
        while let Some(fate) = next {
            match fate {
                Fate::Refused(reason) => self.refuse(&reason),
                Fate::Sent(ack, bytes) => match ack.now_or_never() {
                    Some(outcome) => self.count(outcome.map(|_| bytes)),
                    None => self.left += 1,
                },
            }
            next = waiting.try_recv().ok();
            self.line += 1;
        }
    }

    /// What is to be said of records that are not safe; nothing if all are.
    pub(super) fn complaint(&self) -> Option<String> {
        let records = |n: u64| match n {
            1 => "1 record was".to_owned(),
            n => format!("{n} records were"),
        };
        let refused = (self.refused > 0).then(|| format!("{} refused", records(self.refused)));
        let unknown = (self.unknown > 0).then(|| {
            format!(
                "{} not acknowledged and may have been written: sending again may double them",
                records(self.unknown)
            )
        });
        let all: Vec<String> = refused.into_iter().chain(unknown).collect();
        (!all.is_empty()).then(|| format!("{}, see above", all.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use nyala_client::wire::ErrorCode;
    use nyala_coordinator::ids::{PartitionIndex, TopicName, TopicPartition};

    use super::*;

    fn target() -> TopicPartition {
        TopicPartition {
            topic: TopicName::new("t").expect("legal"),
            partition: PartitionIndex(0),
        }
    }

    fn undelivered(doubtful: bool) -> SendError {
        SendError::Undelivered {
            target: target(),
            waited: Duration::from_secs(1),
            reason: "no answer".to_owned(),
            doubtful,
        }
    }

    fn refused(code: ErrorCode) -> SendError {
        SendError::Refused {
            target: target(),
            code,
            message: String::new(),
        }
    }

    #[test]
    fn what_may_have_been_written_is_not_called_refused() {
        let complaint = |errors: &[SendError]| {
            let mut tally = Tally::new(Progress::new("produced", None, false));
            tally.count(Ok(1));
            for error in errors {
                tally.count(Err(error.clone()));
            }
            tally.complaint()
        };
        assert_eq!(complaint(&[]), None);
        let one = complaint(&[undelivered(false)]);
        assert_eq!(one.as_deref(), Some("1 record was refused, see above"));
        let two = complaint(&[
            undelivered(true),
            refused(ErrorCode::OutOfOrderSequenceNumber),
        ]);
        assert_eq!(
            two.as_deref(),
            Some(
                "2 records were not acknowledged and may have been written: \
                 sending again may double them, see above"
            )
        );
        let both = complaint(&[undelivered(true), refused(ErrorCode::InvalidRecord)]);
        let both = both.expect("two are not safe");
        assert!(both.starts_with("1 record was refused; 1 record was not acknowledged"));
    }
}
