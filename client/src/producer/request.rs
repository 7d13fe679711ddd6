//! Numbered batches to a Produce request, and what its answer says about each.

use bytes::Bytes;
use nyala_coordinator::ids::TopicPartition;

use super::ack::Placed;
use super::config::ProducerConfig;
use super::lane::Numbered;
use crate::error::SendError;
use crate::wire::ErrorCode;
use crate::wire::batch::{BatchBuilder, BatchError, BatchOptions};
use crate::wire::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData,
};

/// The bytes of a batch under its present numbers.
pub(super) fn encode(numbered: &Numbered, config: &ProducerConfig) -> Result<Bytes, BatchError> {
    let stamp = numbered.stamp;
    let mut builder = BatchBuilder::new(BatchOptions {
        codec: config.compression,
        level: config.compression_level,
        producer_id: stamp.map_or(-1, |s| s.producer_id),
        producer_epoch: stamp.map_or(-1, |s| s.epoch),
        base_sequence: numbered.sequence,
        ..BatchOptions::default()
    });
    let mut headers = Vec::new();
    for record in &numbered.batch.records {
        headers.clear();
        headers.extend(
            record
                .headers
                .iter()
                .map(|h| (h.key.as_str(), h.value.as_deref())),
        );
        builder.append(
            record.timestamp_ms.unwrap_or(-1),
            record.key.as_deref(),
            record.value.as_deref(),
            &headers,
        )?;
    }
    builder.build()
}

/// One request for `batches`, at most one a partition.
pub(super) fn request(
    batches: Vec<(TopicPartition, Bytes)>,
    config: &ProducerConfig,
) -> ProduceRequest {
    let mut topic_data: Vec<TopicProduceData> = Vec::new();
    for (target, records) in batches {
        let data = PartitionProduceData {
            index: target.partition.0,
            records: Some(records),
        };
        match topic_data
            .last_mut()
            .filter(|t| t.name == target.topic.as_str())
        {
            Some(topic) => topic.partition_data.push(data),
            None => topic_data.push(TopicProduceData {
                name: target.topic.as_str().to_owned(),
                partition_data: vec![data],
            }),
        }
    }
    let timeout = config.cluster.connection.request_timeout.as_millis();
    ProduceRequest {
        transactional_id: None,
        acks: config.acks.code(),
        timeout_ms: i32::try_from(timeout).unwrap_or(i32::MAX),
        topic_data,
    }
}

/// What became of one batch.
#[derive(Debug)]
pub(super) enum Verdict {
    Placed(Placed),
    TooLarge(SendError),
    OutOfOrder(SendError),
    Fenced(SendError),
    /// Not now.
    Later {
        reason: String,
        /// The partition may have moved.
        moved: bool,
        /// The batch may be in the log all the same.
        doubtful: bool,
    },
    Refused(SendError),
}

/// Reads the verdict on `target` out of the answer.
pub(super) fn verdict(response: &ProduceResponse, target: &TopicPartition) -> Verdict {
    let topics = response.responses.iter();
    let topic = topics.filter(|t| t.name == target.topic.as_str());
    let mut partitions = topic.flat_map(|t| &t.partition_responses);
    let Some(answer) = partitions.find(|p| p.index == target.partition.0) else {
        return Verdict::Later {
            reason: format!("the answer says nothing about {target}"),
            moved: false,
            doubtful: true,
        };
    };
    let code = ErrorCode::from(answer.error_code);
    let error = || refusal(answer, code, target);
    match code {
        ErrorCode::None => Verdict::Placed(Placed {
            base_offset: Some(answer.base_offset),
            log_append_time_ms: Some(answer.log_append_time_ms).filter(|t| *t >= 0),
        }),
        // The broker has the batch, but no longer knows where.
        ErrorCode::DuplicateSequenceNumber => Verdict::Placed(Placed {
            base_offset: None,
            log_append_time_ms: None,
        }),
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => Verdict::TooLarge(error()),
        ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId => {
            Verdict::OutOfOrder(error())
        }
        ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced => Verdict::Fenced(error()),
        code if code.retriable() => Verdict::Later {
            reason: format!("{target}: {code}"),
            moved: moved(code),
            // Others come also of a leader that has appended and then lost its place.
            doubtful: code != ErrorCode::NotEnoughReplicas,
        },
        _ => Verdict::Refused(error()),
    }
}

/// Errors that a newer snapshot of the cluster may cure.
fn moved(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::KafkaStorageError
            | ErrorCode::UnknownTopicId
            | ErrorCode::BrokerNotAvailable
    )
}

fn refusal(
    answer: &PartitionProduceResponse,
    code: ErrorCode,
    target: &TopicPartition,
) -> SendError {
    let of_record = answer.record_errors.first();
    let words = of_record
        .and_then(|e| e.batch_index_error_message.clone())
        .or_else(|| answer.error_message.clone());
    SendError::Refused {
        target: target.clone(),
        code,
        message: words.unwrap_or_else(|| code.message().to_owned()),
    }
}
