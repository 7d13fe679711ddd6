//! A member of a ZooKeeper group at work: carries out what `rebalance.rs` decides.
//!
//! One task. Operations on ZooKeeper run beside it and come back as events; those of an ended
//! session are dropped before the next one registers, so that none of them can touch what belongs
//! to another member by then. The session's lease is watched: once it ends, nothing is handed out any more,
//! whatever the state of the connection says; what was owned is parked until it is known whose it is.

mod claims;
mod effects;
mod member;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{AbortHandle, BoxFuture};
use futures::stream::FuturesUnordered;
use nyala_coordinator::clock;
use nyala_coordinator::ids::{TopicName, TopicPartition};
use nyala_coordinator::registry::Registry;
use nyala_coordinator::session::{Session, SessionState};
use nyala_coordinator::watched::Watched;
use tokio::sync::{oneshot, watch};

use super::alone::of_topics;
use super::delivery::Progress;
use super::offsets::GroupOffsets;
use super::rebalance::{Event, FencingToken, Rebalance};
use super::{Command, Parts};
use crate::error::ConsumerError;
use claims::Claims;
use member::{Begin, Member};
use nyala_coordinator::recipes::balance::Subscriptions;

/// Pause before a failed operation on ZooKeeper is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// How often the lease is looked at while it does not hold.
const LEASE_CHECK: Duration = Duration::from_millis(20);
/// An owner is looked at this often even if no watch fires.
const OWNER_CHECK: Duration = Duration::from_secs(5);
/// One's own claims are looked at, and the list as it is known is told again, this often even if no
/// watch fires.
const OWN_CHECK: Duration = Duration::from_secs(60);

type Reply = oneshot::Sender<Result<(), ConsumerError>>;

/// What an operation came to.
enum Done {
    Event(Event),
    ClaimGone(TopicPartition, FencingToken),
    Registered(u64, Option<Watched<Subscriptions>>),
    Started(TopicPartition, Begin),
    Revoked(TopicPartition, Result<(), ConsumerError>),
    Committed(Result<(), ConsumerError>, Vec<Progress>, Option<Reply>),
    Nothing,
    Left,
}

/// The driver's task.
pub(super) struct Driver {
    parts: Parts,
    session: Session,
    member: Member,
    machine: Rebalance,
    ops: FuturesUnordered<BoxFuture<'static, Done>>,
    generation: u64,
    up: bool,
    members: Option<Watched<Subscriptions>>,
    subscriptions: Subscriptions,
    /// What is owned, by the machine's word.
    owned: BTreeMap<TopicPartition, FencingToken>,
    /// Starts under way. One that is overtaken is stopped at once: it would write the offset of a
    /// partition that is another's by then.
    starting: BTreeMap<TopicPartition, AbortHandle>,
    /// Owner znodes that are watched until they go: another's that is in the way, or one's own.
    watching: BTreeMap<TopicPartition, AbortHandle>,
    claims: Claims,
    /// Keeps what the member's znode says, until that is to go.
    keeper: Option<AbortHandle>,
    committing: bool,
    closing: Option<Reply>,
    /// A partition was given up without its last commit.
    unsaved: Option<ConsumerError>,
}

impl Driver {
    pub(super) fn new(parts: Parts, group: String, session: Session) -> Self {
        let client = &parts.config.cluster.connection.client_id;
        // As Kafka's old consumer names itself; the id makes it one of a kind.
        let id = format!("{group}_{client}-{:016x}", rand::random::<u64>());
        let id = id.replace(['/', '\0'], "_");
        let registry = Registry::new(session.clone());
        let member = Member {
            offsets: Arc::new(GroupOffsets::new(&registry, &group)),
            registry,
            group: group.into(),
            id: id.as_str().into(),
            registered_in: Arc::new(watch::Sender::new(0)),
            turn: Arc::default(),
        };
        Self {
            machine: Rebalance::new(id),
            parts,
            session,
            member,
            ops: FuturesUnordered::new(),
            generation: 0,
            up: false,
            members: None,
            subscriptions: Subscriptions::new(),
            owned: BTreeMap::new(),
            starting: BTreeMap::new(),
            watching: BTreeMap::new(),
            claims: Claims::default(),
            keeper: None,
            committing: false,
            closing: None,
            unsaved: None,
        }
    }

    /// Runs until the member has left, or is aborted.
    pub(super) async fn run(mut self) {
        let mut states = self.session.states();
        let mut snapshots = self.parts.cluster.subscribe();
        let interval = self.parts.config.auto_commit_interval.max(RETRY);
        let mut commits = tokio::time::interval(interval);
        commits.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = tokio::time::interval(OWN_CHECK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.look_at_session();
            let topology = snapshots.borrow_and_update().clone();
            let wanted: BTreeSet<&TopicName> = self.subscriptions.values().flatten().collect();
            let topics = of_topics(&topology, wanted.into_iter());
            self.apply(Event::Topics(topics));
            if self.machine.has_left() && self.ops.is_empty() {
                return self.leave_done();
            }
            let lease_end = self.lease_end();
            let mut members = self.members.as_ref().map(Watched::subscribe);
            tokio::select! {
                Some(done) = self.ops.next() => self.done(done),
                Ok(()) = states.changed() => {}
                Ok(()) = snapshots.changed() => {}
                changed = changed(&mut members, &self.subscriptions) => self.members(changed),
                () = tokio::time::sleep_until(lease_end) => {}
                _ = commits.tick() => self.auto_commit(),
                _ = looks.tick() => self.tell_list_again(),
                command = self.parts.requests.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
            }
        }
    }

    fn lease_end(&self) -> tokio::time::Instant {
        if self.up {
            self.session.lease().until().into()
        } else {
            (clock::now() + LEASE_CHECK).into()
        }
    }

    fn look_at_session(&mut self) {
        let holds = self.session.lease().holds();
        match self.session.state() {
            SessionState::Connected { generation, .. } if generation != self.generation => {
                self.new_session(generation);
                if holds {
                    self.up = true;
                    self.apply(Event::SessionUp { generation });
                }
            }
            SessionState::Connected { generation, .. } if holds && !self.up => {
                self.up = true;
                self.apply(Event::SessionUp { generation });
            }
            SessionState::Lost { .. } if self.up => self.session_down(),
            _ if self.up && !holds => self.session_down(),
            _ => {}
        }
    }

    fn session_down(&mut self) {
        self.up = false;
        self.apply(Event::SessionDown);
    }

    /// The ephemerals of the last session are gone: so is everything begun under it.
    fn new_session(&mut self, generation: u64) {
        if self.up {
            self.session_down();
        }
        self.ops = FuturesUnordered::new();
        self.starting.clear();
        self.watching.clear();
        self.keeper = None;
        self.claims.new_session();
        self.parts.delivery.lose_all();
        self.parts.delivery.set_generation(generation);
        self.committing = false;
        self.generation = generation;
        if self.closing.is_some() {
            // What was to be released went with the session.
            self.leave_done();
        }
        let offsets = Arc::clone(&self.member.offsets);
        self.ops.push(Box::pin(async move {
            offsets.forget_all().await;
            Done::Nothing
        }));
    }

    fn members(&mut self, subscriptions: Subscriptions) {
        if self.up && !subscriptions.contains_key(&*self.member.id) {
            tracing::info!(group = %self.member.group, "the group's list is without this member");
        }
        for topic in subscriptions.values().flatten() {
            self.parts.cluster.want(topic);
        }
        self.subscriptions = subscriptions;
        self.tell_list();
    }

    /// One's own entry with other topics, as somebody else wrote them, counts as none: what stands there may be
    /// another's znode, which only a registration finds out.
    fn tell_list(&mut self) {
        let (me, topics) = (&*self.member.id, &self.parts.config.topics);
        let mut list = self.subscriptions.clone();
        list.retain(|id, said| id != me || said == topics);
        self.apply(Event::Members(list));
    }

    /// A list is told when it is other than the last. One without this member that looks the same again,
    /// as after two deletions of its znode in a row, is not; so it is told now and then.
    fn tell_list_again(&mut self) {
        if self.members.is_some() {
            self.tell_list();
        }
    }

    fn apply(&mut self, event: Event) {
        for effect in self.machine.apply(event) {
            self.effect(effect);
        }
    }

    fn auto_commit(&mut self) {
        if self.parts.config.auto_commit && self.up {
            self.tell_lost();
            self.commit(None);
        }
    }

    /// Who has commits made for him has nobody to tell but the log.
    fn tell_lost(&self) {
        if let Some(target) = self.parts.delivery.take_lost() {
            tracing::warn!(%target, "what was handed out was not committed before the claim ended: it is read again");
        }
    }

    fn commit(&mut self, reply: Option<Reply>) {
        let (member, delivery) = (self.member.clone(), Arc::clone(&self.parts.delivery));
        if reply.is_none() && (self.committing || delivery.uncommitted().is_empty()) {
            return;
        }
        self.committing = true;
        self.ops.push(Box::pin(async move {
            let (mut outcome, mut fenced) = (Ok(()), Vec::new());
            let _turn = member.turn.lock().await;
            for progress in delivery.uncommitted() {
                match member.commit(&progress).await {
                    Ok(()) => delivery.committed(&progress),
                    Err(error) => {
                        if matches!(error, ConsumerError::Fenced { .. }) {
                            fenced.push(progress);
                        }
                        outcome = Err(error);
                    }
                }
            }
            delivery.let_go_handled();
            if reply.is_some()
                && let Some(target) = delivery.take_lost()
            {
                outcome = Err(ConsumerError::Fenced { target });
            }
            Done::Committed(outcome, fenced, reply)
        }));
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Commit(reply) => self.commit(Some(reply)),
            Command::Close(reply) => {
                self.closing = Some(reply);
                self.tell_lost();
                if self.up {
                    self.apply(Event::Close);
                } else {
                    // Nothing is held, and nothing can be said to anyone.
                    self.leave_done();
                }
            }
        }
    }

    fn leave_done(&mut self) {
        let unsaved = self.unsaved();
        self.parts.delivery.remove_all();
        if let Some(reply) = self.closing.take() {
            // The handle may have stopped waiting.
            let _ = reply.send(unsaved.map_or(Ok(()), Err));
        }
    }

    /// Why what was handed out is not all committed, where that was to be.
    fn unsaved(&mut self) -> Option<ConsumerError> {
        if !self.parts.config.auto_commit {
            return None;
        }
        let delivery = &self.parts.delivery;
        let lost = |target| ConsumerError::Fenced { target };
        let open = || !delivery.uncommitted().is_empty();
        (self.unsaved.take())
            .or_else(|| delivery.take_lost().map(lost))
            .or_else(|| open().then_some(ConsumerError::Interrupted))
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Event(event) => {
                if let Event::Claimed { target, token, .. } = &event {
                    self.claims.made(target, *token);
                }
                self.apply(event);
            }
            Done::ClaimGone(target, token) => self.claim_gone(target, token),
            Done::Nothing => {}
            Done::Left => self.leave_done(),
            Done::Registered(generation, members) => {
                self.claims.cleared();
                self.keep_subscription();
                self.apply(Event::Registered { generation });
                if let Some(members) = members {
                    let current = members.current();
                    self.members = Some(members);
                    self.members(current);
                }
                tracing::debug!(group = %self.member.group, generation, "member registered");
            }
            Done::Started(target, begin) => {
                self.starting.remove(&target);
                let delivery = &self.parts.delivery;
                // Only what was in doubt is there to be resumed.
                if !(begin.same && delivery.resume(&target, begin.claim)) {
                    delivery.assign(target, begin.offset, Some(begin.claim));
                }
            }
            Done::Revoked(target, committed) => {
                if let Err(error) = committed {
                    tracing::warn!(%error, "the last offset of a partition was not committed");
                    self.unsaved = Some(error).filter(|_| self.closing.is_some());
                }
                self.apply(Event::LetGo { target });
            }
            Done::Committed(outcome, fenced, reply) => {
                self.committing = false;
                match reply {
                    Some(reply) => drop(reply.send(outcome)),
                    None => {
                        if let Err(error) = outcome {
                            tracing::warn!(%error, "offsets were not committed");
                        }
                    }
                }
                for progress in fenced {
                    self.restart(&progress);
                }
            }
        }
    }

    fn claim_gone(&mut self, target: TopicPartition, token: FencingToken) {
        if self.session.state().generation() != self.generation {
            // It went with its session, and what is looked at next is the end of that.
            return;
        }
        if self.owned.get(&target) == Some(&token) {
            tracing::warn!(group = %self.member.group, %target, "the claim's znode was deleted by somebody else: it is claimed anew");
        }
        self.apply(Event::ClaimGone { target, token });
    }

    /// Somebody else wrote the offset, an operator perhaps: begin again from there if the
    /// partition is still ours.
    fn restart(&mut self, progress: &Progress) {
        let target = &progress.target;
        if self.parts.delivery.fenced(progress)
            && let Some(token) = self.owned.get(target).copied()
        {
            self.start(target.clone(), token);
        }
    }
}

impl Drop for Driver {
    /// The session may be shared, and live on: nobody else would give back what is this member's.
    fn drop(&mut self) {
        let give_back = self.member.clone().give_back(self.claims.take());
        self.session.in_background(give_back);
    }
}

/// Resolves when the members are others than `known`.
async fn changed(
    members: &mut Option<watch::Receiver<Subscriptions>>,
    known: &Subscriptions,
) -> Subscriptions {
    if let Some(members) = members {
        let now = members
            .wait_for(|now| now != known)
            .await
            .map(|now| now.clone());
        if let Ok(now) = now {
            return now;
        }
    }
    std::future::pending().await
}
