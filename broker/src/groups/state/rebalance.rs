//! Rebalance and time: from the first join to the next generation, and what runs out.

use super::{Effect, Group, GroupError, JoinTimer, Member, MemberId, Now, State, Write, refused};

/// When nobody rejoined but static members are still held, the wait starts anew, at least this
/// long: members with a rebalance timeout of 0 must not make the timer spin.
const RETRY_MS_MIN: u64 = 100;

impl Group {
    /// Everything that is due.
    pub(super) fn expire(&mut self, now: Now, out: &mut Vec<Effect>) {
        match self.join_timer {
            JoinTimer::Initial { deadline_ms, .. } if deadline_ms <= now.ticks_ms => {
                self.expire_initial_delay(now, out);
            }
            JoinTimer::Full { deadline_ms } if deadline_ms <= now.ticks_ms => {
                self.complete_join(now, out);
            }
            _ => {}
        }
        if self.sync_deadline_ms.is_some_and(|d| d <= now.ticks_ms) {
            self.expire_sync(now, out);
        }
        if self.check_ms <= now.ticks_ms {
            self.expire_sessions(now, out);
        }
    }

    /// New members came during the delay: wait once more, in all no longer than the first
    /// member's rebalance timeout (KIP-134).
    fn expire_initial_delay(&mut self, now: Now, out: &mut Vec<Effect>) {
        let JoinTimer::Initial {
            delay_ms: waited_ms,
            remaining_ms,
            ..
        } = self.join_timer
        else {
            return;
        };
        if !self.new_member_added || remaining_ms == 0 {
            self.complete_join(now, out);
            return;
        }
        self.new_member_added = false;
        let delay_ms = self.rules.initial_rebalance_delay_ms.min(remaining_ms);
        self.join_timer = JoinTimer::Initial {
            deadline_ms: now.ticks_ms + delay_ms,
            delay_ms,
            remaining_ms: remaining_ms.saturating_sub(waited_ms),
        };
    }

    /// Members that did not fetch their share in time are removed.
    fn expire_sync(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.sync_deadline_ms = None;
        let late: Vec<MemberId> = self.pending_sync.iter().cloned().collect();
        if late.is_empty() || !matches!(self.state, State::CompletingRebalance | State::Stable) {
            return;
        }
        for id in late {
            self.remove(id.as_str(), out);
        }
        self.prepare_rebalance(now, out);
    }

    /// Removes silent members and those that never came back with their id. Looks at all
    /// members, but only once in about a session timeout: heartbeats only put deadlines off.
    fn expire_sessions(&mut self, now: Now, out: &mut Vec<Effect>) {
        let due = |m: &Member| m.can_expire() && m.deadline_ms <= now.ticks_ms;
        for id in self.members.ids_where(due) {
            self.remove_and_update(id.as_str(), now, out);
        }
        let before = self.pending.len();
        self.pending
            .retain(|_, deadline_ms| *deadline_ms > now.ticks_ms);
        if self.pending.len() != before {
            self.try_complete_join(now, out);
        }
        let waking = self
            .members
            .iter()
            .filter(|m| m.can_expire())
            .map(|m| m.deadline_ms);
        let next = waking.chain(self.pending.values().copied()).min();
        self.check_ms = next.unwrap_or(u64::MAX);
    }

    pub(super) fn maybe_prepare_rebalance(&mut self, now: Now, out: &mut Vec<Effect>) {
        match self.state {
            State::Empty | State::CompletingRebalance | State::Stable => {
                self.prepare_rebalance(now, out);
            }
            State::PreparingRebalance | State::Dead => {}
        }
    }

    pub(super) fn prepare_rebalance(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.state == State::CompletingRebalance {
            self.reset_assignment(GroupError::RebalanceInProgress, now, out);
        }
        self.stop_waiting_for_sync();
        let timeout_ms = self.members.rebalance_timeout_ms();
        let delay_ms = self.rules.initial_rebalance_delay_ms;
        self.join_timer = match self.state {
            State::Empty => JoinTimer::Initial {
                deadline_ms: now.ticks_ms + delay_ms,
                delay_ms,
                remaining_ms: timeout_ms.saturating_sub(delay_ms),
            },
            _ => JoinTimer::Full {
                deadline_ms: now.ticks_ms + timeout_ms,
            },
        };
        self.enter(State::PreparingRebalance, now);
        self.try_complete_join(now, out);
    }

    /// Ends the wait when every member has joined and nobody is announced. The initial delay
    /// is waited for in full.
    pub(super) fn try_complete_join(&mut self, now: Now, out: &mut Vec<Effect>) {
        let all = self.members.len() == self.members.joined() && self.pending.is_empty();
        if all && matches!(self.join_timer, JoinTimer::Full { .. }) {
            self.complete_join(now, out);
        }
    }

    /// The next generation: of those who joined, and of static members, who keep their place
    /// until their session ends.
    fn complete_join(&mut self, now: Now, out: &mut Vec<Effect>) {
        let absent = |m: &Member| !m.is_joined() && m.instance.is_none();
        for id in self.members.ids_where(absent) {
            self.remove(id.as_str(), out);
        }
        if !self.elect_joined_leader() && !self.members.is_empty() {
            let wait_ms = self.members.rebalance_timeout_ms().max(RETRY_MS_MIN);
            self.join_timer = JoinTimer::Full {
                deadline_ms: now.ticks_ms + wait_ms,
            };
            return;
        }
        self.join_timer = JoinTimer::Off;
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol = self.members.elect_protocol();
        self.subscribed = self.read_subscriptions();
        self.stop_waiting_for_sync();
        if self.members.is_empty() {
            self.enter(State::Empty, now);
            self.persist(Write::Empty, out);
            return;
        }
        self.enter(State::CompletingRebalance, now);
        self.announce_generation(now, out);
    }

    /// Answers every JoinGroup that waits; each member has its rebalance timeout to sync.
    fn announce_generation(&mut self, now: Now, out: &mut Vec<Effect>) {
        for id in self.members.ids_where(|_| true) {
            if let Some(request) = self.members.take_join(id.as_str()) {
                let joined = self.joined(&id, self.is_leader(id.as_str()));
                out.push(Effect::Joined(request, Ok(joined)));
            }
            if let Some(member) = self.members.get_mut(id.as_str()) {
                member.is_new = false;
            }
            self.prolong(id.as_str(), now);
            self.pending_sync.insert(id);
        }
        self.sync_deadline_ms = Some(now.ticks_ms + self.members.rebalance_timeout_ms());
    }

    /// False if there is no leader, or nobody joined who could be one.
    fn elect_joined_leader(&mut self) -> bool {
        let Some(leader) = &self.leader else {
            return false;
        };
        let joined = |id: &MemberId| self.members.get(id.as_str()).is_some_and(Member::is_joined);
        if joined(leader) {
            return true;
        }
        match self.members.iter().find(|m| m.is_joined()) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    pub(super) fn stop_waiting_for_sync(&mut self) {
        self.pending_sync.clear();
        self.sync_deadline_ms = None;
    }

    pub(super) fn synced(&mut self, id: &str) {
        self.pending_sync.remove(id);
        if self.pending_sync.is_empty() {
            self.sync_deadline_ms = None;
        }
    }

    /// Takes a member, or one that was announced, out of every table.
    pub(super) fn remove(&mut self, id: &str, out: &mut Vec<Effect>) {
        let removed = self.members.remove(id);
        if self.is_leader(id) {
            self.leader = self.members.iter().next().map(|m| m.id.clone());
        }
        self.pending.remove(id);
        self.synced(id);
        let Some(member) = removed else { return };
        let error = GroupError::UnknownMemberId;
        if let Some(request) = member.join {
            // It may try again if it is alive after all.
            out.push(Effect::Joined(request, refused(MemberId::unknown(), error)));
        }
        if let Some(request) = member.sync {
            out.push(Effect::Synced(request, Err(error)));
        }
    }

    /// Removes a member that left or fell silent; the others share anew.
    pub(super) fn remove_and_update(&mut self, id: &str, now: Now, out: &mut Vec<Effect>) {
        self.remove(id, out);
        match self.state {
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(now, out),
            State::PreparingRebalance => self.try_complete_join(now, out),
            State::Empty | State::Dead => {}
        }
    }

    /// The partition is led elsewhere: those who wait look for the other broker.
    pub(super) fn unload(&mut self, out: &mut Vec<Effect>) {
        let error = GroupError::NotCoordinator;
        for id in self.members.ids_where(|_| true) {
            if let Some(request) = self.members.take_join(id.as_str()) {
                out.push(Effect::Joined(request, refused(id.clone(), error)));
            }
            let member = self.members.get_mut(id.as_str());
            if let Some(request) = member.and_then(|m| m.sync.take()) {
                out.push(Effect::Synced(request, Err(error)));
            }
        }
        self.state = State::Dead;
        self.join_timer = JoinTimer::Off;
        self.stop_waiting_for_sync();
        self.pending.clear();
        self.writes.clear();
        self.check_ms = u64::MAX;
    }
}
