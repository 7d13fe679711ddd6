//! The Java clients under load: Kafka's VerifiableProducer and VerifiableConsumer, which print what
//! happens to each record as JSON; at their end that becomes part of the history.

use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;

use crate::history::{Outcome, Partition, Value, What};
use crate::kafka::start_tool;
use crate::load::Work;
use crate::process::Process;

/// Sends that may be under way when a producer is stopped, at most.
const UNDER_WAY_MAX: u64 = 20_000;

/// A Java client that runs.
#[derive(Debug)]
pub struct JavaClient {
    process: Process,
    client: u32,
    work: Work,
    produces: bool,
}

impl JavaClient {
    /// An idempotent producer, number `client`, with `rate` records a second over all partitions.
    #[must_use]
    pub fn produce(folder: &Path, work: &Work, client: u32, rate: u64) -> Self {
        let file = folder.join(format!("java-producer-{client}.properties"));
        // The tool forbids retries unless it is told otherwise.
        let settings = "retries=2147483647\nenable.idempotence=true\ndelivery.timeout.ms=300000\n\
                        request.timeout.ms=5000\nlinger.ms=2\nmax.block.ms=120000\n";
        std::fs::write(&file, settings).expect("properties");
        let args = [
            "--bootstrap-server",
            &work.bootstrap,
            "--topic",
            &work.topic,
            "--throughput",
            &rate.to_string(),
            "--acks",
            "-1",
            "--value-prefix",
            &client.to_string(),
            "--producer.config",
            &file.to_string_lossy(),
        ];
        Self {
            process: start_tool(folder, "VerifiableProducer", &args),
            client,
            work: work.clone(),
            produces: true,
        }
    }

    /// A member of `group`, number `client`.
    #[must_use]
    pub fn consume(folder: &Path, work: &Work, client: u32, group: &str) -> Self {
        let args = [
            "--bootstrap-server",
            &work.bootstrap,
            "--topic",
            &work.topic,
            "--group-id",
            group,
            "--session-timeout",
            "10000",
            "--verbose",
        ];
        Self {
            process: start_tool(folder, "VerifiableConsumer", &args),
            client,
            work: work.clone(),
            produces: false,
        }
    }

    /// Number of records that it has sent or read so far.
    #[must_use]
    pub fn records(&self) -> usize {
        let name = if self.produces {
            "producer_send_success"
        } else {
            "record_data"
        };
        self.process.stdout().matches(name).count()
    }

    /// Ends it and notes all that it has told.
    pub fn stop(mut self) {
        let ended = self.process.terminate();
        if self.produces {
            self.note_sends(&ended.stdout);
        } else {
            self.note_reads(&ended.stdout);
        }
    }

    fn lines(text: &str) -> impl Iterator<Item = (String, Json)> + '_ {
        text.lines().filter_map(|line| {
            let json: Json = serde_json::from_str(line).ok()?;
            let name = json.get("name")?.as_str()?.to_owned();
            Some((name, json))
        })
    }

    fn time(&self, json: &Json) -> Duration {
        let ms = json["timestamp"].as_i64().unwrap_or_default();
        self.work.recorder.at_wall_ms(ms)
    }

    fn at(json: &Json) -> Option<Partition> {
        let partition = i32::try_from(json["partition"].as_i64()?).ok()?;
        Some((json["topic"].as_str()?.into(), partition))
    }

    fn note_sends(&self, text: &str) {
        let mut answered = std::collections::BTreeSet::new();
        for (name, json) in Self::lines(text) {
            let value = Value::of(json["value"].as_str().unwrap_or_default().as_bytes());
            let number = value.0 & 0xff_ffff_ffff;
            let what = match name.as_str() {
                "producer_send_success" => {
                    let (Some(at), Some(offset)) = (Self::at(&json), json["offset"].as_i64())
                    else {
                        continue;
                    };
                    let outcome = match offset {
                        0.. => Outcome::Acked(offset),
                        _ => Outcome::InLog,
                    };
                    What::Send {
                        at,
                        value,
                        number,
                        outcome,
                    }
                }
                "producer_send_error" => self.unknown(value, number),
                _ => continue,
            };
            answered.insert(number);
            // When it began is not told: it counts as always under way.
            let times = (Duration::ZERO, self.time(&json));
            self.work.recorder.note_until(self.client, times, what);
        }
        let end = answered.last().map_or(0, |last| last + 1) + UNDER_WAY_MAX;
        let open = (0..end).filter(|number| !answered.contains(number));
        for number in open {
            let what = self.unknown(Value::new(self.client, number), number);
            let times = (Duration::ZERO, Duration::ZERO);
            self.work.recorder.note_until(self.client, times, what);
        }
    }

    fn unknown(&self, value: Value, number: u64) -> What {
        What::Send {
            at: (self.work.topic.clone(), 0),
            value,
            number,
            outcome: Outcome::Unknown,
        }
    }

    fn note_reads(&self, text: &str) {
        for (name, json) in Self::lines(text) {
            let time = self.time(&json);
            let note = |what| {
                self.work
                    .recorder
                    .note_until(self.client, (time, time), what);
            };
            match name.as_str() {
                "partitions_assigned" => {
                    let partitions = json["partitions"].as_array().into_iter().flatten();
                    for at in partitions.filter_map(Self::at) {
                        note(What::Seek { at });
                    }
                }
                "record_data" => {
                    let (Some(at), Some(offset)) = (Self::at(&json), json["offset"].as_i64())
                    else {
                        continue;
                    };
                    let value = Value::of(json["value"].as_str().unwrap_or_default().as_bytes());
                    note(What::Poll {
                        at,
                        records: vec![(offset, value)],
                    });
                }
                _ => {}
            }
        }
    }
}
