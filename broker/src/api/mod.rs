//! The requests that this broker answers: one table of key, versions and handler.
//!
//! [`TABLE`] feeds the dispatcher, the answer to ApiVersions and the list in the README. A handler
//! lives in the file of its API and is `pub(super) async fn handle(cx: &Context, request:
//! XRequest) -> XResponse`; Produce and Fetch work on the bytes themselves. Nothing here knows
//! sockets.

#[cfg(test)]
mod admin_tests;
mod admin_timeout;
mod allocate_producer_ids;
mod alter_configs;
mod alter_partition;
mod alter_partition_reassignments;
mod api_versions;
mod auto_create;
mod body;
mod brief;
mod config_resource;
mod context;
mod controlled_shutdown;
mod create_partitions;
mod create_topics;
mod cut_off;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod dispatch;
mod distinct;
mod elect_leaders;
mod endpoints;
mod error_code;
mod fetch;
mod fetch_reader;
mod fetch_session;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leader_and_isr;
mod leader_hint;
mod leave_group;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod memory;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod operations;
mod peer;
mod produce;
mod produce_direct;
mod produce_refused;
mod record_check;
pub(crate) mod reply;
mod stop_replica;
mod sync_group;
#[cfg(test)]
pub(crate) mod testing;
mod update_metadata;

pub(crate) use body::Frame;
pub use body::WorkMemory;
pub use context::{Context, Operation, Principal, Resource, Services};
pub use fetch_session::FetchSessions;
pub(crate) use memory::{Grant, RequestMemory};
pub(crate) use peer::Peer;
pub(crate) use produce_direct::Direct;
pub(crate) use reply::{CloseReason, Later, LaterAnswer, LaterKind, Payload, Reply};

use body::Body;
use nyala_client::wire::ApiKey;

/// One API of the table.
#[derive(Debug, Clone, Copy)]
pub struct Api {
    /// Key on the wire.
    pub key: ApiKey,
    /// Lowest version that ApiVersions names.
    pub min: i16,
    /// Highest version that ApiVersions names.
    pub max: i16,
    run: Run,
}

/// How an API is answered.
#[derive(Debug, Clone, Copy)]
enum Run {
    /// By [`produce`], on the bytes.
    Produce,
    /// By [`fetch`], on the bytes.
    Fetch,
    /// Decode, handle, encode.
    Plain(fn(Context, Body, i32) -> LaterAnswer),
}

/// A row whose handler is `$module::handle`.
macro_rules! plain {
    ($key:ident, $min:literal ..= $max:literal, $module:ident) => {
        Api {
            key: ApiKey::$key,
            min: $min,
            max: $max,
            run: Run::Plain(|cx, body, correlation| {
                Box::pin(async move {
                    let (request, _grant) = body::decode(&cx, body).await?;
                    let response = $module::handle(&cx, request).await;
                    dispatch::encode(&cx, correlation, &response)
                })
            }),
        }
    };
}

/// A row that works on the bytes.
macro_rules! hot {
    ($key:ident, $min:literal ..= $max:literal) => {
        Api {
            key: ApiKey::$key,
            min: $min,
            max: $max,
            run: Run::$key,
        }
    };
}

/// Every API that is served, by key. The versions are what ApiVersions says.
pub static TABLE: &[Api] = &[
    hot!(Produce, 0..=11),
    hot!(Fetch, 4..=17),
    plain!(ListOffsets, 1..=9, list_offsets),
    plain!(Metadata, 0..=13, metadata),
    plain!(LeaderAndIsr, 0..=7, leader_and_isr),
    plain!(StopReplica, 0..=4, stop_replica),
    plain!(UpdateMetadata, 0..=8, update_metadata),
    plain!(ControlledShutdown, 0..=3, controlled_shutdown),
    plain!(OffsetCommit, 2..=9, offset_commit),
    plain!(OffsetFetch, 1..=9, offset_fetch),
    plain!(FindCoordinator, 0..=6, find_coordinator),
    plain!(JoinGroup, 0..=9, join_group),
    plain!(Heartbeat, 0..=4, heartbeat),
    plain!(LeaveGroup, 0..=5, leave_group),
    plain!(SyncGroup, 0..=5, sync_group),
    plain!(DescribeGroups, 0..=6, describe_groups),
    plain!(ListGroups, 0..=5, list_groups),
    plain!(ApiVersions, 0..=4, api_versions),
    plain!(CreateTopics, 2..=7, create_topics),
    plain!(DeleteTopics, 1..=6, delete_topics),
    plain!(DeleteRecords, 0..=2, delete_records),
    plain!(InitProducerId, 0..=5, init_producer_id),
    plain!(OffsetForLeaderEpoch, 2..=4, offset_for_leader_epoch),
    plain!(DescribeConfigs, 1..=4, describe_configs),
    plain!(AlterConfigs, 0..=2, alter_configs),
    plain!(DescribeLogDirs, 1..=4, describe_log_dirs),
    plain!(CreatePartitions, 0..=3, create_partitions),
    plain!(DeleteGroups, 0..=2, delete_groups),
    plain!(ElectLeaders, 0..=2, elect_leaders),
    plain!(IncrementalAlterConfigs, 0..=1, incremental_alter_configs),
    plain!(
        AlterPartitionReassignments,
        0..=0,
        alter_partition_reassignments
    ),
    plain!(
        ListPartitionReassignments,
        0..=0,
        list_partition_reassignments
    ),
    plain!(OffsetDelete, 0..=0, offset_delete),
    plain!(AlterPartition, 0..=3, alter_partition),
    plain!(DescribeCluster, 0..=1, describe_cluster),
    plain!(AllocateProducerIds, 0..=0, allocate_producer_ids),
];

/// The row of `key`.
fn find(key: ApiKey) -> Option<&'static Api> {
    TABLE.iter().find(|api| api.key == key)
}

/// What only brokers ask each other; listeners that are only for clients do not name it.
fn is_between_brokers(key: ApiKey) -> bool {
    matches!(
        key,
        ApiKey::LeaderAndIsr
            | ApiKey::StopReplica
            | ApiKey::UpdateMetadata
            | ApiKey::ControlledShutdown
            | ApiKey::AlterPartition
            | ApiKey::AllocateProducerIds
    )
}

/// Topics that only the broker itself writes to.
fn is_internal(topic: &str) -> bool {
    matches!(topic, "__consumer_offsets" | "__transaction_state")
}
