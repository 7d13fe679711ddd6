//! librdkafka through the `rdkafka` crate: the foreign client that tests write and read with.

use std::collections::HashMap;
use std::time::Duration;

use nyala_coordinator::clock;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::metadata::Metadata;
use rdkafka::producer::FutureProducer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::wait::{SOON, until};

/// librdkafka's settings for `bootstrap`, with `extra` pairs on top.
#[must_use]
pub fn config(bootstrap: &str, extra: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("broker.address.family", "v4")
        .set("reconnect.backoff.max.ms", "500")
        .set("retry.backoff.ms", "50");
    for (key, value) in extra {
        config.set(*key, *value);
    }
    config
}

/// An idempotent producer with acks=all.
pub fn producer(bootstrap: &str, extra: &[(&str, &str)]) -> FutureProducer {
    let mut config = config(
        bootstrap,
        &[("enable.idempotence", "true"), ("linger.ms", "1")],
    );
    for (key, value) in extra {
        config.set(*key, *value);
    }
    config.create().expect("producer settings are legal")
}

/// Everything of one partition up to its end at the time of the call: (offset, value).
#[must_use]
pub fn read_all(bootstrap: &str, topic: &str, partition: i32) -> Vec<(i64, Vec<u8>)> {
    let end_of_wait = clock::now() + SOON;
    // librdkafka keeps for minutes what it is told first, so each try is a client of its own.
    let (consumer, low, high) = loop {
        let consumer = reader(bootstrap);
        match consumer.fetch_watermarks(topic, partition, Duration::from_secs(5)) {
            Ok((low, high)) => break (consumer, low, high),
            Err(e) => {
                let told = consumer.fetch_metadata(Some(topic), Duration::from_secs(5));
                let told = told.map(|m| format!("{:?}", ids_and_leaders(&m)));
                eprintln!("watermarks of {topic}-{partition}: {e}; the brokers say {told:?}");
                assert!(clock::now() < end_of_wait, "watermarks of {topic}: {e}");
            }
        }
    };
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(low))
        .expect("a legal offset");
    consumer.assign(&list).expect("assignable");
    let mut records = Vec::new();
    let mut next = low;
    while next < high {
        assert!(
            clock::now() < end_of_wait,
            "{topic}-{partition}: stuck at {next} of {high}"
        );
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                next = message.offset() + 1;
                records.push((message.offset(), message.payload().unwrap_or(b"").to_vec()));
            }
            Some(Err(e)) => eprintln!("{topic}-{partition}: {e}"),
            None => {}
        }
    }
    records
}

fn reader(bootstrap: &str) -> BaseConsumer {
    let settings = [
        ("group.id", "read-all"),
        ("enable.auto.commit", "false"),
        ("enable.partition.eof", "false"),
        ("check.crcs", "true"),
    ];
    let made = config(bootstrap, &settings).create();
    made.expect("consumer settings are legal")
}

/// Of every partition that is told.
fn ids_and_leaders(metadata: &Metadata) -> Vec<(i32, i32)> {
    let topics = metadata.topics().iter();
    let partitions = topics.flat_map(|topic| topic.partitions());
    partitions.map(|p| (p.id(), p.leader())).collect()
}

/// Committed offsets of a group on one topic, by partition.
#[must_use]
pub fn committed(bootstrap: &str, group: &str, topic: &str, partitions: i32) -> HashMap<i32, i64> {
    let consumer: BaseConsumer = config(bootstrap, &[("group.id", group)])
        .create()
        .expect("consumer settings are legal");
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition(topic, partition);
    }
    // A coordinator that has just started says for a moment that it is none.
    let list = until("the group's coordinator to answer", || {
        consumer.committed_offsets(list.clone(), SOON)
    });
    list.elements()
        .iter()
        .filter_map(|e| match e.offset() {
            Offset::Offset(offset) => Some((e.partition(), offset)),
            _ => None,
        })
        .collect()
}
