//! A member of a group that a broker coordinates: Kafka's classic protocol, range assignor.
//!
//! One task goes round: find the coordinator, join, sync, read offsets, then heartbeats until the
//! group changes. Rebalances are eager: everything is let go, and committed, before the next join.

mod offsets;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::ids::{TopicName, TopicPartition};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::alone::of_topics;
use super::{Command, Parts, protocol};
use crate::cluster::{Cluster, Purpose};
use crate::connection::Connection;
use crate::error::{ClusterError, ConnectionError, ConsumerError};
use crate::wire::ErrorCode;
use crate::wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::wire::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use crate::wire::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use crate::wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use nyala_coordinator::recipes::balance::{Partitions, Subscriptions, assign_range};

/// Pause before anything that failed is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// How long a commit that the application waits for goes on looking for its coordinator
/// (`default.api.timeout.ms`).
const COMMIT_WAIT: Duration = Duration::from_secs(60);
/// Tries without a coordinator before that is worth a warning.
const MISSED_ALARM: u32 = 50;
/// The versions that are spoken here; newer ones add nothing that is used.
const JOIN_VERSION_MAX: i16 = 5;
const OFFSET_FETCH_VERSION_MAX: i16 = 5;

type Begin = (TopicPartition, Result<i64, ConsumerError>);
type Reply = oneshot::Sender<Result<(), ConsumerError>>;

/// Why a round of the protocol ended.
#[derive(Debug)]
enum End {
    /// Join again: the group changes, or this member is not known any more.
    Rejoin,
    /// The coordinator moved, or cannot be reached.
    NoCoordinator,
    /// The group refuses this member.
    Refused(ConsumerError),
    /// The application is done.
    Closed(Reply),
    /// The consumer is gone.
    Dropped,
}

impl From<ClusterError> for End {
    fn from(error: ClusterError) -> Self {
        tracing::debug!(%error, "the group's coordinator cannot be reached");
        Self::NoCoordinator
    }
}

impl From<ConnectionError> for End {
    fn from(error: ConnectionError) -> Self {
        ClusterError::from(error).into()
    }
}

/// The driver's task.
pub(super) struct Driver {
    parts: Parts,
    group: String,
    member_id: String,
    generation: i32,
    /// Commits that the application waits for while the coordinator moves, each with its deadline.
    owed: Vec<(Reply, Instant)>,
    /// Partitions of this generation without a committed offset: where they begin is asked of their
    /// leaders, who may be away, while the others are read.
    begins: JoinSet<Begin>,
}

impl Driver {
    pub(super) fn new(parts: Parts, group: String) -> Self {
        Self {
            parts,
            group,
            member_id: String::new(),
            generation: -1,
            owed: Vec::new(),
            begins: JoinSet::new(),
        }
    }

    /// Runs until the member has left, or is aborted.
    pub(super) async fn run(mut self) {
        let mut coordinator = None;
        let mut missed = 0_u32;
        loop {
            let end = self.round(&mut coordinator).await;
            missed = match end {
                End::NoCoordinator => missed.saturating_add(1),
                _ => 0,
            };
            if missed == MISSED_ALARM {
                tracing::warn!(group = %self.group, "no coordinator for the group yet, still trying");
            }
            match end {
                End::Rejoin => self.let_go(coordinator.as_ref()).await,
                End::NoCoordinator => {
                    coordinator = None;
                    self.parts.cluster.refresh();
                    tokio::time::sleep(RETRY).await;
                }
                End::Refused(error) => {
                    self.let_go(None).await;
                    self.parts.delivery.report(error);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                End::Closed(reply) => {
                    let outcome = self.leave(coordinator.as_ref()).await;
                    self.parts.delivery.remove_all();
                    // The handle may have stopped waiting.
                    let _ = reply.send(outcome);
                    return;
                }
                End::Dropped => return,
            }
        }
    }

    /// From joining to the end of the generation. Partitions stay readable while the coordinator
    /// is away: only a new generation takes them.
    async fn round(&mut self, coordinator: &mut Option<Connection>) -> End {
        let connection = match coordinator.clone().filter(Connection::is_open) {
            Some(open) => open,
            None => match find(&self.parts.cluster, &self.group).await {
                Ok(found) => coordinator.insert(found).clone(),
                Err(end) => return self.unless_closed(end).await,
            },
        };
        let joined = if self.generation >= 0 {
            // The coordinator was away and the generation may live: heartbeats will tell.
            Ok(())
        } else {
            self.join(&connection).await
        };
        match joined {
            Ok(()) => self.serve(&connection).await,
            Err(end) => self.unless_closed(end).await,
        }
    }

    /// A close that came while something failed goes first.
    async fn unless_closed(&mut self, end: End) -> End {
        self.give_up_commits();
        match self.parts.requests.try_recv() {
            Ok(Command::Close(reply)) => End::Closed(reply),
            Ok(Command::Commit(reply)) => {
                self.owed.push((reply, Instant::now() + COMMIT_WAIT));
                end
            }
            Err(_) => end,
        }
    }

    async fn join(&mut self, connection: &Connection) -> Result<(), End> {
        let joined = self.ask_join(connection).await?;
        let mine = self.sync(connection, joined).await?;
        self.begin(connection, mine).await
    }

    async fn ask_join(&mut self, connection: &Connection) -> Result<JoinGroupResponse, End> {
        let config = Arc::clone(&self.parts.config);
        let metadata = protocol::encode_subscription(&config.topics);
        let metadata =
            metadata.map_err(|_| End::Refused(self.refusal(ErrorCode::InvalidRequest)))?;
        let version = connection.version::<JoinGroupRequest>(JOIN_VERSION_MAX)?;
        // A join waits for the slowest member.
        let patience = config.poll_interval_max + Duration::from_secs(5);
        loop {
            let request = JoinGroupRequest {
                group_id: self.group.clone(),
                session_timeout_ms: millis(config.group_session_timeout),
                rebalance_timeout_ms: millis(config.poll_interval_max),
                member_id: self.member_id.clone(),
                protocol_type: protocol::CONSUMER.to_owned(),
                protocols: vec![JoinGroupRequestProtocol {
                    name: protocol::RANGE.to_owned(),
                    metadata: metadata.clone(),
                }],
                ..JoinGroupRequest::default()
            };
            let reply = connection.send_within(&request, version, patience)?;
            let joined: JoinGroupResponse = reply.wait().await?;
            match ErrorCode::from(joined.error_code) {
                ErrorCode::None => {
                    self.member_id.clone_from(&joined.member_id);
                    self.generation = joined.generation_id;
                    return Ok(joined);
                }
                // The coordinator gives an id first, so that lost joins leave no ghosts (KIP-394).
                ErrorCode::MemberIdRequired if self.member_id.is_empty() => {
                    self.member_id = joined.member_id;
                }
                code => return Err(self.end(code)),
            }
        }
    }

    async fn sync(
        &mut self,
        connection: &Connection,
        joined: JoinGroupResponse,
    ) -> Result<Vec<TopicPartition>, End> {
        let mut assignments = Vec::new();
        if joined.leader == self.member_id {
            let shares = self.divide(&joined).await;
            for member in &joined.members {
                let share = shares.get(&member.member_id).cloned().unwrap_or_default();
                let assignment = protocol::encode_assignment(&share);
                assignments.push(SyncGroupRequestAssignment {
                    member_id: member.member_id.clone(),
                    assignment: assignment.unwrap_or_default(),
                });
            }
        }
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            protocol_type: Some(protocol::CONSUMER.to_owned()),
            protocol_name: Some(protocol::RANGE.to_owned()),
            assignments,
            ..SyncGroupRequest::default()
        };
        let synced = connection.call(&request).await?;
        match ErrorCode::from(synced.error_code) {
            ErrorCode::None => protocol::decode_assignment(&synced.assignment).map_err(|error| {
                tracing::warn!(%error, group = %self.group, "the leader's assignment is malformed");
                End::Rejoin
            }),
            code => Err(self.end(code)),
        }
    }

    /// The leader's part: who gets what.
    async fn divide(
        &self,
        joined: &JoinGroupResponse,
    ) -> BTreeMap<String, BTreeMap<TopicName, Vec<nyala_coordinator::ids::PartitionIndex>>> {
        let members: Subscriptions = joined
            .members
            .iter()
            .map(|m| {
                let wish = protocol::decode_subscription(&m.metadata).unwrap_or_default();
                (m.member_id.clone(), wish)
            })
            .collect();
        let cluster = &self.parts.cluster;
        for topic in members.values().flatten() {
            // Other members may read topics that this one does not. A missing one is nobody's.
            let _ = cluster
                .await_partitions(topic, Duration::from_secs(1))
                .await;
        }
        let topics: Partitions = of_topics(&cluster.topology(), members.values().flatten());
        let mut shares: BTreeMap<String, BTreeMap<TopicName, Vec<_>>> = BTreeMap::new();
        for (target, member) in assign_range(&members, &topics) {
            let share = shares.entry(member).or_default();
            share
                .entry(target.topic)
                .or_default()
                .push(target.partition);
        }
        shares
    }

    /// Heartbeats, commits and commands, until the generation ends.
    async fn serve(&mut self, connection: &Connection) -> End {
        let config = Arc::clone(&self.parts.config);
        let mut heartbeats = tokio::time::interval(config.heartbeat_interval);
        heartbeats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let start = Instant::now() + config.auto_commit_interval;
        let interval = config.auto_commit_interval.max(RETRY);
        let mut commits = tokio::time::interval_at(start, interval);
        let mut snapshots = self.parts.cluster.subscribe();
        let known = of_topics(&self.parts.cluster.topology(), config.topics.iter());
        loop {
            if !self.owed.is_empty()
                && let Err(end) = self.commit_owed(connection).await
            {
                return end;
            }
            tokio::select! {
                _ = heartbeats.tick() => {
                    if let Err(end) = self.heartbeat(connection).await {
                        return end;
                    }
                }
                _ = commits.tick(), if config.auto_commit => {
                    if let Err(error) = self.commit(connection).await {
                        tracing::warn!(%error, "offsets were not committed");
                    }
                }
                Ok(()) = snapshots.changed() => {
                    let now = of_topics(&snapshots.borrow_and_update(), config.topics.iter());
                    if now != known {
                        return End::Rejoin;
                    }
                }
                Some(Ok((target, begin))) = self.begins.join_next() => self.begun(target, begin),
                () = connection.ended() => return End::NoCoordinator,
                command = self.parts.requests.recv() => match command {
                    Some(Command::Commit(reply)) => {
                        self.owed.push((reply, Instant::now() + COMMIT_WAIT));
                    }
                    Some(Command::Close(reply)) => return End::Closed(reply),
                    None => return End::Dropped,
                },
            }
        }
    }

    async fn heartbeat(&mut self, connection: &Connection) -> Result<(), End> {
        // A coordinator that hangs must be left while the session, at the next one, still lives.
        let config = &self.parts.config;
        let patience = config.cluster.connection.request_timeout;
        let patience = patience.min(config.group_session_timeout / 3);
        let version = connection.version::<HeartbeatRequest>(i16::MAX)?;
        let reply = connection.send_within(&self.beat(), version, patience)?;
        let beat: HeartbeatResponse = reply.wait().await?;
        match ErrorCode::from(beat.error_code) {
            ErrorCode::None => self.still_alive(),
            code => Err(self.end(code)),
        }
    }

    fn beat(&self) -> HeartbeatRequest {
        HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            ..HeartbeatRequest::default()
        }
    }

    /// An application that asks for nothing for too long leaves the group (KIP-62).
    fn still_alive(&self) -> Result<(), End> {
        let silent = self.parts.delivery.last_poll().map(|at| at.elapsed());
        match silent {
            Some(silent) if silent > self.parts.config.poll_interval_max => {
                tracing::warn!(group = %self.group, "max.poll.interval.ms passed without a poll");
                Err(End::Rejoin)
            }
            _ => Ok(()),
        }
    }

    /// Before a new generation: the application lets go of everything, and what it handled is
    /// committed while the old generation still counts.
    async fn let_go(&mut self, coordinator: Option<&Connection>) {
        let delivery = Arc::clone(&self.parts.delivery);
        let owned: Vec<TopicPartition> = delivery.positions().into_keys().collect();
        let gone = owned.iter().map(|target| delivery.leave(target));
        let all = futures::future::join_all(gone);
        // The coordinator waits for joins no longer than that either.
        let all = tokio::time::timeout(self.parts.config.poll_interval_max, all);
        let beats = async {
            loop {
                tokio::time::sleep(self.parts.config.heartbeat_interval).await;
                if let Some(connection) = coordinator {
                    // It only says that this member lives; that the group changes is known.
                    let _ = connection.call(&self.beat()).await;
                }
            }
        };
        tokio::select! {
            _ = all => {}
            () = beats => {}
        }
        let wanted = self.parts.config.auto_commit || !self.owed.is_empty();
        if let Some(connection) = coordinator.filter(|_| wanted) {
            let outcome = self.commit(connection).await;
            if let Err(error) = &outcome {
                tracing::debug!(%error, "offsets of the ending generation were not committed");
            }
            self.answer_commits(&outcome);
        }
        // What is handled and not committed belongs to the next owners from here on.
        self.answer_commits(&Err(self.refusal(ErrorCode::RebalanceInProgress)));
        self.begins = JoinSet::new();
        delivery.remove_all();
        self.generation = -1;
    }

    async fn leave(&mut self, coordinator: Option<&Connection>) -> Result<(), ConsumerError> {
        let Some(connection) = coordinator.filter(|_| self.generation >= 0) else {
            return Ok(());
        };
        let committed = match self.parts.config.auto_commit {
            true => self.commit(connection).await,
            false => Ok(()),
        };
        let request = LeaveGroupRequest {
            group_id: self.group.clone(),
            member_id: self.member_id.clone(),
            members: vec![MemberIdentity {
                member_id: self.member_id.clone(),
                ..MemberIdentity::default()
            }],
        };
        if let Err(error) = connection.call(&request).await {
            tracing::debug!(%error, "the coordinator will miss this member's heartbeats");
        }
        committed
    }

    fn end(&mut self, code: ErrorCode) -> End {
        match code {
            ErrorCode::RebalanceInProgress => End::Rejoin,
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                self.member_id.clear();
                End::Rejoin
            }
            ErrorCode::IllegalGeneration => End::Rejoin,
            code if code.retriable() => End::NoCoordinator,
            code => End::Refused(self.refusal(code)),
        }
    }

    fn refusal(&self, code: ErrorCode) -> ConsumerError {
        ConsumerError::Group {
            group: self.group.clone(),
            code,
        }
    }
}

async fn find(cluster: &Cluster, group: &str) -> Result<Connection, End> {
    let node = cluster.find_coordinator(group).await?;
    Ok(cluster.connection_for(node, Purpose::Group).await?)
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
