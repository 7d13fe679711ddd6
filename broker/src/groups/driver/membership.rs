//! Joining, syncing, heartbeats, leaving.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{EmptyId, Groups, STRING_BYTES_MAX};
use crate::groups::error::GroupError;
use crate::groups::event::{Event, Join, JoinRefused, Joined, Leaving, Sync, Synced};
use crate::groups::member::{Client, MemberId, Protocol, Terms};
use crate::groups::shard::{Cell, Waiter};

/// Most protocols that one member may name.
const PROTOCOLS_MAX: usize = 100;

/// Most members of all groups together that were told to come back with an id: a flood of first
/// joins, each for a group of its own, must not fill the memory before they expire.
const PENDING_MAX: usize = 100_000;

/// Bytes that an id made by us adds to the client's or instance's name.
const ID_SUFFIX_BYTES: usize = 37;

/// A JoinGroup as it came in.
#[derive(Clone, Debug)]
pub(crate) struct JoinRequest {
    /// Empty for a member that has no id yet.
    pub(crate) member: String,
    /// Static identity.
    pub(crate) instance: Option<String>,
    /// The client understands that it has to come back with an id.
    pub(crate) knows_member_id_required: bool,
    /// The client understands "skip the assignment".
    pub(crate) can_skip_assignment: bool,
    /// Where it runs.
    pub(crate) client: Client,
    /// Session timeout asked for.
    pub(crate) session_timeout_ms: i32,
    /// Rebalance timeout asked for.
    pub(crate) rebalance_timeout_ms: i32,
    /// "consumer" for consumers.
    pub(crate) protocol_type: String,
    /// Protocols in order of preference.
    pub(crate) protocols: Vec<(String, Bytes)>,
}

impl JoinRequest {
    /// A dynamic member of a client that knows of this is told its id first (KIP-394).
    fn must_come_back(&self) -> bool {
        self.knows_member_id_required && self.instance.is_none()
    }
}

impl Groups {
    /// JoinGroup: ends when the member is part of a generation, or refused.
    pub(crate) async fn join(
        &self,
        group: &str,
        request: JoinRequest,
    ) -> Result<Joined, JoinRefused> {
        let refuse = |error| JoinRefused {
            member: MemberId::from(request.member.as_str()),
            error,
        };
        // Whether the group is ours comes first: a client may ask the wrong broker.
        let found = self.find(group, EmptyId::Refused).map_err(refuse)?;
        self.check_join(&request).map_err(refuse)?;
        let cell = match found {
            Some(cell) => cell,
            None if request.member.is_empty() => self
                .find_or_create(group, EmptyId::Refused)
                .map_err(refuse)?,
            None => return Err(refuse(GroupError::UnknownMemberId)),
        };
        let (sender, answer) = oneshot::channel();
        let gone = refuse(GroupError::NotCoordinator);
        {
            let mut inner = cell.inner.lock();
            let id = inner.request(Waiter::Join(sender));
            self.apply(&cell, &mut inner, Event::Join(id, join_of(request)));
            self.drop_if_never_used(&cell, &mut inner);
        }
        answer.await.unwrap_or(Err(gone))
    }

    /// SyncGroup: ends when the member's share of the generation is known.
    pub(crate) async fn sync(&self, group: &str, sync: Sync) -> Result<Synced, GroupError> {
        let cell = match self.find(group, EmptyId::Refused) {
            // The rebalance that it belongs to is lost. Old clients do not know "loading" here.
            Err(GroupError::CoordinatorLoadInProgress) => {
                return Err(GroupError::RebalanceInProgress);
            }
            found => found?.ok_or(GroupError::UnknownMemberId)?,
        };
        let bytes: usize = sync.assignment.values().map(Bytes::len).sum();
        if bytes > self.settings.metadata_bytes_max {
            return Err(GroupError::TooLarge);
        }
        let (sender, answer) = oneshot::channel();
        {
            let mut inner = cell.inner.lock();
            let id = inner.request(Waiter::Sync(sender));
            self.apply(&cell, &mut inner, Event::Sync(id, sync));
        }
        answer.await.unwrap_or(Err(GroupError::NotCoordinator))
    }

    /// Heartbeat.
    pub(crate) fn heartbeat(
        &self,
        group: &str,
        member: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), GroupError> {
        let cell = match self.find(group, EmptyId::Refused) {
            // Its session will start when the group is loaded.
            Err(GroupError::CoordinatorLoadInProgress) => return Ok(()),
            found => found?.ok_or(GroupError::UnknownMemberId)?,
        };
        let mut inner = cell.inner.lock();
        let result = inner
            .group
            .heartbeat(member, instance, generation, self.now());
        self.set_alarm(&cell, &mut inner);
        result
    }

    /// LeaveGroup: a result for each of `leaving`, in their order.
    pub(crate) async fn leave(
        &self,
        group: &str,
        leaving: Vec<Leaving>,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let Some(cell) = self.find(group, EmptyId::Refused)? else {
            return Ok(vec![Err(GroupError::UnknownMemberId); leaving.len()]);
        };
        let (sender, answer) = oneshot::channel();
        {
            let mut inner = cell.inner.lock();
            let id = inner.request(Waiter::Leave(sender));
            self.apply(&cell, &mut inner, Event::Leave(id, leaving));
        }
        answer.await.map_err(|_| GroupError::NotCoordinator)
    }

    /// What can be refused without the group.
    fn check_join(&self, request: &JoinRequest) -> Result<(), GroupError> {
        let announces = request.member.is_empty() && request.must_come_back();
        if announces && self.pending.load(Ordering::Relaxed) >= PENDING_MAX {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        if !self
            .settings
            .session_timeout_ms
            .contains(&request.session_timeout_ms)
        {
            return Err(GroupError::InvalidSessionTimeout);
        }
        let metadata: usize = request.protocols.iter().map(|(_, m)| m.len()).sum();
        if metadata > self.settings.metadata_bytes_max || request.protocols.len() > PROTOCOLS_MAX {
            return Err(GroupError::TooLarge);
        }
        let client = &request.client;
        let instance = request.instance.as_deref().unwrap_or("");
        let names = request.protocols.iter().map(|(name, _)| name.as_str());
        let strings = [
            &*client.id,
            instance,
            &request.protocol_type,
            &request.member,
        ];
        let longest = names.chain(strings).map(str::len).max().unwrap_or(0);
        if longest > STRING_BYTES_MAX - ID_SUFFIX_BYTES {
            return Err(GroupError::TooLarge);
        }
        Ok(())
    }

    /// A refused first join must not leave a group behind.
    fn drop_if_never_used(&self, cell: &Arc<Cell>, inner: &mut crate::groups::shard::Inner) {
        if inner.group.generation() == 0 {
            self.drop_if_vacant(cell, inner);
        }
    }
}

fn join_of(request: JoinRequest) -> Join {
    let fresh = match request.member.is_empty() {
        true => {
            let stem = request.instance.as_deref().unwrap_or(&request.client.id);
            MemberId::from(format!("{stem}-{}", Uuid::new_v4()))
        }
        false => MemberId::unknown(),
    };
    let must_know_id = request.must_come_back();
    Join {
        member: MemberId::from(request.member),
        fresh,
        must_know_id,
        instance: request.instance.map(Arc::from),
        can_skip_assignment: request.can_skip_assignment,
        client: request.client,
        protocol_type: request.protocol_type.into(),
        terms: Terms {
            protocols: distinct(request.protocols),
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
        },
    }
}

/// Of protocols with the same name only the first counts, and only once.
fn distinct(protocols: Vec<(String, Bytes)>) -> Vec<Protocol> {
    let mut kept: Vec<Protocol> = Vec::with_capacity(protocols.len());
    for (name, metadata) in protocols {
        if !kept.iter().any(|p| *p.name == *name) {
            let name = name.into();
            kept.push(Protocol { name, metadata });
        }
    }
    kept
}

/// The leader's shares by member; of two for the same member the later one counts.
pub(crate) fn shares(pairs: impl Iterator<Item = (String, Bytes)>) -> HashMap<MemberId, Bytes> {
    pairs
        .map(|(id, share)| (MemberId::from(id), share))
        .collect()
}
