//! SyncGroup and LeaveGroup: the leader's assignment comes in, is stored, and goes out.

use std::collections::HashMap;

use bytes::Bytes;

use super::{Effect, Group, GroupError, MemberId, Now, RequestId, State, Write};
use crate::groups::event::{Leaving, Sync, Synced, WriteId};

impl Group {
    pub(super) fn sync(&mut self, request: RequestId, sync: Sync, now: Now, out: &mut Vec<Effect>) {
        if let Err(error) = self.check_sync(&sync) {
            out.push(Effect::Synced(request, Err(error)));
            return;
        }
        let id = sync.member.as_str();
        match self.state {
            State::CompletingRebalance => {
                self.synced(id);
                let member = self.members.get_mut(id);
                if let Some(before) = member.and_then(|m| m.sync.replace(request)) {
                    // The same member asks again, so nobody reads this answer.
                    let error = GroupError::RebalanceInProgress;
                    out.push(Effect::Synced(before, Err(error)));
                }
                if self.is_leader(id) {
                    let write = Write::Assignment {
                        generation: self.generation,
                        shares: sync.assignment,
                    };
                    self.persist(write, out);
                }
            }
            State::Stable => {
                self.synced(id);
                self.prolong(id, now);
                out.push(Effect::Synced(request, self.share(id)));
            }
            State::PreparingRebalance => {
                let error = GroupError::RebalanceInProgress;
                out.push(Effect::Synced(request, Err(error)));
            }
            State::Empty | State::Dead => {
                out.push(Effect::Synced(request, Err(GroupError::UnknownMemberId)));
            }
        }
    }

    fn check_sync(&self, sync: &Sync) -> Result<(), GroupError> {
        let (member, instance) = (sync.member.as_str(), sync.instance.as_deref());
        self.check_current(member, instance, Some(sync.generation))?;
        let fits = |told: &Option<String>, ours: &Option<std::sync::Arc<str>>| match told {
            Some(told) => ours.as_deref() == Some(told.as_str()),
            None => true,
        };
        if fits(&sync.protocol_type, &self.protocol_type) && fits(&sync.protocol, &self.protocol) {
            Ok(())
        } else {
            Err(GroupError::InconsistentGroupProtocol)
        }
    }

    fn share(&self, id: &str) -> Result<Synced, GroupError> {
        let member = self.members.get(id).ok_or(GroupError::UnknownMemberId)?;
        Ok(Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: member.assignment.clone(),
        })
    }

    /// A record is in the log, or could not be written.
    pub(super) fn persisted(
        &mut self,
        write: WriteId,
        result: Result<(), GroupError>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        match self.writes.remove(&write) {
            // If the record of an empty generation is lost, the generation before it comes
            // back after a restart and ends by its session timeouts.
            None | Some(Write::Empty) => {}
            Some(Write::Replacement(replacement)) => self.replaced(*replacement, result, now, out),
            Some(Write::Assignment { generation, shares }) => {
                // Another member may have joined meanwhile: then these shares are of the past.
                if self.state == State::CompletingRebalance && self.generation == generation {
                    self.assigned(result.map(|()| shares), now, out);
                }
            }
        }
    }

    fn assigned(
        &mut self,
        result: Result<HashMap<MemberId, Bytes>, GroupError>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok(mut shares) => {
                for member in self.members.iter_mut() {
                    member.assignment = shares.remove(&member.id).unwrap_or_default();
                }
                self.enter(State::Stable, now);
                self.answer_syncs(None, now, out);
            }
            Err(error) => {
                self.reset_assignment(error, now, out);
                self.prepare_rebalance(now, out);
            }
        }
    }

    /// Nobody has a share; those who wait for one hear why.
    pub(super) fn reset_assignment(&mut self, error: GroupError, now: Now, out: &mut Vec<Effect>) {
        for member in self.members.iter_mut() {
            member.assignment = Bytes::new();
        }
        self.answer_syncs(Some(error), now, out);
    }

    /// Sessions start anew for those who are answered: while they waited, they had no duty
    /// to be heard.
    fn answer_syncs(&mut self, error: Option<GroupError>, now: Now, out: &mut Vec<Effect>) {
        for id in self.members.ids_where(|m| m.sync.is_some()) {
            let member = self.members.get_mut(id.as_str());
            let Some(request) = member.and_then(|m| m.sync.take()) else {
                continue;
            };
            let answer = match error {
                Some(error) => Err(error),
                None => self.share(id.as_str()),
            };
            out.push(Effect::Synced(request, answer));
            self.prolong(id.as_str(), now);
        }
    }

    /// One member of a LeaveGroup. An administrator names the instance alone.
    pub(super) fn leave(
        &mut self,
        leaving: &Leaving,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), GroupError> {
        if self.state == State::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let instance = leaving.instance.as_deref();
        let id = if leaving.member.is_unknown() {
            let holder = instance.and_then(|i| self.members.holder(i));
            holder.cloned().ok_or(GroupError::UnknownMemberId)?
        } else if self.pending.contains_key(&leaving.member) {
            leaving.member.clone()
        } else {
            self.check_current(leaving.member.as_str(), instance, None)?;
            leaving.member.clone()
        };
        self.remove_and_update(id.as_str(), now, out);
        Ok(())
    }
}
