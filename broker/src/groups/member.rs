//! One member of a group: who it is, what it supports, and what it waits for.
//!
//! Pure data for `members.rs` and `state.rs`; requests that wait are tokens, not channels.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// Member id as the group side gave it out. Empty means "not known yet". Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct MemberId(Arc<str>);

impl MemberId {
    /// The id as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// True for the id of a member that has none yet.
    pub(crate) fn is_unknown(&self) -> bool {
        self.0.is_empty()
    }

    /// The id that stands for "none yet".
    pub(crate) fn unknown() -> Self {
        Self::from("")
    }
}

impl From<&str> for MemberId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for MemberId {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Borrow<str> for MemberId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a request whose answer is given later; the driver knows who waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RequestId(pub(crate) u64);

/// One way of assigning that a member supports, with what it tells the leader about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protocol {
    /// For consumers: the assignor's name.
    pub(crate) name: Arc<str>,
    /// For consumers: the subscription.
    pub(crate) metadata: Bytes,
}

/// What a member says about itself in each JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Protocols in order of preference, names distinct.
    pub(crate) protocols: Vec<Protocol>,
    /// Silence after which the member is removed.
    pub(crate) session_timeout_ms: i32,
    /// How long a rebalance waits for the member.
    pub(crate) rebalance_timeout_ms: i32,
}

/// Where a member runs; only shown and stored, never acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// `client.id`.
    pub(crate) id: Arc<str>,
    /// Address, in Java's form: `/127.0.0.1`.
    pub(crate) host: Arc<str>,
}

/// One member. Owned by `Members`; `join` is private so that the count of joined members holds.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Given out by the group side.
    pub(crate) id: MemberId,
    /// `group.instance.id` of a static member.
    pub(crate) instance: Option<Arc<str>>,
    /// Where it runs.
    pub(crate) client: Client,
    /// What it supports, and its timeouts.
    pub(crate) terms: Terms,
    /// Its share of the current generation; empty until the leader gave it.
    pub(crate) assignment: Bytes,
    /// True until its first generation starts: until then only the new-member timeout counts.
    pub(crate) is_new: bool,
    /// When its session ends unless it is heard of (ticks in milliseconds).
    pub(crate) deadline_ms: u64,
    /// SyncGroup that waits for the assignment.
    pub(crate) sync: Option<RequestId>,
    /// JoinGroup that waits for the generation.
    pub(super) join: Option<RequestId>,
}

impl Member {
    /// True while its JoinGroup waits.
    pub(crate) fn is_joined(&self) -> bool {
        self.join.is_some()
    }

    /// True when silence may end its session: a member that waits for us cannot send heartbeats.
    pub(crate) fn can_expire(&self) -> bool {
        self.is_new || (self.join.is_none() && self.sync.is_none())
    }

    /// Its metadata for `protocol`, if it supports that.
    pub(crate) fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        let of = |p: &&Protocol| &*p.name == protocol;
        self.terms.protocols.iter().find(of).map(|p| &p.metadata)
    }
}
