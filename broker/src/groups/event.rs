//! What can happen to a group, and what then has to be done: the words of `state.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::error::GroupError;
use super::member::{Client, MemberId, RequestId, Terms};
use super::records::GroupRecord;

/// The time, as the driver read it: ticks for deadlines, wall time for what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// Monotonic milliseconds since some start.
    pub(crate) ticks_ms: u64,
    /// Milliseconds since 1970.
    pub(crate) wall_ms: i64,
}

/// What happens to a group.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// JoinGroup.
    Join(RequestId, Join),
    /// SyncGroup.
    Sync(RequestId, Sync),
    /// LeaveGroup: members that leave or are removed.
    Leave(RequestId, Vec<Leaving>),
    /// A record that an `Effect::Persist` asked for is in the log, or is not.
    Persisted(WriteId, Result<(), GroupError>),
    /// Time has passed; also happens by itself before every other event's effects are given.
    Tick,
    /// The partition goes to another broker: everyone who waits is told.
    Unload,
}

/// What is to be done about it, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Answer a JoinGroup.
    Joined(RequestId, Result<Joined, JoinRefused>),
    /// Answer a SyncGroup.
    Synced(RequestId, Result<Synced, GroupError>),
    /// Answer a LeaveGroup: one result for each `Leaving`, in their order.
    Left(RequestId, Vec<Result<(), GroupError>>),
    /// Append this to the group's partition, then tell with `Event::Persisted`.
    Persist(WriteId, GroupRecord),
}

/// Names a record on its way into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct WriteId(pub(crate) u64);

/// A JoinGroup, checked for its own sake: known session timeout, distinct protocol names.
#[derive(Clone, Debug)]
pub(crate) struct Join {
    /// Unknown for a member that joins for the first time.
    pub(crate) member: MemberId,
    /// The id that the member gets if it has none.
    pub(crate) fresh: MemberId,
    /// Identity of a static member.
    pub(crate) instance: Option<Arc<str>>,
    /// The client understands `MemberIdRequired` (JoinGroup 4 and later, dynamic members).
    pub(crate) must_know_id: bool,
    /// The client understands "skip the assignment" (JoinGroup 9 and later).
    pub(crate) can_skip_assignment: bool,
    /// Where it runs.
    pub(crate) client: Client,
    /// "consumer" for consumers.
    pub(crate) protocol_type: Arc<str>,
    /// Protocols and timeouts.
    pub(crate) terms: Terms,
}

/// A SyncGroup.
#[derive(Clone, Debug)]
pub(crate) struct Sync {
    /// The caller.
    pub(crate) member: MemberId,
    /// Its static identity.
    pub(crate) instance: Option<Arc<str>>,
    /// The generation that it speaks for.
    pub(crate) generation: i32,
    /// The type that the client believes in (SyncGroup 5 and later).
    pub(crate) protocol_type: Option<String>,
    /// The protocol that the client believes in (SyncGroup 5 and later).
    pub(crate) protocol: Option<String>,
    /// From the leader: each member's share. Ignored from others.
    pub(crate) assignment: HashMap<MemberId, Bytes>,
}

/// One that leaves: by member id, by instance id (an administrator does that), or both.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    /// Unknown when only the instance is named.
    pub(crate) member: MemberId,
    /// Static identity.
    pub(crate) instance: Option<Arc<str>>,
}

/// The answer to a member that is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    /// Id of the one asking.
    pub(crate) member: MemberId,
    /// Generation that it is part of.
    pub(crate) generation: i32,
    /// Type of the group.
    pub(crate) protocol_type: Option<Arc<str>>,
    /// Protocol of this generation.
    pub(crate) protocol: Option<Arc<str>>,
    /// Who assigns.
    pub(crate) leader: MemberId,
    /// The leader need not run its assignor.
    pub(crate) skip_assignment: bool,
    /// All members with their metadata: for the leader only.
    pub(crate) members: Vec<JoinedMember>,
}

/// One member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JoinedMember {
    /// Id.
    pub(crate) member: MemberId,
    /// Static identity.
    pub(crate) instance: Option<Arc<str>>,
    /// What it said for the chosen protocol.
    pub(crate) metadata: Bytes,
}

/// Why one is not in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JoinRefused {
    /// The id to come back with; unknown if it should ask for a new one.
    pub(crate) member: MemberId,
    /// Reason.
    pub(crate) error: GroupError,
}

/// A member's share of the generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Synced {
    /// Type of the group.
    pub(crate) protocol_type: Option<Arc<str>>,
    /// Protocol of the generation.
    pub(crate) protocol: Option<Arc<str>>,
    /// The share.
    pub(crate) assignment: Bytes,
}
