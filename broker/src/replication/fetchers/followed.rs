//! The partitions of one fetch loop, each in one of four states: fetched, to be truncated, paused after
//! a failure, held back by the throttle. Owner: the loop. No network, no clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::ids::{BrokerId, LeaderEpoch, TopicId, TopicName, TopicPartition};
use tokio::time::Instant;

use super::super::peers::pause_after;
use super::Partition;
use super::session::{Session, Wish};
use crate::replication::FetchPosition;

/// One partition.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) partition: Arc<Partition>,
    /// Epoch in which the leader is followed.
    pub(super) epoch: LeaderEpoch,
    /// Failures since the last answer that was taken.
    pub(super) failures: u32,
    /// How far behind the leader's high watermark; unknown until the first answer.
    pub(super) lag: Option<i64>,
}

/// All partitions of a loop. A partition is in `session`, or in one of the three other sets.
#[derive(Debug)]
pub(super) struct AllFollowed {
    leader: BrokerId,
    all: BTreeMap<TopicPartition, Followed>,
    names: HashMap<TopicId, (TopicName, usize)>,
    /// What is fetched.
    pub(super) session: Session,
    /// To be truncated before it is fetched.
    pub(super) truncating: BTreeSet<TopicPartition>,
    paused: BTreeMap<TopicPartition, Instant>,
    held: BTreeSet<TopicPartition>,
    /// Whose replica here is throttled.
    throttled: BTreeSet<TopicPartition>,
}

impl AllFollowed {
    pub(super) fn new(leader: BrokerId) -> Self {
        Self {
            leader,
            all: BTreeMap::new(),
            names: HashMap::new(),
            session: Session::default(),
            truncating: BTreeSet::new(),
            paused: BTreeMap::new(),
            held: BTreeSet::new(),
            throttled: BTreeSet::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn get(&self, id: &TopicPartition) -> Option<&Followed> {
        self.all.get(id)
    }

    /// Name of a topic that is followed.
    pub(super) fn name_of(&self, id: TopicId) -> Option<&TopicName> {
        self.names.get(&id).map(|(name, _)| name)
    }

    /// Follows `partition`, or goes on as before if its epoch is the one that is followed already.
    /// `asks_first`: whether the leader has to be asked where the logs part.
    pub(super) fn follow(&mut self, partition: Arc<Partition>, asks_first: bool) {
        let Some(position) = self.position(&partition) else {
            self.leave(partition.id());
            return;
        };
        let same = |f: &Followed| {
            Arc::ptr_eq(&f.partition, &partition) && f.epoch == position.leader_epoch
        };
        let id = partition.id().clone();
        if self.all.get(&id).is_some_and(same) {
            return;
        }
        self.leave(&id);
        if let Some(topic_id) = partition.topic_id() {
            let name = self.names.entry(topic_id);
            name.or_insert_with(|| (id.topic.clone(), 0)).1 += 1;
        }
        let followed = Followed {
            partition,
            epoch: position.leader_epoch,
            failures: 0,
            lag: None,
        };
        self.all.insert(id.clone(), followed);
        self.start(&id, &position, asks_first);
    }

    /// Truncates or fetches, as the position demands.
    fn start(&mut self, id: &TopicPartition, position: &FetchPosition, asks_first: bool) {
        // Without an epoch the leader cannot tell where the logs part.
        let blind = position.last_epoch.is_none() && position.offset > position.log_start;
        if blind || asks_first && position.last_epoch.is_some() {
            self.session.remove(id);
            self.truncating.insert(id.clone());
        } else {
            self.fetch_from(id, position);
        }
    }

    /// Fetches from the partition's position on; leaves it if it has another leader by now.
    pub(super) fn fetch(&mut self, id: &TopicPartition) {
        let position = self.all.get(id).and_then(|f| self.position(&f.partition));
        match position {
            Some(position) => self.fetch_from(id, &position),
            None => self.leave(id),
        }
    }

    fn fetch_from(&mut self, id: &TopicPartition, position: &FetchPosition) {
        let Some(followed) = self.all.get(id) else {
            return;
        };
        if followed.epoch != position.leader_epoch {
            // It is told anew; until then nothing of it is right.
            self.leave(id);
            return;
        }
        self.truncating.remove(id);
        self.paused.remove(id);
        let wish = Wish {
            topic_id: followed.partition.topic_id().unwrap_or(TopicId::ZERO),
            leader_epoch: position.leader_epoch.0,
            offset: position.offset,
            last_epoch: position.last_epoch.map_or(-1, |epoch| epoch.0),
            log_start: position.log_start,
        };
        if !self.held.contains(id) {
            self.session.set(id, wish);
        }
    }

    /// Follows `id` no more.
    pub(super) fn leave(&mut self, id: &TopicPartition) {
        let Some(followed) = self.all.remove(id) else {
            return;
        };
        self.session.remove(id);
        self.truncating.remove(id);
        self.paused.remove(id);
        self.held.remove(id);
        self.throttled.remove(id);
        if let Some(topic_id) = followed.partition.topic_id()
            && let Some((_, count)) = self.names.get_mut(&topic_id)
        {
            *count -= 1;
            if *count == 0 {
                self.names.remove(&topic_id);
            }
        }
    }

    /// An answer was taken; the leader's high watermark is `high_watermark`, our end is `end`.
    pub(super) fn taken(&mut self, id: &TopicPartition, end: i64, high_watermark: i64) {
        if let Some(followed) = self.all.get_mut(id) {
            followed.failures = 0;
            followed.lag = Some(high_watermark.saturating_sub(end).max(0));
        }
    }

    /// Leaves `id` alone for a while: longer each time, up to `most`. Gives the number of failures.
    pub(super) fn pause(&mut self, id: &TopicPartition, now: Instant, most: Duration) -> u32 {
        let Some(followed) = self.all.get_mut(id) else {
            return 0;
        };
        let until = now + pause_after(followed.failures, most);
        followed.failures = followed.failures.saturating_add(1);
        let failures = followed.failures;
        self.session.remove(id);
        self.paused.insert(id.clone(), until);
        failures
    }

    /// Those whose pause is over go on where they were.
    pub(super) fn resume(&mut self, now: Instant) {
        let due = (self.paused.iter()).filter(|(_, until)| **until <= now);
        let due: Vec<TopicPartition> = due.map(|(id, _)| id.clone()).collect();
        for id in due {
            self.paused.remove(&id);
            if !self.truncating.contains(&id) {
                self.fetch(&id);
            }
        }
    }

    /// Whether a partition that is to be truncated may be tried now.
    pub(super) fn is_paused(&self, id: &TopicPartition) -> bool {
        self.paused.contains_key(id)
    }

    /// The leader turned out not to say where logs part: it has to be asked before anything is fetched.
    pub(super) fn truncate_all(&mut self) {
        for (id, followed) in &self.all {
            let position = followed.partition.fetch_position();
            if position.is_some_and(|p| p.last_epoch.is_some()) {
                self.session.remove(id);
                self.held.remove(id);
                self.truncating.insert(id.clone());
            }
        }
    }

    /// Whether some can be truncated now.
    pub(super) fn has_to_truncate(&self) -> bool {
        self.truncating.iter().any(|id| !self.is_paused(id))
    }

    /// When the first pause is over.
    pub(super) fn next_resume(&self) -> Option<Instant> {
        self.paused.values().min().copied()
    }

    /// Looks at all partitions again: retention moves the start of a log, a configuration its throttle.
    pub(super) fn refresh(&mut self, is_throttled: impl Fn(&Partition) -> bool) {
        let throttled = self.all.values().filter(|f| is_throttled(&f.partition));
        self.throttled = throttled.map(|f| f.partition.id().clone()).collect();
        let fetched: Vec<TopicPartition> = (self.all.keys())
            .filter(|id| self.session.wish(id).is_some())
            .cloned()
            .collect();
        for id in fetched {
            self.fetch(&id);
        }
    }

    /// Whether the throttle counts what comes for `id`.
    pub(super) fn is_throttled(&self, id: &TopicPartition) -> bool {
        self.throttled.contains(id)
    }

    /// Holds throttled partitions back that are behind, or lets them go on. True while some are held.
    pub(super) fn hold(&mut self, is_exceeded: impl FnOnce() -> bool) -> bool {
        if self.throttled.is_empty() && self.held.is_empty() {
            return false;
        }
        let exceeded = is_exceeded();
        if exceeded {
            for id in &self.throttled {
                let behind = self.all.get(id).is_some_and(|f| f.lag != Some(0));
                if behind && self.session.wish(id).is_some() {
                    self.session.remove(id);
                    self.held.insert(id.clone());
                }
            }
        }
        let free = |id: &&TopicPartition| !exceeded || !self.throttled.contains(*id);
        let free: Vec<TopicPartition> = self.held.iter().filter(free).cloned().collect();
        for id in free {
            self.held.remove(&id);
            self.fetch(&id);
        }
        !self.held.is_empty()
    }

    /// Where `partition` goes on, if it still follows this loop's leader.
    fn position(&self, partition: &Partition) -> Option<FetchPosition> {
        let position = partition.fetch_position()?;
        (position.leader == self.leader).then_some(position)
    }
}
