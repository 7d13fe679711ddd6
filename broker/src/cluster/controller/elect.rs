//! Elections that are asked for: by request, or by `/admin/preferred_replica_election`. Which leader a
//! partition gets is decided in `elections.rs`.

use std::sync::Arc;

use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::TopicPartition;
use tracing::info;

use super::term::Term;
use super::{Snapshots, TermError};
use crate::cluster::asks::Elected;
use crate::cluster::elections::{ElectionKind, plan_election};
use crate::cluster::error::ElectionError;

impl Term<'_> {
    /// Elects leaders of `partitions`, or of all.
    pub(super) async fn elect(
        &mut self,
        snapshots: &mut Snapshots,
        kind: ElectionKind,
        partitions: Option<Vec<TopicPartition>>,
    ) -> Result<Elected, TermError> {
        let snapshot = Arc::clone(&snapshots.borrow());
        let partitions = partitions.unwrap_or_else(|| all_of(&snapshot));
        let mut elected = Elected::new();
        let mut plan = Vec::new();
        for tp in partitions {
            match plan_election(&snapshot, &self.facts(), kind, &tp) {
                Ok(new) => plan.push(new),
                Err(e) => drop(elected.insert(tp, Err(e))),
            }
        }
        plan.sort_by(|a, b| a.partition.cmp(&b.partition));
        plan.dedup_by(|a, b| a.partition == b.partition);
        let outcomes = self.registry.write_states_each(&self.proof, &plan).await?;
        for (new, outcome) in plan.iter().zip(outcomes) {
            let won = match (outcome, new.state.leader) {
                (Ok(()), Some(leader)) => Ok(leader),
                _ => Err(ElectionError::TimedOut),
            };
            elected.insert(new.partition.clone(), won);
        }
        plan.retain(|new| elected.get(&new.partition).is_some_and(Result::is_ok));
        self.await_states(snapshots, &plan).await;
        Ok(elected)
    }

    /// `/admin/preferred_replica_election`.
    pub(super) async fn elect_preferred(
        &mut self,
        snapshots: &mut Snapshots,
        wanted: Vec<TopicPartition>,
    ) -> Result<(), TermError> {
        let kind = ElectionKind::Preferred;
        for (tp, outcome) in self.elect(snapshots, kind, Some(wanted)).await? {
            if let Err(e) = outcome {
                info!("the preferred replica of {tp} was not elected: {e}");
            }
        }
        Ok(())
    }
}

fn all_of(snapshot: &ClusterSnapshot) -> Vec<TopicPartition> {
    let topics = snapshot.topics.iter();
    topics
        .flat_map(|(topic, info)| {
            info.partitions.keys().map(|partition| TopicPartition {
                topic: topic.clone(),
                partition: *partition,
            })
        })
        .collect()
}
