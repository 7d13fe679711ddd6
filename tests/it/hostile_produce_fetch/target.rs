//! A broker with one topic, and requests to it.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use harness::cluster::Dev;
use harness::raw::{Answer, Raw, is_alive};
use harness::wait::{SOON, until};
use nyala_client::wire::batch::{ATTRIBUTES_AT, BatchBuilder, BatchOptions, CRC_AT};
use nyala_client::wire::frame::{decode_response, encode_request};
use nyala_client::wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use nyala_client::wire::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic,
};
use nyala_client::wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use nyala_client::wire::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData,
};
use nyala_client::wire::{ErrorCode, Message, Request, crc32c};

/// Name of the topic; it has one partition.
pub(super) const TOPIC: &str = "target";
/// Version of Produce unless a test needs another.
pub(super) const PRODUCE: i16 = 9;
/// Version of Fetch unless a test needs another: the last one with topic names.
pub(super) const FETCH: i16 = 12;

/// A broker, its topic, and an honest connection that must survive everything.
pub(super) struct Target {
    dev: Dev,
    honest: Raw,
    correlation: Cell<i32>,
}

impl Target {
    /// A fresh broker.
    pub(super) fn start() -> Self {
        Self::start_with(&[], &[])
    }

    /// A fresh broker with settings, and settings of the topic.
    pub(super) fn start_with(broker: &[&str], topic: &[(&str, &str)]) -> Self {
        let dev = Dev::start_with_overrides(broker);
        let honest = Raw::connect(&dev.ready().brokers[0]);
        let mut target = Self {
            dev,
            honest,
            correlation: Cell::new(0),
        };
        target.create(topic);
        target
    }

    fn create(&mut self, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: (*name).into(),
            value: Some((*value).into()),
        });
        let topic = CreatableTopic {
            name: TOPIC.into(),
            num_partitions: 1,
            replication_factor: 1,
            configs: configs.collect(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: 30_000,
            ..CreateTopicsRequest::default()
        };
        let created = self
            .ask(&mut self.connect(), 5, &request)
            .expect("an answer");
        assert_eq!(created.topics[0].error_code, 0, "{created:?}");
        until("the topic has a leader", || {
            let wrote = self.produce(&good(&["first"]));
            if wrote.error_code == 0 {
                Ok(())
            } else {
                Err(wrote)
            }
        });
    }

    /// Address of the first listener, which is for clients.
    pub(super) fn address(&self) -> String {
        self.dev.ready().brokers[0].clone()
    }

    pub(super) fn connect(&self) -> Raw {
        Raw::connect(&self.address())
    }

    /// Resident memory of the broker, in bytes.
    pub(super) fn resident_bytes(&mut self) -> u64 {
        let pid = self.dev.process().pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status
            .lines()
            .find(|l| l.starts_with("RssAnon"))
            .expect("Linux says so");
        let kib = line
            .split_whitespace()
            .nth(1)
            .and_then(|n| n.parse::<u64>().ok());
        kib.expect("a number") * 1024
    }

    /// CPU time of the broker, in hundredths of a second.
    pub(super) fn cpu_ticks(&mut self) -> u32 {
        let pid = self.dev.process().pid();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let times = fields
            .skip(11)
            .take(2)
            .map(|n| n.parse::<u32>().expect("a number"));
        times.sum()
    }

    /// Changes settings of the topic.
    pub(super) fn alter_topic(&self, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| AlterableConfig {
            name: (*name).into(),
            value: Some((*value).into()),
            ..AlterableConfig::default()
        });
        let resource = AlterConfigsResource {
            resource_type: 2,
            resource_name: TOPIC.into(),
            configs: configs.collect(),
        };
        let request = IncrementalAlterConfigsRequest {
            resources: vec![resource],
            validate_only: false,
        };
        let altered = self
            .ask(&mut self.connect(), 1, &request)
            .expect("an answer");
        assert_eq!(altered.responses[0].error_code, 0, "{altered:?}");
    }

    /// Sends `request` and reads its answer; `None` when the connection was closed instead.
    pub(super) fn ask<R: Request>(
        &self,
        raw: &mut Raw,
        version: i16,
        request: &R,
    ) -> Option<R::Response> {
        self.correlation.set(self.correlation.get() + 1);
        let id = self.correlation.get();
        let frame = encode_request(version, id, Some("hostile"), request).expect("encodes");
        raw.send(&frame).ok()?;
        read(raw, version, id)
    }

    /// Produces `records` with acks=1 on a connection of its own.
    pub(super) fn produce(&self, records: &[u8]) -> PartitionProduceResponse {
        self.produce_version(PRODUCE, records)
    }

    pub(super) fn produce_version(&self, version: i16, records: &[u8]) -> PartitionProduceResponse {
        let request = produce_request(1, Some(records));
        let answer = self
            .ask(&mut self.connect(), version, &request)
            .expect("an answer");
        answer.responses[0].partition_responses[0].clone()
    }

    /// `records` must be refused with `error` and leave no trace.
    pub(super) fn refuses(&self, records: &[u8], error: ErrorCode) {
        let before = self.next_offset();
        let answer = self.produce(records);
        let got = ErrorCode::from_code(answer.error_code);
        assert_eq!(got, error, "{:?}", answer.error_message);
        assert_eq!(answer.base_offset, -1);
        assert_eq!(self.next_offset(), before, "nothing may be appended");
    }

    /// One fetch without session on a connection of its own.
    pub(super) fn fetch(&self, version: i16, request: &FetchRequest) -> FetchResponse {
        self.ask(&mut self.connect(), version, request)
            .expect("an answer")
    }

    /// High watermark of the one partition.
    pub(super) fn next_offset(&self) -> i64 {
        let answer = self.fetch(FETCH, &fetch_request(0));
        answer.responses[0].partitions[0].high_watermark
    }

    /// The broker lives: the connection that was there all along, and a new one.
    pub(super) fn is_well(&mut self) {
        let request = produce_request(1, Some(&good(&["still here"])));
        self.correlation.set(self.correlation.get() + 1);
        let id = self.correlation.get();
        let frame = encode_request(PRODUCE, id, Some("honest"), &request).expect("encodes");
        self.honest
            .send(&frame)
            .expect("the honest connection is open");
        let answer: ProduceResponse = read(&mut self.honest, PRODUCE, id).expect("an answer");
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        assert!(is_alive(&self.address()));
    }

    /// The same where the broker gives idle connections up: this machine may stand still for longer than that, and then
    /// it is right to close the honest one too.
    pub(super) fn is_well_anew(&mut self) {
        self.honest = self.connect();
        self.is_well();
    }
}

/// The next answer on a connection; `None` when it was closed.
pub(super) fn read<M: Message>(raw: &mut Raw, version: i16, id: i32) -> Option<M> {
    match raw.answer(SOON) {
        Answer::Frame(frame) => {
            let (got, answer) = decode_response(&Bytes::from(frame), version).expect("decodes");
            assert_eq!(got, id, "correlation id");
            Some(answer)
        }
        Answer::Closed => None,
        Answer::Silence => panic!("no answer within {SOON:?}"),
    }
}

/// A produce request for the one partition.
pub(super) fn produce_request(acks: i16, records: Option<&[u8]>) -> ProduceRequest {
    let partition = PartitionProduceData {
        index: 0,
        records: records.map(Bytes::copy_from_slice),
    };
    let topic = TopicProduceData {
        name: TOPIC.into(),
        partition_data: vec![partition],
    };
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 30_000,
        topic_data: vec![topic],
    }
}

/// A fetch request without session for the one partition.
pub(super) fn fetch_request(offset: i64) -> FetchRequest {
    let partition = FetchPartition {
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    let topic = FetchTopic {
        topic: TOPIC.into(),
        partitions: vec![partition],
        ..FetchTopic::default()
    };
    FetchRequest {
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![topic],
        ..FetchRequest::default()
    }
}

/// An honest batch of these values.
pub(super) fn good(values: &[&str]) -> Vec<u8> {
    batch(BatchOptions::default(), values)
}

/// A batch with these settings.
pub(super) fn batch(options: BatchOptions, values: &[&str]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    for value in values {
        builder
            .append(1_700_000_000_000, None, Some(value.as_bytes()), &[])
            .expect("fits");
    }
    builder.build().expect("builds").to_vec()
}

/// `batch` with some bytes replaced and the checksum made right again.
pub(super) fn forged(mut batch: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    batch[at..at + with.len()].copy_from_slice(with);
    sealed(batch)
}

/// `batch` with a right checksum.
pub(super) fn sealed(mut batch: Vec<u8>) -> Vec<u8> {
    let crc = crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// An honest head around other record bytes.
pub(super) fn with_body(attributes: i16, count: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = good(&["x"])[..61].to_vec();
    bytes.extend_from_slice(body);
    let length = i32::try_from(bytes.len() - 12).expect("a test's batch is small");
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
    bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    sealed(bytes)
}

/// Time for what must not happen.
pub(super) const A_WHILE: Duration = Duration::from_millis(300);
