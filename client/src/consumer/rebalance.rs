//! A member of a ZooKeeper group: events in, effects out. Pure: no ZooKeeper, no clock.
//!
//! The owner znode of a partition is a lock. It is claimed before the first fetch and released
//! only after the application has let go of the partition (KAFKA-914, KAFKA-1139), so two live
//! members never own the same partition, whatever order they see the changes in. There is one
//! rebalance at a time: each event settles the difference between what the member holds and what
//! the lists say, and what changes meanwhile is settled by the next event.
//!
//! ```text
//!                claim          busy            owner gone
//!   (nothing) --------> Claiming ----> Waiting ------------> Claiming
//!       ^                  | claimed
//!       |  released        v             not mine            application let go
//!   Releasing           Owned ---------------------> Revoking ------------> Releasing
//!
//!   session down: what is Owned is Adrift (perhaps still ours, perhaps not) until it is up again,
//!   then it is claimed as before, or, not mine any more, Revoking;
//!   the rest goes on: what is under way on ZooKeeper is answered when it is back
//!
//!   claim gone (somebody deleted the znode): what is Owned is Adrift, and claimed as if it had been
//!   Adrift before; what is not Owned any more goes its way
//! ```
//!
//! The member's own znode can be deleted, too. Every list without it that comes while the session is
//! up is followed by a `Register` begun after it, and so is every silence of the session: one at a
//! time, so that a list that was read before the registration costs one more at most, and none
//! undoes what was claimed after another.

use std::collections::{BTreeMap, BTreeSet};

use nyala_coordinator::ids::TopicPartition;

use nyala_coordinator::recipes::balance::{Partitions, Subscriptions, assign};

/// The czxid of an owner znode: grows with every claim of a partition, so that a store that
/// remembers the largest one can refuse a member that lost the partition without noticing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FencingToken(pub i64);

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// The session is usable. A new generation means that all ephemerals of the last are gone.
    SessionUp { generation: u64 },
    /// The session is lost, or silent for longer than the lease: another member may own what
    /// this one held.
    SessionDown,
    /// The member's znode is there. Told before a list that was read after it.
    Registered { generation: u64 },
    /// The members of the group as the registry has them.
    Members(Subscriptions),
    /// The partitions of the topics of interest.
    Topics(Partitions),
    /// The owner znode is this member's.
    Claimed {
        generation: u64,
        target: TopicPartition,
        token: FencingToken,
    },
    /// Another member's owner znode is in the way.
    Busy {
        generation: u64,
        target: TopicPartition,
    },
    /// The owner znode in the way has gone.
    OwnerGone { target: TopicPartition },
    /// The owner znode of this claim is not there, although it was not released: somebody else
    /// deleted it, and another member may have made the next.
    ClaimGone {
        target: TopicPartition,
        token: FencingToken,
    },
    /// The application has handled, or dropped, all that it was given of the partition.
    LetGo { target: TopicPartition },
    /// The owner znode is gone.
    Released {
        generation: u64,
        target: TopicPartition,
    },
    /// The member leaves the group.
    Close,
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Create (or check) the member's znode; answer with `Registered`.
    Register,
    /// Create the owner znode; answer with `Claimed` or `Busy`.
    Claim(TopicPartition),
    /// Wait until the owner znode has gone; answer with `OwnerGone`.
    Watch(TopicPartition),
    /// Nobody waits for that any more. No answer.
    Unwatch(TopicPartition),
    /// Begin to read: where the application is if that is known, else from the committed offset.
    /// Answer with `ClaimGone` if that happens.
    Start(TopicPartition, FencingToken),
    /// Hand out nothing more; commit what was handled; answer with `LetGo`.
    Revoke(TopicPartition),
    /// Hand out nothing more, at once: it may be another's by now. No answer.
    Drop(TopicPartition),
    /// Delete the owner znode of this claim; answer with `Released`.
    Release(TopicPartition, FencingToken),
    /// Delete the member's znode: nothing is held any more.
    Unregister,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    Claiming,
    Waiting,
    Owned(FencingToken),
    Revoking(FencingToken),
    Releasing,
    Adrift(FencingToken),
}

/// Whether the member's znode is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registration {
    /// Not known to be. `again`: a list that came meanwhile is without it, or the session was
    /// silent, and that may be later than what is under way.
    UnderWay { again: bool },
    /// It was, and no list has said otherwise since.
    Done,
}

/// One member. Invariant: reads only partitions that are `Owned`, and only while the session is up.
#[derive(Debug)]
pub(crate) struct Rebalance {
    me: String,
    generation: u64,
    up: bool,
    closing: bool,
    left: bool,
    registration: Registration,
    members: Option<Subscriptions>,
    topics: Option<Partitions>,
    holdings: BTreeMap<TopicPartition, Holding>,
}

impl Rebalance {
    pub(crate) fn new(me: String) -> Self {
        Self {
            me,
            generation: 0,
            up: false,
            closing: false,
            left: false,
            registration: Registration::UnderWay { again: false },
            members: None,
            topics: None,
            holdings: BTreeMap::new(),
        }
    }

    /// Has the member left, with everything released?
    pub(crate) fn has_left(&self) -> bool {
        self.left
    }

    /// Takes in what happened and says what to do.
    pub(crate) fn apply(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::SessionUp { generation } => self.session_up(generation, &mut effects),
            Event::SessionDown => self.session_down(&mut effects),
            Event::Registered { generation } if generation == self.generation => {
                self.registered(&mut effects);
            }
            Event::Members(members) => self.listed(members, &mut effects),
            Event::Topics(topics) => self.topics = Some(topics),
            Event::Claimed {
                generation,
                target,
                token,
            } if generation == self.generation => self.claimed(target, token, &mut effects),
            Event::Busy { generation, target } if generation == self.generation => {
                self.busy(target, &mut effects);
            }
            Event::Released { generation, target } if generation == self.generation => {
                if self.holdings.get(&target) == Some(&Holding::Releasing) {
                    self.holdings.remove(&target);
                }
            }
            // The outcome of something begun under an earlier session: its znodes went with it.
            Event::Registered { .. }
            | Event::Claimed { .. }
            | Event::Busy { .. }
            | Event::Released { .. } => {}
            Event::OwnerGone { target } => {
                if self.holdings.get(&target) == Some(&Holding::Waiting) {
                    self.holdings.remove(&target);
                }
            }
            Event::ClaimGone { target, token } => self.claim_gone(target, token, &mut effects),
            Event::LetGo { target } => {
                if let Some(Holding::Revoking(token)) = self.holdings.get(&target).copied() {
                    self.release(target, token, &mut effects);
                }
            }
            Event::Close => self.closing = true,
        }
        self.settle(&mut effects);
        effects
    }

    fn session_up(&mut self, generation: u64, effects: &mut Vec<Effect>) {
        let known = generation == self.generation;
        if !known {
            self.session_down(effects);
            self.holdings.clear();
            self.generation = generation;
        }
        self.up = true;
        match &mut self.registration {
            // It goes on; but the znode may have been made, and deleted, before the silence.
            Registration::UnderWay { again } if known => *again = true,
            _ => self.register(effects),
        }
    }

    /// With the session down or the member closing there is nothing to do: the next session's
    /// beginning registers, or nobody does.
    fn register(&mut self, effects: &mut Vec<Effect>) {
        if self.up && !self.closing {
            self.registration = Registration::UnderWay { again: false };
            effects.push(Effect::Register);
        }
    }

    fn registered(&mut self, effects: &mut Vec<Effect>) {
        let again = self.registration == Registration::UnderWay { again: true };
        self.registration = Registration::Done;
        if again {
            self.register(effects);
        }
    }

    /// Takes in a list. By one without this member it has no share, and lets go of all that it holds.
    fn listed(&mut self, members: Subscriptions, effects: &mut Vec<Effect>) {
        if !members.contains_key(&self.me) {
            match &mut self.registration {
                Registration::UnderWay { again } => *again = true,
                Registration::Done => self.register(effects),
            }
        }
        self.members = Some(members);
    }

    fn session_down(&mut self, effects: &mut Vec<Effect>) {
        self.up = false;
        for (target, holding) in &mut self.holdings {
            // What is revoked hands out nothing any more, and its last commit is fenced.
            if let Holding::Owned(token) = *holding {
                effects.push(Effect::Drop(target.clone()));
                *holding = Holding::Adrift(token);
            }
        }
    }

    /// Only of what is owned by that claim: what is on its way out finds out by itself, and a claim
    /// under way is answered by what it finds.
    fn claim_gone(
        &mut self,
        target: TopicPartition,
        token: FencingToken,
        effects: &mut Vec<Effect>,
    ) {
        if self.holdings.get(&target) == Some(&Holding::Owned(token)) {
            effects.push(Effect::Drop(target.clone()));
            self.holdings.insert(target, Holding::Adrift(token));
        }
    }

    fn claimed(&mut self, target: TopicPartition, token: FencingToken, effects: &mut Vec<Effect>) {
        match self.holdings.get(&target) {
            Some(Holding::Claiming) if !self.up => {
                self.holdings.insert(target, Holding::Adrift(token));
            }
            Some(Holding::Claiming) if self.mine().contains(&target) => {
                self.holdings.insert(target.clone(), Holding::Owned(token));
                effects.push(Effect::Start(target, token));
            }
            // The application may still have records of it, from before a silence.
            Some(Holding::Claiming) | None => self.revoke(target, token, effects),
            // The same claim seen twice.
            Some(_) => {}
        }
    }

    fn busy(&mut self, target: TopicPartition, effects: &mut Vec<Effect>) {
        match self.holdings.get(&target) {
            Some(Holding::Claiming) if self.mine().contains(&target) => {
                self.holdings.insert(target.clone(), Holding::Waiting);
                effects.push(Effect::Watch(target));
            }
            Some(Holding::Claiming) => {
                self.holdings.remove(&target);
            }
            _ => {}
        }
    }

    fn revoke(&mut self, target: TopicPartition, token: FencingToken, effects: &mut Vec<Effect>) {
        self.holdings
            .insert(target.clone(), Holding::Revoking(token));
        effects.push(Effect::Revoke(target));
    }

    fn release(&mut self, target: TopicPartition, token: FencingToken, effects: &mut Vec<Effect>) {
        self.holdings.insert(target.clone(), Holding::Releasing);
        effects.push(Effect::Release(target, token));
    }

    /// This member's share by the lists as they are known now.
    fn mine(&self) -> BTreeSet<TopicPartition> {
        let (Some(members), Some(topics)) = (&self.members, &self.topics) else {
            return BTreeSet::new();
        };
        if self.closing {
            return BTreeSet::new();
        }
        let shares = assign(members, topics).into_iter();
        let mine = shares.filter(|(_, owner)| *owner == self.me);
        mine.map(|(target, _)| target).collect()
    }

    fn settle(&mut self, effects: &mut Vec<Effect>) {
        let known = self.members.is_some() && self.topics.is_some();
        if !self.up || !(known || self.closing) {
            return;
        }
        let mine = self.mine();
        for target in &mine {
            if matches!(self.holdings.get(target), None | Some(Holding::Adrift(_))) {
                self.holdings.insert(target.clone(), Holding::Claiming);
                effects.push(Effect::Claim(target.clone()));
            }
        }
        let held: Vec<(TopicPartition, Holding)> =
            self.holdings.iter().map(|(t, h)| (t.clone(), *h)).collect();
        for (target, holding) in held {
            if mine.contains(&target) {
                continue;
            }
            match holding {
                Holding::Owned(token) | Holding::Adrift(token) => {
                    self.revoke(target, token, effects);
                }
                Holding::Waiting => {
                    self.holdings.remove(&target);
                    effects.push(Effect::Unwatch(target));
                }
                // Their answers come, and are settled then.
                Holding::Claiming | Holding::Revoking(_) | Holding::Releasing => {}
            }
        }
        if self.closing && self.holdings.is_empty() && !self.left {
            self.left = true;
            effects.push(Effect::Unregister);
        }
    }
}

#[cfg(test)]
mod tests;
