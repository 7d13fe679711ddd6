//! One group as a pure machine: `apply(event, now)` gives the effects, `next_deadline()` the
//! time of the next `Event::Tick`. No clock, no locks, no log, no wire; `driver.rs` has those.
//!
//! ```text
//!            join             all joined, or time is up          assignment stored
//!   Empty ---------> Preparing -------------------> Completing ------------------> Stable
//!     ^              Rebalance  <------------------ Rebalance                        |
//!     |                |   ^        join, leave, failure, sync timeout               |
//!     +----------------+   +---------------------------------------------------------+
//!      nobody joined       join of the leader or with new metadata, leave, failure
//! ```
//! Any state goes to Dead: deleted, expired, moved. As Kafka 3.9 (KIP-62, 134, 345, 394, 559, 814).

mod join;
mod rebalance;
mod sync;
mod view;

pub(crate) use view::{MemberSummary, Summary};

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::error::GroupError;
use super::event::{Effect, Event, Join, JoinRefused, JoinedMember, Now, WriteId};
use super::member::{Member, MemberId, RequestId, Terms};
use super::members::Members;
use super::records::{GroupRecord, MemberRecord};
use super::subscription;

/// A member that was never answered is forgotten after this long: it cannot send heartbeats
/// while its JoinGroup waits, and a client that gave up would stay for ever (KAFKA-6721).
const NEW_MEMBER_JOIN_TIMEOUT_MS: u64 = 5 * 60 * 1000;

/// Members that were told to come back with an id, at most, in one group: a flood of first
/// joins must not fill the memory before the entries expire.
const PENDING_MEMBERS_MAX: usize = 10_000;

/// Protocol type of consumers: their metadata tells which topics they subscribe to.
const CONSUMER: &str = "consumer";

/// Where a group stands. Named as Kafka shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No members; offsets may be there.
    Empty,
    /// Waits for the members to join.
    PreparingRebalance,
    /// Waits for the leader's assignment.
    CompletingRebalance,
    /// Every member can have its share.
    Stable,
    /// Removed, or led by another broker. Final.
    Dead,
}

impl State {
    /// Kafka's name of the state.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// The settings that the machine needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// `group.max.size`.
    pub(crate) members_max: usize,
    /// `group.initial.rebalance.delay.ms`.
    pub(crate) initial_rebalance_delay_ms: u64,
}

/// What ends the wait for joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JoinTimer {
    /// No rebalance is being prepared.
    Off,
    /// First members of an empty group: waits the whole delay, longer while new ones come.
    Initial {
        deadline_ms: u64,
        delay_ms: u64,
        remaining_ms: u64,
    },
    /// Ends when all members joined, at the latest at the deadline.
    Full { deadline_ms: u64 },
}

/// What a record on its way into the log is for.
#[derive(Clone, Debug)]
enum Write {
    /// Nobody waits for it.
    Empty,
    /// The leader's assignment for a generation.
    Assignment {
        generation: i32,
        shares: HashMap<MemberId, Bytes>,
    },
    /// A static member came back under a new id, without a rebalance.
    Replacement(Box<Replacement>),
}

/// How to answer, or undo, the return of a static member.
#[derive(Clone, Debug)]
struct Replacement {
    instance: Arc<str>,
    old: MemberId,
    new: MemberId,
    terms_before: Option<Terms>,
    leader_before: MemberId,
    can_skip_assignment: bool,
}

/// One group. Lives in the driver, under the group's lock.
///
/// Invariants: Empty has no members, CompletingRebalance and Stable have a leader and a
/// protocol; a join timer runs exactly in PreparingRebalance; `check_ms` is at most the
/// earliest session deadline that can expire.
#[derive(Debug)]
pub(crate) struct Group {
    rules: Rules,
    state: State,
    state_since_ms: Option<i64>,
    protocol_type: Option<Arc<str>>,
    protocol: Option<Arc<str>>,
    generation: i32,
    leader: Option<MemberId>,
    members: Members,
    pending: BTreeMap<MemberId, u64>,
    pending_sync: BTreeSet<MemberId>,
    subscribed: Option<BTreeSet<String>>,
    new_member_added: bool,
    join_timer: JoinTimer,
    sync_deadline_ms: Option<u64>,
    check_ms: u64,
    writes: BTreeMap<WriteId, Write>,
    next_write: u64,
}

impl Group {
    /// A group without members.
    pub(crate) fn new(rules: Rules, now: Now) -> Self {
        Self {
            rules,
            state: State::Empty,
            state_since_ms: Some(now.wall_ms),
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: Members::default(),
            pending: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            subscribed: None,
            new_member_added: false,
            join_timer: JoinTimer::Off,
            sync_deadline_ms: None,
            check_ms: u64::MAX,
            writes: BTreeMap::new(),
            next_write: 0,
        }
    }

    /// The group that a record of the log describes. Its members' sessions start now.
    pub(crate) fn load(record: GroupRecord, rules: Rules, now: Now) -> Self {
        let mut group = Self::new(rules, now);
        group.state_since_ms = (record.state_since_ms != -1).then_some(record.state_since_ms);
        group.generation = record.generation;
        group.protocol_type = Some(record.protocol_type).filter(|t| !t.is_empty());
        group.protocol = record.protocol;
        group.leader = record.leader.map(|l| MemberId::from(&*l));
        for member in record.members {
            let deadline_ms = now.ticks_ms + millis(member.session_timeout_ms);
            group.check_ms = group.check_ms.min(deadline_ms);
            group
                .members
                .insert(member.into_member(group.protocol.as_ref(), deadline_ms));
        }
        if !group.members.is_empty() {
            group.state = State::Stable;
            let known = |l: &MemberId| group.members.contains(l.as_str());
            if !group.leader.as_ref().is_some_and(known) {
                group.leader = group.members.iter().next().map(|m| m.id.clone());
            }
        }
        group.subscribed = group.read_subscriptions();
        if group.members.len() > rules.members_max {
            // Gives the members the chance to commit before some are turned away. Nobody
            // waits for an answer yet, so there are no effects to hand out.
            group.prepare_rebalance(now, &mut Vec::new());
        }
        group
    }

    /// Carries `event` out and returns what there is to do.
    pub(crate) fn apply(&mut self, event: Event, now: Now) -> Vec<Effect> {
        let mut out = Vec::new();
        match event {
            Event::Join(request, join) => self.join(request, join, now, &mut out),
            Event::Sync(request, sync) => self.sync(request, sync, now, &mut out),
            Event::Leave(request, leaving) => {
                let left = leaving
                    .iter()
                    .map(|l| self.leave(l, now, &mut out))
                    .collect();
                out.insert(0, Effect::Left(request, left));
            }
            Event::Persisted(write, result) => self.persisted(write, result, now, &mut out),
            Event::Tick => {}
            Event::Unload => self.unload(&mut out),
        }
        self.expire(now, &mut out);
        self.assert_invariants();
        out
    }

    /// When to apply `Event::Tick`, in ticks. May be early, is never late.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let join = match self.join_timer {
            JoinTimer::Off => u64::MAX,
            JoinTimer::Initial { deadline_ms, .. } | JoinTimer::Full { deadline_ms } => deadline_ms,
        };
        let sync = self.sync_deadline_ms.unwrap_or(u64::MAX);
        let next = join.min(sync).min(self.check_ms);
        (next != u64::MAX).then_some(next)
    }

    /// Heartbeat: prolongs the session. Costs two look-ups: groups of 10,000 do this often.
    pub(crate) fn heartbeat(
        &mut self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
        now: Now,
    ) -> Result<(), GroupError> {
        self.check_current(member, instance, Some(generation))?;
        self.prolong(member, now);
        match self.state {
            State::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => Ok(()),
            State::Empty | State::Dead => Err(GroupError::UnknownMemberId),
        }
    }

    /// Whether this caller may commit offsets now; prolongs its session if it is a member.
    /// Generation -1 without member: a consumer that assigns itself, or an administrator.
    pub(crate) fn check_commit(
        &mut self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
        now: Now,
    ) -> Result<(), GroupError> {
        if self.state == State::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if generation < 0 && member.is_empty() && instance.is_none() {
            return Err(GroupError::UnknownMemberId);
        }
        self.check_current(member, instance, Some(generation))?;
        if self.state == State::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        self.prolong(member, now);
        Ok(())
    }

    /// Marks an empty group as removed.
    pub(crate) fn delete(&mut self) -> Result<(), GroupError> {
        match self.state {
            State::Empty => {
                self.state = State::Dead;
                self.pending.clear();
                self.check_ms = u64::MAX;
                Ok(())
            }
            State::Dead => Err(GroupError::GroupIdNotFound),
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
                Err(GroupError::NonEmptyGroup)
            }
        }
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Type of the group, once a member told it.
    pub(crate) fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// The current generation; 0 for a group that never had members.
    pub(crate) fn generation(&self) -> i32 {
        self.generation
    }

    /// Since when the state holds (wall time), unless an old record did not tell.
    pub(crate) fn state_since_ms(&self) -> Option<i64> {
        self.state_since_ms
    }

    /// True for a group of consumers.
    pub(crate) fn is_consumer_group(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Topics that the members subscribe to, if that can be known.
    pub(crate) fn subscribed_topics(&self) -> Option<&BTreeSet<String>> {
        self.subscribed.as_ref()
    }

    /// True if nothing but a deletion could be lost with it: no members, none announced.
    pub(crate) fn is_vacant(&self) -> bool {
        self.state == State::Empty && self.pending.is_empty()
    }

    /// How many members were told to come back with the id that they got.
    pub(crate) fn pending_members(&self) -> usize {
        self.pending.len()
    }

    /// Who speaks: the static identity must be held by this member id, and the member must be
    /// here, in this generation.
    fn check_current(
        &self,
        member: &str,
        instance: Option<&str>,
        generation: Option<i32>,
    ) -> Result<(), GroupError> {
        if self.state == State::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        if let Some(instance) = instance {
            match self.members.holder(instance) {
                None => return Err(GroupError::UnknownMemberId),
                Some(holder) if holder.as_str() != member => {
                    return Err(GroupError::FencedInstanceId);
                }
                Some(_) => {}
            }
        }
        if !self.members.contains(member) {
            return Err(GroupError::UnknownMemberId);
        }
        match generation {
            Some(generation) if generation != self.generation => Err(GroupError::IllegalGeneration),
            _ => Ok(()),
        }
    }

    /// Starts the member's session anew.
    fn prolong(&mut self, member: &str, now: Now) {
        if let Some(member) = self.members.get_mut(member) {
            member.deadline_ms = now.ticks_ms + millis(member.terms.session_timeout_ms);
            self.check_ms = self.check_ms.min(member.deadline_ms);
        }
    }

    fn enter(&mut self, state: State, now: Now) {
        self.state = state;
        self.state_since_ms = Some(now.wall_ms);
    }

    /// Puts the group as it is, with these shares, on its way into the log.
    fn persist(&mut self, write: Write, out: &mut Vec<Effect>) {
        let id = WriteId(self.next_write);
        self.next_write += 1;
        let shares = match &write {
            Write::Assignment { shares, .. } => Some(shares),
            Write::Empty | Write::Replacement(_) => None,
        };
        let record = self.record(shares);
        self.writes.insert(id, write);
        out.push(Effect::Persist(id, record));
    }

    fn record(&self, shares: Option<&HashMap<MemberId, Bytes>>) -> GroupRecord {
        let share = |m: &Member| match shares {
            Some(shares) => shares.get(&m.id).cloned().unwrap_or_default(),
            None => m.assignment.clone(),
        };
        let protocol = self.protocol.as_deref().unwrap_or("");
        let members = self
            .members
            .iter()
            .map(|m| MemberRecord::of(m, protocol, share(m)));
        GroupRecord {
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| "".into()),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.as_ref().map(|l| l.as_str().into()),
            state_since_ms: self.state_since_ms.unwrap_or(-1),
            members: members.collect(),
        }
    }

    /// All members with their metadata, for the leader.
    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or("");
        let of = |m: &Member| JoinedMember {
            member: m.id.clone(),
            instance: m.instance.clone(),
            metadata: m.metadata(protocol).cloned().unwrap_or_default(),
        };
        self.members.iter().map(of).collect()
    }

    fn is_leader(&self, member: &str) -> bool {
        self.leader.as_ref().is_some_and(|l| l.as_str() == member)
    }

    fn leader_or_unknown(&self) -> MemberId {
        self.leader.clone().unwrap_or_else(MemberId::unknown)
    }

    /// Known only for consumers that all said it in a form that can be read.
    fn read_subscriptions(&self) -> Option<BTreeSet<String>> {
        if !self.is_consumer_group() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.iter() {
            topics.extend(subscription::topics(member.metadata(protocol)?)?);
        }
        Some(topics)
    }

    fn assert_invariants(&self) {
        let preparing = self.state == State::PreparingRebalance;
        debug_assert_eq!(preparing, self.join_timer != JoinTimer::Off);
        match self.state {
            State::Empty => debug_assert!(self.members.is_empty()),
            State::CompletingRebalance | State::Stable => {
                debug_assert!(self.leader.is_some() && self.protocol.is_some());
            }
            State::PreparingRebalance | State::Dead => {}
        }
    }
}

/// A timeout from the wire: negative ones count as none.
fn millis(timeout_ms: i32) -> u64 {
    u64::try_from(timeout_ms).unwrap_or(0)
}

fn refused(member: MemberId, error: GroupError) -> Result<super::event::Joined, JoinRefused> {
    Err(JoinRefused { member, error })
}

#[cfg(test)]
mod tests;
