//! How long nothing is acknowledged when a leader is killed, and when it is asked to go.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use super::metadata::Metadata;
use super::trio::{PATIENCE, Trio};
use super::{Figure, SESSION, Sizes, spread};
use crate::raw::{batch, connect, i16_at, produce_frame, read_frame};

const TOPIC: &str = "failover";

/// Kills the leader again and again; from the kill to the first record that any other broker
/// acknowledges with acks=all.
pub(super) fn kills(trio: &mut Trio, sizes: &Sizes) -> Result<Vec<Figure>> {
    trio.create_topic(TOPIC, 1, &[])?;
    let frame = produce_frame(TOPIC, 0, -1, &batch(1, 100));
    let mut gaps = Vec::new();
    for _ in 0..sizes.kills {
        let leader = leader(trio)?;
        send(trio.address(leader), &frame)?;
        let killed = Instant::now();
        trio.kill(leader)?;
        let others = trio.running();
        // Asking costs little and the session takes seconds, so the others are asked in turn.
        while !others
            .iter()
            .any(|id| send(trio.address(*id), &frame).is_ok())
        {
            ensure!(killed.elapsed() < PATIENCE, "no new leader");
            std::thread::sleep(Duration::from_millis(5));
        }
        gaps.push(killed.elapsed());
        eprintln!("  {:?}", killed.elapsed());
        trio.restart(leader)?;
        wait_for_full_isr(trio)?;
    }
    let over = gaps.iter().map(|gap| gap.saturating_sub(SESSION)).max();
    Ok(vec![
        Figure {
            name: "leader killed -9 to first acknowledgement, ms, p50 / p99 (session 6000)",
            text: spread(&mut gaps),
        },
        Figure {
            name: "longest of them beyond the session, ms",
            text: over.unwrap_or_default().as_millis().to_string(),
        },
    ])
}

fn leader(trio: &Trio) -> Result<usize> {
    for id in trio.running() {
        let seen = Metadata::of(trio.address(id), TOPIC)?;
        let leader = seen.partitions.first().map_or(-1, |(leader, ..)| *leader);
        if let Ok(leader) = usize::try_from(leader) {
            return Ok(leader);
        }
    }
    anyhow::bail!("nobody leads")
}

fn wait_for_full_isr(trio: &Trio) -> Result<()> {
    trio.wait_for("the whole ISR", || {
        let mut full = true;
        for id in trio.running() {
            let seen = Metadata::of(trio.address(id), TOPIC)?;
            full &= seen.brokers == 3 && !seen.partitions.is_empty() && seen.fully_in_sync();
        }
        Ok(full)
    })
}

/// Sends one record and waits for its acknowledgement.
fn send(address: &str, frame: &[u8]) -> Result<()> {
    let mut socket = connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.write_all(frame)?;
    let mut answer = Vec::new();
    read_frame(&mut socket, &mut answer)?;
    let error = i16_at(&answer, 4 + 4 + 2 + TOPIC.len() + 4 + 4);
    ensure!(error == 0, "error code {error}");
    Ok(())
}

/// When records were acknowledged, and how many were not.
#[derive(Clone, Default)]
struct Acks(Arc<Mutex<(Vec<Instant>, usize)>>);

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut acks = self.0.lock().expect("no panic under the lock");
        match result {
            Ok(_) => acks.0.push(Instant::now()),
            Err(_) => acks.1 += 1,
        }
    }
}

/// Stops the leader by SIGTERM under an idempotent producer of 1,000 records a second, five times.
pub(super) fn shutdowns(trio: &mut Trio, _sizes: &Sizes) -> Result<Vec<Figure>> {
    trio.create_topic(TOPIC, 1, &[])?;
    let acks = Acks::default();
    let producer: ThreadedProducer<Acks> = ClientConfig::new()
        .set("bootstrap.servers", trio.bootstrap())
        .set("broker.address.family", "v4")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set("retry.backoff.ms", "20")
        .set("topic.metadata.refresh.fast.interval.ms", "20")
        .set("reconnect.backoff.ms", "20")
        // A broker that was down a moment ago is tried at once when it leads: what is measured is the
        // cluster, not how long a client stays away.
        .set("reconnect.backoff.max.ms", "100")
        .create_with_context(acks.clone())?;
    let (mut gaps, mut exits) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let leader = leader(trio)?;
        let begun = Instant::now();
        let stopped = std::thread::scope(|scope| -> Result<Duration> {
            let stopping = scope.spawn(|| {
                std::thread::sleep(Duration::from_secs(1));
                let begun = Instant::now();
                trio.stop(leader).map(|()| begun.elapsed())
            });
            for n in 0..6000_u32 {
                let due = begun + Duration::from_millis(u64::from(n));
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let record: BaseRecord<'_, (), [u8]> =
                    BaseRecord::to(TOPIC).partition(0).payload(&[7; 100]);
                producer.send(record).map_err(|(e, _)| e)?;
            }
            stopping.join().expect("the thread does not panic")
        })?;
        producer.flush(PATIENCE)?;
        exits.push(stopped);
        let mut taken = acks.0.lock().expect("no panic under the lock");
        let times = std::mem::take(&mut taken.0);
        let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max();
        gaps.push(gap.unwrap_or_default());
        drop(taken);
        trio.restart(leader)?;
        wait_for_full_isr(trio)?;
    }
    let failed = acks.0.lock().expect("no panic under the lock").1;
    Ok(vec![
        Figure {
            name: "SIGTERM of a leader: longest gap between acknowledgements, ms, p50 / worst of 5",
            text: spread(&mut gaps),
        },
        Figure {
            name: "errors that reached the idempotent producer",
            text: failed.to_string(),
        },
        Figure {
            name: "SIGTERM to the end of the process, ms, p50 / worst of 5",
            text: spread(&mut exits),
        },
    ])
}
