//! Load through librdkafka, with the same settings on both sides.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::histogram::Latencies;
use crate::raw::Moved;
use crate::workload::{Until, Workload};

/// How long a whole run may stand still before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts acknowledged and refused records.
#[derive(Debug, Default)]
struct Deliveries {
    acked: AtomicU64,
    refused: AtomicU64,
    latencies: Mutex<Latencies>,
}

#[derive(Clone, Debug)]
struct Counting(Arc<Deliveries>);

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = Box<Instant>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Instant>) {
        match result {
            Ok(_) => self.0.acked.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.0.refused.fetch_add(1, Ordering::Relaxed),
        };
        self.0
            .latencies
            .lock()
            .expect("no panics under this lock")
            .record(sent.elapsed());
    }
}

fn producer(
    address: &str,
    workload: &Workload,
) -> Result<(ThreadedProducer<Counting>, Arc<Deliveries>)> {
    let deliveries = Arc::new(Deliveries::default());
    let producer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("acks", workload.acks.to_string())
        .set("linger.ms", workload.linger_ms.to_string())
        .set("batch.num.messages", workload.batch_records.to_string())
        .set("batch.size", "1000000")
        .set("queue.buffering.max.messages", "200000")
        .set("queue.buffering.max.kbytes", "131072")
        .create_with_context(Counting(Arc::clone(&deliveries)))?;
    Ok((producer, deliveries))
}

/// Produces flat out, or at the workload's rate, until all is sent.
pub(crate) fn produce(
    address: &str,
    topic: &str,
    workload: &Workload,
    until: Until,
) -> Result<Moved> {
    let (producer, deliveries) = producer(address, workload)?;
    let payload = vec![b'x'; workload.record_bytes];
    let started = Instant::now();
    let mut sent = 0_u64;
    while until.goes_on(sent) {
        if workload.rate > 0 {
            let due = started + Duration::from_secs_f64(sent as f64 / f64::from(workload.rate));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let partition = i32::try_from(sent % workload.partitions.unsigned_abs() as u64)?;
        let record = BaseRecord::<(), [u8], _>::with_opaque_to(topic, Box::new(Instant::now()))
            .partition(partition)
            .payload(&payload);
        match producer.send(record) {
            Ok(()) => sent += 1,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err((e, _)) => bail!("cannot produce: {e}"),
        }
    }
    producer
        .flush(PATIENCE)
        .context("records were not acknowledged in time")?;
    let acked = deliveries.acked.load(Ordering::Relaxed);
    ensure!(
        acked == sent,
        "{sent} records were sent, {acked} acknowledged"
    );
    let latencies = std::mem::take(&mut *deliveries.latencies.lock().expect("no panics"));
    Ok(Moved {
        operations: acked,
        bytes: acked * workload.record_bytes as u64,
        latencies,
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn consumer(address: &str, workload: &Workload, topic: &str, from: Offset) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", "compare")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "100")
        .set("auto.offset.reset", "earliest")
        .create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..workload.partitions {
        list.add_partition_offset(topic, partition, from)?;
    }
    consumer.assign(&list)?;
    Ok(consumer)
}

/// Consumes `records` records, which must be there, from the beginning.
pub(crate) fn consume(
    address: &str,
    topic: &str,
    workload: &Workload,
    records: u64,
) -> Result<Moved> {
    let consumer = consumer(address, workload, topic, Offset::Beginning)?;
    let started = Instant::now();
    let mut moved = Moved::default();
    let mut last = Instant::now();
    while moved.operations < records {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                moved.operations += 1;
                moved.bytes += message.payload_len() as u64;
                last = Instant::now();
            }
            Some(Err(e)) => bail!("cannot consume: {e}"),
            None => ensure!(
                last.elapsed() < PATIENCE,
                "{} of {records} records came, then none for {PATIENCE:?}",
                moved.operations
            ),
        }
    }
    moved.seconds = started.elapsed().as_secs_f64();
    Ok(moved)
}

/// Produces at the workload's rate and measures each record from `send` to its arrival.
pub(crate) fn end_to_end(
    address: &str,
    topic: &str,
    workload: &Workload,
    seconds: f64,
) -> Result<Moved> {
    let epoch = Instant::now();
    let (producer, _) = producer(address, workload)?;
    let millis = Duration::from_secs_f64(seconds).as_millis();
    let total = u32::try_from(millis * u128::from(workload.rate) / 1000)?;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| -> Result<Moved> {
            let consumer = consumer(address, workload, topic, Offset::Beginning)?;
            let mut moved = Moved::default();
            let deadline = Instant::now() + Duration::from_secs_f64(seconds) + PATIENCE;
            while moved.operations < u64::from(total) {
                ensure!(
                    Instant::now() < deadline,
                    "{} of {total} came",
                    moved.operations
                );
                let Some(message) = consumer.poll(Duration::from_millis(200)) else {
                    continue;
                };
                let message = message?;
                let stamp = message.payload().and_then(|p| p.first_chunk::<8>());
                let sent = Duration::from_nanos(u64::from_be_bytes(*stamp.context("no stamp")?));
                moved.latencies.record(epoch.elapsed().saturating_sub(sent));
                moved.operations += 1;
                moved.bytes += message.payload_len() as u64;
            }
            moved.seconds = epoch.elapsed().as_secs_f64();
            Ok(moved)
        });
        let mut payload = vec![0; workload.record_bytes.max(8)];
        for n in 0..total {
            let due = epoch + Duration::from_secs_f64(f64::from(n) / f64::from(workload.rate));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let stamp = u64::try_from(epoch.elapsed().as_nanos())?;
            payload[..8].copy_from_slice(&stamp.to_be_bytes());
            let record = BaseRecord::<(), [u8], _>::with_opaque_to(topic, Box::new(Instant::now()))
                .partition(0)
                .payload(&payload);
            producer.send(record).map_err(|(e, _)| e)?;
        }
        producer.flush(PATIENCE)?;
        reader.join().expect("the reading thread panicked")
    })
}
