//! JoinGroup: who comes in at once, who waits for a generation, who is turned away.

use bytes::Bytes;

use super::{
    Effect, Group, GroupError, Join, Member, MemberId, NEW_MEMBER_JOIN_TIMEOUT_MS, Now,
    PENDING_MEMBERS_MAX, Replacement, RequestId, State, Write, millis, refused,
};
use crate::groups::event::Joined;

impl Group {
    pub(super) fn join(&mut self, request: RequestId, join: Join, now: Now, out: &mut Vec<Effect>) {
        if !self.has_room_for(&join.member) {
            self.remove(join.member.as_str(), out);
            let error = GroupError::GroupMaxSizeReached;
            out.push(Effect::Joined(request, refused(MemberId::unknown(), error)));
        } else if let Err(error) = self.check_join(&join) {
            out.push(Effect::Joined(request, refused(join.member, error)));
        } else if join.member.is_unknown() {
            self.join_first_time(request, join, now, out);
        } else if self.pending.contains_key(&join.member) {
            let id = join.member.clone();
            self.add(request, id, join, now, out);
        } else {
            self.join_again(request, join, now, out);
        }
        self.try_complete_join(now, out);
    }

    /// Counts those who joined while a rebalance is prepared: so the last ones to rejoin are
    /// turned away when the limit was lowered. A dead or empty group has room.
    fn has_room_for(&self, member: &MemberId) -> bool {
        let id = member.as_str();
        let room = match self.state {
            State::Empty | State::Dead => true,
            State::PreparingRebalance => {
                self.members.get(id).is_some_and(Member::is_joined)
                    || self.members.joined() < self.rules.members_max
            }
            State::CompletingRebalance | State::Stable => {
                self.members.contains(id) || self.members.len() < self.rules.members_max
            }
        };
        room && (!member.is_unknown() || self.pending.len() < PENDING_MEMBERS_MAX)
    }

    fn check_join(&self, join: &Join) -> Result<(), GroupError> {
        if self.state == State::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let fits = match self.state {
            State::Empty => !join.protocol_type.is_empty() && !join.terms.protocols.is_empty(),
            _ => {
                let mut names = join.terms.protocols.iter().map(|p| &*p.name);
                self.protocol_type.as_deref() == Some(&*join.protocol_type)
                    && self.members.all_support_one_of(&mut names)
            }
        };
        if !fits {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        if join.member.is_unknown() {
            return Ok(());
        }
        if self.pending.contains_key(&join.member) {
            // Only dynamic members are ever told to come back with an id.
            return match join.instance {
                None => Ok(()),
                Some(_) => Err(GroupError::UnknownMemberId),
            };
        }
        self.check_current(join.member.as_str(), join.instance.as_deref(), None)
    }

    fn join_first_time(&mut self, request: RequestId, join: Join, now: Now, out: &mut Vec<Effect>) {
        let holder = join.instance.as_ref().and_then(|i| self.members.holder(i));
        if let Some(old) = holder.cloned() {
            self.replace(request, join, &old, now, out);
        } else if join.must_know_id {
            let deadline_ms = now.ticks_ms + millis(join.terms.session_timeout_ms);
            self.pending.insert(join.fresh.clone(), deadline_ms);
            self.check_ms = self.check_ms.min(deadline_ms);
            let error = GroupError::MemberIdRequired;
            out.push(Effect::Joined(request, refused(join.fresh, error)));
        } else {
            let id = join.fresh.clone();
            self.add(request, id, join, now, out);
        }
    }

    fn add(
        &mut self,
        request: RequestId,
        id: MemberId,
        join: Join,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if self.state == State::PreparingRebalance && self.generation == 0 {
            self.new_member_added = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type);
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        self.pending.remove(&id);
        let deadline_ms = now.ticks_ms + NEW_MEMBER_JOIN_TIMEOUT_MS;
        self.check_ms = self.check_ms.min(deadline_ms);
        self.members.insert(Member {
            id,
            instance: join.instance,
            client: join.client,
            terms: join.terms,
            assignment: Bytes::new(),
            is_new: true,
            deadline_ms,
            sync: None,
            join: Some(request),
        });
        self.maybe_prepare_rebalance(now, out);
    }

    /// A member that is known joins once more.
    fn join_again(&mut self, request: RequestId, join: Join, now: Now, out: &mut Vec<Effect>) {
        let id = join.member.as_str();
        let Some(member) = self.members.get(id) else {
            let error = GroupError::UnknownMemberId;
            out.push(Effect::Joined(request, refused(join.member, error)));
            return;
        };
        let same = member.terms.protocols == join.terms.protocols;
        let leads = self.is_leader(id);
        match self.state {
            // It did not get the answer, most likely: the generation stands.
            State::CompletingRebalance if same => {
                let joined = self.joined(&join.member, leads);
                out.push(Effect::Joined(request, Ok(joined)));
            }
            // A follower with nothing new gets the generation again, to sync. A leader that
            // joins wants a rebalance: it saw new topics or partitions.
            State::Stable if same && !leads => {
                let joined = self.joined(&join.member, false);
                out.push(Effect::Joined(request, Ok(joined)));
            }
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
                self.members.set_terms(id, join.terms);
                self.park_join(id, request, out);
                self.maybe_prepare_rebalance(now, out);
            }
            State::Empty | State::Dead => {
                let error = GroupError::UnknownMemberId;
                out.push(Effect::Joined(request, refused(join.member, error)));
            }
        }
    }

    /// A static member is back without its id (KIP-345): it takes the place of its former
    /// self, who is fenced. While Stable that needs no rebalance, only a record of the new id.
    fn replace(
        &mut self,
        request: RequestId,
        join: Join,
        old: &MemberId,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let leader_before = self.leader_or_unknown();
        let new = join.fresh;
        self.fence(old, out);
        self.members.rename(old.as_str(), &new);
        if self.pending_sync.remove(old) {
            self.pending_sync.insert(new.clone());
        }
        if self.is_leader(old.as_str()) {
            self.leader = Some(new.clone());
        }
        let terms_before = self.members.set_terms(new.as_str(), join.terms);
        self.prolong(new.as_str(), now);
        self.park_join(new.as_str(), request, out);
        match self.state {
            State::Stable if self.members.elect_protocol() == self.protocol => {
                let replacement = Replacement {
                    instance: join.instance.unwrap_or_else(|| "".into()),
                    old: old.clone(),
                    new,
                    terms_before,
                    leader_before,
                    can_skip_assignment: join.can_skip_assignment,
                };
                self.persist(Write::Replacement(Box::new(replacement)), out);
            }
            // The leader may have the old id already and assign to that: all must rejoin.
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(now, out),
            State::PreparingRebalance | State::Empty | State::Dead => {}
        }
    }

    /// The return of a static member is in the log, or could not be written.
    pub(super) fn replaced(
        &mut self,
        replacement: Replacement,
        result: Result<(), GroupError>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let new = replacement.new.as_str();
        if self.state != State::Stable || !self.members.contains(new) {
            // A rebalance began meanwhile, and the member's join is part of that.
            return;
        }
        if let Err(error) = result {
            self.undo_replacement(&replacement, error, now, out);
            return;
        }
        let Some(request) = self.members.take_join(new) else {
            return;
        };
        // A client that cannot skip the assignment is not told that it leads: its assignment
        // would be ignored by a stable group (KIP-814 brought the flag).
        let leads = self.is_leader(new);
        let mut joined = self.joined(&replacement.new, leads && replacement.can_skip_assignment);
        if replacement.can_skip_assignment {
            joined.skip_assignment = leads;
        } else {
            joined.leader = replacement.leader_before;
        }
        out.push(Effect::Joined(request, Ok(joined)));
    }

    fn undo_replacement(
        &mut self,
        replacement: &Replacement,
        error: GroupError,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let new = replacement.new.as_str();
        let request = self.members.take_join(new);
        let taken = self.members.contains(replacement.old.as_str());
        if self.members.holder(&replacement.instance) == Some(&replacement.new) && !taken {
            if let Some(terms) = &replacement.terms_before {
                self.members.set_terms(new, terms.clone());
            }
            self.members.rename(new, &replacement.old);
            if self.is_leader(new) {
                self.leader = Some(replacement.old.clone());
            }
            if self.pending_sync.remove(&replacement.new) {
                self.pending_sync.insert(replacement.old.clone());
            }
            self.prolong(replacement.old.as_str(), now);
        }
        if let Some(request) = request {
            out.push(Effect::Joined(request, refused(MemberId::unknown(), error)));
        }
    }

    /// Tells whoever waits under the id `old` that another took its place.
    fn fence(&mut self, old: &MemberId, out: &mut Vec<Effect>) {
        let error = GroupError::FencedInstanceId;
        if let Some(request) = self.members.take_join(old.as_str()) {
            out.push(Effect::Joined(request, refused(old.clone(), error)));
        }
        let member = self.members.get_mut(old.as_str());
        if let Some(request) = member.and_then(|m| m.sync.take()) {
            out.push(Effect::Synced(request, Err(error)));
        }
    }

    fn park_join(&mut self, id: &str, request: RequestId, out: &mut Vec<Effect>) {
        if let Some(before) = self.members.park_join(id, request) {
            // The same member asks again, so nobody reads this answer.
            let error = GroupError::RebalanceInProgress;
            out.push(Effect::Joined(before, refused(id.into(), error)));
        }
    }

    /// The current generation as `member` is told of it.
    pub(super) fn joined(&self, member: &MemberId, with_members: bool) -> Joined {
        Joined {
            member: member.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader_or_unknown(),
            skip_assignment: false,
            members: match with_members {
                true => self.joined_members(),
                false => Vec::new(),
            },
        }
    }
}
