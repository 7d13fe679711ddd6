//! Versions of a follower's requests, and the requests themselves. Pure.
//!
//! `inter.broker.protocol.version` says what all of the cluster's brokers speak; a leader is asked what it
//! serves (`fetcher.rs`) only after it did not answer on a connection, or not in a version of ours.

use std::time::Duration;

use nyala_client::wire::Request;
use nyala_client::wire::messages::api_versions::ApiVersionsResponse;
use nyala_client::wire::messages::fetch::{
    FetchPartition, FetchRequest, FetchTopic, ForgottenTopic, ReplicaState,
};
use nyala_client::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use nyala_client::wire::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use nyala_coordinator::ids::{BrokerId, LeaderEpoch, TopicPartition};

use super::FetcherSettings;
use super::session::{Plan, Wish};
use crate::config::Release;

/// Version from which on a fetch tells where the logs part (KIP-595): no questions before.
pub(super) const FETCH_TELLS_DIVERGENCE: i16 = 12;
/// Version from which on topics go by id (KIP-516).
pub(super) const FETCH_BY_ID: i16 = 13;
/// `timestamp` of ListOffsets for the log's end.
pub(super) const LATEST: i64 = -1;
/// `timestamp` of ListOffsets for the log's start.
pub(super) const EARLIEST: i64 = -2;

/// Versions of the requests that a follower sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    /// Fetch.
    pub(crate) fetch: i16,
    /// OffsetForLeaderEpoch.
    pub(crate) epoch: i16,
    /// ListOffsets.
    pub(crate) offsets: i16,
}

impl Versions {
    /// Those of a release.
    pub(crate) fn of(release: Release) -> Self {
        let since = |table: &[(&str, i16)]| {
            let first = (table.iter()).find(|(since, _)| release >= Release::of(since));
            first
                .or_else(|| table.last())
                .map_or(0, |(_, version)| *version)
        };
        Self {
            fetch: since(&[
                ("3.9-IV0", 17),
                ("3.7-IV4", 16),
                ("3.5-IV1", 15),
                ("3.5-IV0", 14),
                ("3.1-IV0", 13),
                ("2.7-IV1", 12),
                ("2.3-IV1", 11),
                ("2.0-IV1", 10),
                ("2.0-IV0", 8),
                ("1.1-IV0", 7),
                ("0.11.0-IV1", 5),
                ("0.0-IV0", 4),
            ]),
            epoch: since(&[("2.8-IV0", 4), ("2.3-IV1", 3), ("0.0-IV0", 2)]),
            offsets: since(&[
                ("3.9-IV0", 9),
                ("3.5-IV0", 8),
                ("3.0-IV1", 7),
                ("2.8-IV0", 6),
                ("2.2-IV1", 5),
                ("2.1-IV1", 4),
                ("2.0-IV1", 3),
                ("0.11.0-IV0", 2),
                ("0.0-IV0", 1),
            ]),
        }
    }
}

impl Versions {
    /// None above what a peer says that it serves; `None` when there is nothing in common.
    pub(super) fn capped(self, served: &ApiVersionsResponse) -> Option<Self> {
        let cap = |own: i16, key: i16, least: i16| {
            let range = served.api_keys.iter().find(|k| k.api_key == key)?;
            let version = own.min(range.max_version);
            (version >= range.min_version.max(least)).then_some(version)
        };
        fn least<R: Request>() -> (i16, i16) {
            (R::KEY.code(), R::MIN_VERSION)
        }
        let of = |own, (key, least)| cap(own, key, least);
        Some(Self {
            fetch: of(self.fetch, least::<FetchRequest>())?,
            epoch: of(self.epoch, least::<OffsetForLeaderEpochRequest>())?,
            offsets: of(self.offsets, least::<ListOffsetsRequest>())?,
        })
    }
}

/// Who asks: a broker, in its current incarnation (KIP-903).
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) broker: BrokerId,
    /// -1 while it is not registered.
    pub(super) epoch: i64,
}

/// The fetch that a plan says, in a version that it is made for.
pub(super) fn fetch(
    plan: &Plan,
    asker: Asker,
    settings: &FetcherSettings,
    wait: Duration,
    version: i16,
) -> FetchRequest {
    let tells_divergence = version >= FETCH_TELLS_DIVERGENCE;
    let partition = |(tp, wish): &(TopicPartition, Wish)| FetchPartition {
        partition: tp.partition.0,
        current_leader_epoch: wish.leader_epoch,
        fetch_offset: wish.offset,
        last_fetched_epoch: if tells_divergence {
            wish.last_epoch
        } else {
            -1
        },
        log_start_offset: wish.log_start,
        partition_max_bytes: settings.partition_bytes_max,
        ..FetchPartition::default()
    };
    let same = |a: &(TopicPartition, Wish), b: &(TopicPartition, Wish)| a.0.topic == b.0.topic;
    let topics = plan.wanted.chunk_by(same).filter_map(|partitions| {
        let (tp, wish) = partitions.first()?;
        Some(FetchTopic {
            topic: tp.topic.as_str().to_owned(),
            topic_id: wish.topic_id,
            partitions: partitions.iter().map(partition).collect(),
        })
    });
    let forgotten = plan
        .forgotten
        .chunk_by(|a, b| a.0.topic == b.0.topic && a.1 == b.1);
    let forgotten = forgotten.filter_map(|partitions| {
        let (tp, topic_id) = partitions.first()?;
        Some(ForgottenTopic {
            topic: tp.topic.as_str().to_owned(),
            topic_id: *topic_id,
            partitions: partitions.iter().map(|(tp, _)| tp.partition.0).collect(),
        })
    });
    FetchRequest {
        cluster_id: None,
        // The version writes one of the two.
        replica_id: if version <= 14 { asker.broker.0 } else { -1 },
        replica_state: match version {
            ..=14 => ReplicaState::default(),
            _ => ReplicaState {
                replica_id: asker.broker.0,
                replica_epoch: asker.epoch,
            },
        },
        max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: settings.min_bytes,
        max_bytes: settings.response_bytes_max,
        isolation_level: 0,
        session_id: plan.session_id,
        session_epoch: plan.session_epoch,
        topics: topics.collect(),
        forgotten_topics_data: forgotten.collect(),
        rack_id: String::new(),
    }
}

/// Where the leader's log ends, or starts ([`LATEST`], [`EARLIEST`]).
pub(super) fn offset(
    partition: &TopicPartition,
    epoch: LeaderEpoch,
    asker: Asker,
    timestamp: i64,
) -> ListOffsetsRequest {
    ListOffsetsRequest {
        replica_id: asker.broker.0,
        isolation_level: 0,
        topics: vec![ListOffsetsTopic {
            name: partition.topic.as_str().to_owned(),
            partitions: vec![ListOffsetsPartition {
                partition_index: partition.partition.0,
                current_leader_epoch: epoch.0,
                timestamp,
            }],
        }],
    }
}

/// Where epochs end in the leader's logs: (partition, epoch that is followed, epoch asked for).
pub(super) fn epoch_ends(
    asked: &[(TopicPartition, LeaderEpoch, LeaderEpoch)],
    asker: Asker,
) -> OffsetForLeaderEpochRequest {
    let topics = asked.chunk_by(|a, b| a.0.topic == b.0.topic);
    let topics = topics.filter_map(|partitions| {
        let partition = |(tp, current, wanted): &(TopicPartition, LeaderEpoch, LeaderEpoch)| {
            OffsetForLeaderPartition {
                partition: tp.partition.0,
                current_leader_epoch: current.0,
                leader_epoch: wanted.0,
            }
        };
        Some(OffsetForLeaderTopic {
            topic: partitions.first()?.0.topic.as_str().to_owned(),
            partitions: partitions.iter().map(partition).collect(),
        })
    });
    OffsetForLeaderEpochRequest {
        replica_id: asker.broker.0,
        topics: topics.collect(),
    }
}

#[cfg(test)]
mod tests {
    use nyala_client::wire::messages::api_versions::ApiVersion;
    use nyala_coordinator::ids::{PartitionIndex, TopicId, TopicName};

    use super::*;
    use crate::config::{Properties, Settings};

    #[test]
    fn versions_follow_the_release() {
        let of = |release| {
            let v = Versions::of(Release::of(release));
            (v.fetch, v.epoch, v.offsets)
        };
        assert_eq!(of("3.9-IV0"), (17, 4, 9));
        assert_eq!(of("3.9"), (17, 4, 9));
        assert_eq!(of("3.7"), (16, 4, 8));
        assert_eq!(of("3.7-IV3"), (15, 4, 8));
        assert_eq!(of("3.0-IV1"), (12, 4, 7));
        assert_eq!(of("2.7-IV0"), (11, 3, 5));
        assert_eq!(of("2.0"), (10, 2, 3));
        assert_eq!(of("0.11.0-IV2"), (5, 2, 2));
        assert_eq!(of("0.10.2"), (4, 2, 1));
    }

    #[test]
    fn a_peer_that_serves_less_is_asked_for_less() {
        let served = |fetch: (i16, i16)| ApiVersionsResponse {
            api_keys: [(1, fetch), (2, (0, 8)), (23, (0, 4))]
                .map(|(api_key, (min_version, max_version))| ApiVersion {
                    api_key,
                    min_version,
                    max_version,
                })
                .to_vec(),
            ..ApiVersionsResponse::default()
        };
        let capped = Versions::of(Release::of("3.9")).capped(&served((0, 11)));
        assert_eq!(
            capped.map(|v| (v.fetch, v.epoch, v.offsets)),
            Some((11, 4, 8))
        );
        assert_eq!(
            Versions::of(Release::of("3.9")).capped(&served((18, 20))),
            None
        );
        assert_eq!(
            Versions::of(Release::of("3.9")).capped(&served((0, 3))),
            None
        );
    }

    #[test]
    fn topics_are_grouped_and_the_asker_stands_where_the_version_wants_it() {
        let tp = |topic: &str, partition| TopicPartition {
            topic: TopicName::new(topic).unwrap(),
            partition: PartitionIndex(partition),
        };
        let wish = Wish {
            topic_id: TopicId([7; 16]),
            leader_epoch: 3,
            offset: 10,
            last_epoch: 2,
            log_start: 1,
        };
        let plan = Plan {
            session_id: 5,
            session_epoch: 6,
            by_id: true,
            wanted: vec![(tp("a", 0), wish), (tp("a", 1), wish), (tp("b", 0), wish)],
            forgotten: vec![
                (tp("c", 1), TopicId([8; 16])),
                (tp("c", 2), TopicId([9; 16])),
            ],
        };
        let asker = Asker {
            broker: BrokerId(4),
            epoch: 99,
        };
        let (settings, _) = Settings::load(&Properties::default()).expect("defaults");
        let settings = FetcherSettings::of(&settings);
        let made = |version| fetch(&plan, asker, &settings, Duration::from_millis(7), version);
        let new = made(17);
        let lengths: Vec<usize> = new.topics.iter().map(|t| t.partitions.len()).collect();
        assert_eq!(lengths, [2, 1]);
        assert_eq!(new.forgotten_topics_data.len(), 2, "two topics of one name");
        assert_eq!((new.replica_id, new.replica_state.replica_epoch), (-1, 99));
        assert_eq!(new.topics[0].partitions[0].last_fetched_epoch, 2);
        let old = made(11);
        assert_eq!((old.replica_id, old.replica_state.replica_id), (4, -1));
        assert_eq!(old.topics[0].partitions[0].last_fetched_epoch, -1);
        assert_eq!(
            (old.max_wait_ms, old.min_bytes, old.max_bytes),
            (7, 1, 10 << 20)
        );
    }
}
