//! Leader epochs below what the own log has: ZooKeeper has lost what it knew (an old backup was put back) or
//! somebody has set them back, while nobody looked.
//!
//! *Invariant*: one epoch, one leader. Records written again under an epoch that has passed could not be told
//! from those that others have of it, and replicas would differ unnoticed. So such an epoch is not
//! led in; our controller hears of it and goes on above (`controller/set_back.rs`).

use std::collections::BTreeSet;

use nyala_coordinator::ids::{LeaderEpoch, TopicPartition};

use super::super::facts::{FactError, PartitionFacts};
use super::Failed;
use super::replicas::Parts;

/// The partitions that this broker does not lead for that reason.
#[derive(Debug, Default)]
pub(super) struct SetBack {
    refused: BTreeSet<TopicPartition>,
}

impl SetBack {
    /// Parts facts that may be applied from those whose epoch has passed.
    pub(super) fn sift(
        &mut self,
        parts: &Parts,
        facts: Vec<PartitionFacts>,
    ) -> (Vec<PartitionFacts>, Failed<FactError>) {
        let mut refused = Failed::new();
        let mut allowed = Vec::new();
        for facts in facts {
            let partition = facts.partition.clone();
            let Some(here) = self.passed(parts, &facts) else {
                self.refused.remove(&partition);
                allowed.push(facts);
                continue;
            };
            self.refused.insert(partition.clone());
            let error = FactError::SetBack { partition, here };
            refused.insert(facts.partition, error);
        }
        (allowed, refused)
    }

    /// The log's latest epoch, if this broker is to lead in one that is over.
    fn passed(&self, parts: &Parts, facts: &PartitionFacts) -> Option<LeaderEpoch> {
        let (id, epoch) = (&facts.partition, facts.leader_epoch);
        // Of what is served here, earlier facts are merely late.
        let late = parts.age_of(id) > Some((epoch, facts.partition_epoch));
        if facts.leader != Some(parts.this) || late {
            return None;
        }
        let log = parts.logs.log(id)?;
        let log = log.lock();
        let same = log.topic_id().is_none() || log.topic_id() == facts.topic_id;
        let latest = log.latest_epoch().filter(|_| same)?;
        // One that was found by going up in steps must be nobody's yet.
        let taken = latest == epoch && self.refused.contains(id);
        (latest > epoch || taken).then_some(latest)
    }
}
