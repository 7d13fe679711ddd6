//! Elections that are asked for: by request, or by `/admin/preferred_replica_election`. Which leader a
//! partition gets is decided in `elections.rs`.

use std::sync::Arc;

use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::TopicPartition;
use nyala_coordinator::registry::NewState;
use nyala_coordinator::session::ZkError;
use tracing::info;

use super::term::{Term, tell_unclean};
use super::{Snapshots, TermError, news};
use crate::cluster::asks::Elected;
use crate::cluster::elections::{ElectionKind, plan_election};
use crate::cluster::error::ElectionError;
use crate::cluster::names::Names;

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
            match plan_election(&snapshot, &self.situation(), kind, &tp) {
                Ok(new) => plan.push(new),
                Err(e) => drop(elected.insert(tp, Err(e))),
            }
        }
        plan.sort_by(|a, b| a.partition.cmp(&b.partition));
        plan.dedup_by(|a, b| a.partition == b.partition);
        let written = self.registry.write_states_each(&self.proof, &plan).await;
        let outcomes = written.inspect_err(|_| tell_unclean(&snapshot, &plan))?;
        tell_unclean(&snapshot, &not_refused(&plan, &outcomes));
        for (new, outcome) in plan.iter().zip(outcomes) {
            let won = match (outcome, new.state.leader) {
                (Ok(()), Some(leader)) => Ok(leader),
                _ => Err(ElectionError::TimedOut),
            };
            elected.insert(new.partition.clone(), won);
        }
        plan.retain(|new| elected.get(&new.partition).is_some_and(Result::is_ok));
        tell(&snapshot, kind, &plan, &elected);
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
        self.elect(snapshots, kind, Some(wanted)).await?;
        Ok(())
    }
}

/// What was written, or may have been: there was no answer.
fn not_refused(plan: &[NewState], outcomes: &[Result<(), ZkError>]) -> Vec<NewState> {
    let refused = |o| matches!(o, &Err(ZkError::BadVersion | ZkError::NoNode));
    let each = plan.iter().zip(outcomes);
    each.filter(|(_, outcome)| !refused(*outcome))
        .map(|(new, _)| new.clone())
        .collect()
}

/// Who leads now, and where nobody could be elected. A leader that is the right one already is no news.
fn tell(snapshot: &ClusterSnapshot, kind: ElectionKind, won: &[NewState], elected: &Elected) {
    let kind = match kind {
        ElectionKind::Preferred => "preferred",
        ElectionKind::Unclean => "unclean",
    };
    if !won.is_empty() {
        let leaders = news::of_leaders(snapshot, won);
        info!("{kind} leaders elected, as asked: {leaders}");
    }
    let failed = elected.iter().filter_map(|(tp, outcome)| {
        let error = outcome.as_ref().err()?;
        (*error != ElectionError::NotNeeded).then(|| format!("{tp}: {error}"))
    });
    let failed: Names = failed.collect();
    if !failed.is_empty() {
        info!("{kind} leaders not elected, although asked: {failed}");
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
