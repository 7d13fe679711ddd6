//! The members of one group: by id, by `group.instance.id`, and what they all support. Pure.
//!
//! Invariants: every static member is named in `statics` and the reverse; `joined` counts the
//! members whose JoinGroup waits; `supported` counts, per protocol, the members that know it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::member::{Member, MemberId, RequestId, Terms};

/// Table of members. Ordered by id, so that choices among equals do not depend on chance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members {
    by_id: BTreeMap<MemberId, Member>,
    statics: HashMap<Arc<str>, MemberId>,
    supported: HashMap<Arc<str>, usize>,
    joined: usize,
}

impl Members {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True when there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many have a JoinGroup waiting.
    pub(crate) fn joined(&self) -> usize {
        self.joined
    }

    /// True if `id` is a member.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// The member `id`.
    pub(crate) fn get(&self, id: &str) -> Option<&Member> {
        self.by_id.get(id)
    }

    /// The member `id`, to change what is not counted.
    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.by_id.get_mut(id)
    }

    /// Members in order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.by_id.values()
    }

    /// Members in order of their ids, to change what is not counted.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.by_id.values_mut()
    }

    /// Ids of the members that `wanted` picks.
    pub(crate) fn ids_where(&self, wanted: impl Fn(&Member) -> bool) -> Vec<MemberId> {
        let picked = self.iter().filter(|m| wanted(m));
        picked.map(|m| m.id.clone()).collect()
    }

    /// Who holds the static identity `instance` now.
    pub(crate) fn holder(&self, instance: &str) -> Option<&MemberId> {
        self.statics.get(instance)
    }

    /// Longest rebalance timeout of all members; 0 without members.
    pub(crate) fn rebalance_timeout_ms(&self) -> u64 {
        let longest = self.iter().map(|m| m.terms.rebalance_timeout_ms).max();
        u64::try_from(longest.unwrap_or(0)).unwrap_or(0)
    }

    /// Adds a member. One with the same id or instance id gives way: the log may hold such.
    pub(crate) fn insert(&mut self, member: Member) {
        if let Some(holder) = member.instance.as_ref().and_then(|i| self.statics.get(i)) {
            let holder = holder.clone();
            self.remove(holder.as_str());
        }
        self.remove(member.id.as_str());
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), member.id.clone());
        }
        self.count(&member.terms);
        self.joined += usize::from(member.is_joined());
        self.by_id.insert(member.id.clone(), member);
        debug_assert!(self.joined <= self.len());
    }

    /// Removes a member, with the requests that still wait on it.
    pub(crate) fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.by_id.remove(id)?;
        if let Some(instance) = &member.instance {
            self.statics.remove(instance);
        }
        self.uncount(&member.terms);
        self.joined -= usize::from(member.is_joined());
        Some(member)
    }

    /// Gives the member `old` the id `new`; all else of it stays. False if there is no `old`.
    pub(crate) fn rename(&mut self, old: &str, new: &MemberId) -> bool {
        let Some(mut member) = self.by_id.remove(old) else {
            return false;
        };
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), new.clone());
        }
        member.id = new.clone();
        self.by_id.insert(new.clone(), member);
        true
    }

    /// Replaces what the member says about itself and returns what it said before.
    pub(crate) fn set_terms(&mut self, id: &str, terms: Terms) -> Option<Terms> {
        let member = self.by_id.get_mut(id)?;
        let before = std::mem::replace(&mut member.terms, terms);
        let now = member.terms.clone();
        self.uncount(&before);
        self.count(&now);
        Some(before)
    }

    /// Parks a JoinGroup on the member; returns one that waited there before.
    pub(crate) fn park_join(&mut self, id: &str, request: RequestId) -> Option<RequestId> {
        let member = self.by_id.get_mut(id)?;
        let before = member.join.replace(request);
        self.joined += usize::from(before.is_none());
        before
    }

    /// Takes the member's waiting JoinGroup, to answer it.
    pub(crate) fn take_join(&mut self, id: &str) -> Option<RequestId> {
        let request = self.by_id.get_mut(id)?.join.take();
        self.joined -= usize::from(request.is_some());
        request
    }

    /// True if every member supports at least one of `names`.
    pub(crate) fn all_support_one_of<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        names.any(|name| self.all_support(name))
    }

    /// The protocol with the most votes: each member votes for the first of its own that all
    /// members support. Among equals the one that the first member named wins.
    pub(crate) fn elect_protocol(&self) -> Option<Arc<str>> {
        let mut votes: Vec<(&Arc<str>, usize)> = Vec::new();
        for member in self.iter() {
            let mut names = member.terms.protocols.iter().map(|p| &p.name);
            let Some(choice) = names.find(|name| self.all_support(name)) else {
                continue;
            };
            match votes.iter_mut().find(|(name, _)| *name == choice) {
                Some((_, count)) => *count += 1,
                None => votes.push((choice, 1)),
            }
        }
        let most = votes.iter().map(|(_, count)| *count).max()?;
        let winner = votes.iter().find(|(_, count)| *count == most);
        winner.map(|(name, _)| (*name).clone())
    }

    fn all_support(&self, name: &str) -> bool {
        self.supported.get(name).copied().unwrap_or(0) == self.len()
    }

    fn count(&mut self, terms: &Terms) {
        for protocol in &terms.protocols {
            *self.supported.entry(protocol.name.clone()).or_default() += 1;
        }
    }

    fn uncount(&mut self, terms: &Terms) {
        for protocol in &terms.protocols {
            if let Some(count) = self.supported.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(&protocol.name);
                }
            }
        }
    }
}
