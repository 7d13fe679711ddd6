//! FindCoordinator (key 10): which broker looks after a group. It is the leader of the partition of
//! `__consumer_offsets` that the group's id hashes to; the first request creates that topic.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use nyala_coordinator::ids::{PartitionIndex, TopicName, TopicPartition};

use super::{Context, Operation, Resource, auto_create, endpoints};
use crate::groups::OFFSETS_TOPIC;

/// Since version 4 several keys (KIP-699).
const FIRST_VERSION_WITH_KEYS: i16 = 4;
/// Since version 6 there are share groups (KIP-932).
const FIRST_VERSION_WITH_SHARE_GROUPS: i16 = 6;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// What Kafka says where nothing is wrong.
const NO_ERROR: &str = "NONE";

/// Shown to users of transactional producers.
const NO_TRANSACTIONS: &str =
    "this broker has no transactions: a producer without transactional.id works";

/// Why a coordinator is not named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// As Kafka says it.
    Code(ErrorCode),
    /// There are no transactions here, ever.
    NoTransactions,
}

/// A broker as the client may reach it.
struct Node {
    id: i32,
    host: String,
    port: i32,
}

/// Answers one request.
pub(super) async fn handle(
    cx: &Context,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let kind = request.key_type;
    if cx.version >= FIRST_VERSION_WITH_KEYS {
        let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
        for key in request.coordinator_keys {
            let found = find(cx, kind, &key).await;
            coordinators.push(one_of_several(key, found, cx.version));
        }
        return FindCoordinatorResponse {
            coordinators,
            ..FindCoordinatorResponse::default()
        };
    }
    let found = find(cx, kind, &request.key).await;
    let (error, message) = match &found {
        Ok(_) => (ErrorCode::None, NO_ERROR),
        Err(refusal) => (refusal.code(cx.version), refusal.message()),
    };
    let node = found.unwrap_or_else(|_| Node::none());
    FindCoordinatorResponse {
        error_code: error.code(),
        error_message: Some(message.to_owned()),
        node_id: node.id,
        host: node.host,
        port: node.port,
        ..FindCoordinatorResponse::default()
    }
}

impl Refusal {
    /// Transactional producers ask for ever unless the error is one that their client gives up at:
    /// librdkafka, which asks in version 2 at most, knows only failed authorisations as such; Java's
    /// and other clients give up at any error that is not temporary.
    fn code(self, version: i16) -> ErrorCode {
        match self {
            Self::Code(code) => code,
            Self::NoTransactions if version < FIRST_VERSION_WITH_KEYS => {
                ErrorCode::TransactionalIdAuthorizationFailed
            }
            Self::NoTransactions => ErrorCode::UnsupportedVersion,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::Code(code) => code.message(),
            Self::NoTransactions => NO_TRANSACTIONS,
        }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

fn one_of_several(key: String, found: Result<Node, Refusal>, version: i16) -> Coordinator {
    let (error, message) = match &found {
        Ok(_) => (ErrorCode::None, ""),
        // Kafka sets no words here, and none is an empty text.
        Err(Refusal::Code(code)) => (*code, ""),
        Err(refusal) => (refusal.code(version), refusal.message()),
    };
    let node = found.unwrap_or_else(|_| Node::none());
    Coordinator {
        key,
        node_id: node.id,
        host: node.host,
        port: node.port,
        error_code: error.code(),
        error_message: Some(message.to_owned()),
    }
}

async fn find(cx: &Context, kind: i8, key: &str) -> Result<Node, Refusal> {
    match kind {
        GROUP if !cx.authorize(Operation::Describe, Resource::Group(key)) => {
            Err(ErrorCode::GroupAuthorizationFailed.into())
        }
        GROUP => Ok(find_group(cx, key).await?),
        TRANSACTION if !cx.authorize(Operation::Describe, Resource::TransactionalId(key)) => {
            Err(ErrorCode::TransactionalIdAuthorizationFailed.into())
        }
        TRANSACTION => Err(Refusal::NoTransactions),
        // Share groups are for Kafka 4.
        SHARE if cx.version >= FIRST_VERSION_WITH_SHARE_GROUPS => {
            Err(ErrorCode::CoordinatorNotAvailable.into())
        }
        _ => Err(ErrorCode::InvalidRequest.into()),
    }
}

fn no_offsets_topic(cx: &Context, error: ErrorCode) -> String {
    let cluster = &cx.services.cluster;
    let replicas = cluster.live().get().offsets_topic_replication_factor;
    let alive = cluster.snapshot().brokers.len();
    format!(
        "{OFFSETS_TOPIC} was not created, so no group can work: {error}; \
         offsets.topic.replication.factor={replicas}, brokers alive: {alive}"
    )
}

async fn find_group(cx: &Context, group: &str) -> Result<Node, ErrorCode> {
    let unavailable = ErrorCode::CoordinatorNotAvailable;
    let topic = TopicName::new(OFFSETS_TOPIC).map_err(|_| unavailable)?;
    if !cx.services.cluster.snapshot().topics.contains_key(&topic) {
        let refused = auto_create::create(cx, std::slice::from_ref(&topic)).await;
        let why = refused
            .get(&topic)
            .map(|error| no_offsets_topic(cx, *error));
        if cx.services.no_offsets_topic.is_news(why.clone()) {
            tracing::warn!("{}", why.as_deref().unwrap_or_default());
        }
        if why.is_some() {
            return Err(unavailable);
        }
    }
    let snapshot = cx.services.cluster.snapshot();
    let count = snapshot
        .topics
        .get(&topic)
        .map_or(0, |t| t.partitions.len());
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    if count == 0 {
        return Err(unavailable);
    }
    // The groups follow the cluster, too, but may be a moment behind.
    cx.services.groups.set_partition_count(count);
    let partition = PartitionIndex(cx.services.groups.partition_for(group));
    let leader = snapshot
        .leader(&TopicPartition { topic, partition })
        .ok_or(unavailable)?;
    let mut reachable = endpoints::reachable(&snapshot, &cx.listener_name);
    let (broker, endpoint) = reachable
        .find(|(b, _)| b.id == leader.id)
        .ok_or(unavailable)?;
    let here = broker.id == cx.services.cluster.this_broker();
    if here && !cx.services.groups.coordinates(group) {
        // Elected, and about to learn of it: who came now would be sent away again.
        return Err(unavailable);
    }
    Ok(Node {
        id: broker.id.0,
        host: endpoint.host.clone(),
        port: i32::from(endpoint.port),
    })
}

impl Node {
    /// How an answer says that there is none.
    fn none() -> Self {
        Self {
            id: -1,
            host: String::new(),
            port: -1,
        }
    }
}
