//! The offsets of a member of a brokers' group: read when a generation begins, committed as it goes.

use std::collections::BTreeMap;
use std::time::Duration;

use nyala_coordinator::ids::TopicPartition;
use tokio::time::Instant;

use super::{Driver, End, OFFSET_FETCH_VERSION_MAX, RETRY};
use crate::connection::Connection;
use crate::consumer::delivery::Progress;
use crate::consumer::positions;
use crate::error::{ClusterError, ConsumerError};
use crate::wire::ErrorCode;
use crate::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::wire::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};

/// Pause before the begin of a partition is asked for again.
const BEGIN_RETRY: Duration = Duration::from_secs(1);

impl Driver {
    /// Starts to read what was assigned, from the committed offsets.
    pub(super) async fn begin(
        &mut self,
        connection: &Connection,
        mine: Vec<TopicPartition>,
    ) -> Result<(), End> {
        let committed = self.committed(connection, &mine).await?;
        for target in mine {
            match committed.get(&target) {
                Some(offset) => self.parts.delivery.assign(target, *offset, None),
                None => self.ask_begin(target, Duration::ZERO),
            }
        }
        Ok(())
    }

    fn ask_begin(&mut self, target: TopicPartition, pause: Duration) {
        let (cluster, reset) = (self.parts.cluster.clone(), self.parts.config.offset_reset);
        self.begins.spawn(async move {
            tokio::time::sleep(pause).await;
            let begin = positions::reset(&cluster, &target, reset).await;
            (target, begin)
        });
    }

    /// A partition's begin was found, or is asked for again.
    pub(super) fn begun(&mut self, target: TopicPartition, begin: Result<i64, ConsumerError>) {
        match begin {
            Ok(offset) => self.parts.delivery.assign(target, offset, None),
            Err(error) => {
                self.parts.delivery.report(error);
                self.ask_begin(target, BEGIN_RETRY);
            }
        }
    }

    /// What the group has committed of these partitions.
    pub(super) async fn committed(
        &mut self,
        connection: &Connection,
        mine: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, End> {
        let mut topics: Vec<OffsetFetchRequestTopic> = Vec::new();
        for target in mine {
            match topics
                .last_mut()
                .filter(|t| t.name == target.topic.as_str())
            {
                Some(topic) => topic.partition_indexes.push(target.partition.0),
                None => topics.push(OffsetFetchRequestTopic {
                    name: target.topic.as_str().to_owned(),
                    partition_indexes: vec![target.partition.0],
                }),
            }
        }
        let request = OffsetFetchRequest {
            group_id: self.group.clone(),
            topics: Some(topics),
            ..OffsetFetchRequest::default()
        };
        loop {
            let cap = OFFSET_FETCH_VERSION_MAX;
            let fetched = connection.call_up_to(&request, cap).await?;
            let partitions = fetched.topics.iter().flat_map(|t| &t.partitions);
            let first = partitions.map(|p| p.error_code).find(|code| *code != 0);
            match ErrorCode::from(first.unwrap_or(fetched.error_code)) {
                ErrorCode::None => {}
                ErrorCode::CoordinatorLoadInProgress | ErrorCode::UnstableOffsetCommit => {
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
                code => return Err(self.end(code)),
            }
            let wanted = mine.iter().filter_map(|target| {
                let topic = target.topic.as_str();
                let topic = fetched.topics.iter().find(|t| t.name == topic)?;
                let mut all = topic.partitions.iter();
                let found = all.find(|p| p.partition_index == target.partition.0)?;
                (found.committed_offset >= 0).then(|| (target.clone(), found.committed_offset))
            });
            return Ok(wanted.collect());
        }
    }

    /// Commits for those who wait. A coordinator that moved is no answer to them: it is looked for,
    /// and the commit made there, as long as they have patience.
    pub(super) async fn commit_owed(&mut self, connection: &Connection) -> Result<(), End> {
        let outcome = self.commit(connection).await;
        let again = match &outcome {
            Ok(()) => false,
            Err(ConsumerError::Group { code, .. }) => code.retriable(),
            Err(error) => matches!(error, ConsumerError::Cluster(_)),
        };
        if again {
            self.give_up_commits();
            return Err(End::NoCoordinator);
        }
        self.answer_commits(&outcome);
        Ok(())
    }

    /// Tells all who wait for a commit.
    pub(super) fn answer_commits(&mut self, outcome: &Result<(), ConsumerError>) {
        for (reply, _) in self.owed.drain(..) {
            // The application may have stopped waiting.
            let _ = reply.send(outcome.clone());
        }
    }

    /// Tells those whose patience is over.
    pub(super) fn give_up_commits(&mut self) {
        let now = Instant::now();
        let refusal = self.refusal(ErrorCode::CoordinatorNotAvailable);
        for (reply, _) in self.owed.extract_if(.., |(_, deadline)| *deadline <= now) {
            let _ = reply.send(Err(refusal.clone()));
        }
    }

    /// Commits what was handled and not committed yet.
    pub(super) async fn commit(&self, connection: &Connection) -> Result<(), ConsumerError> {
        let progress = self.parts.delivery.uncommitted();
        if progress.is_empty() {
            return Ok(());
        }
        let request = self.commit_request(&progress);
        let answer = connection
            .call(&request)
            .await
            .map_err(ClusterError::from)?;
        let mut outcome = Ok(());
        for done in &progress {
            let topic = answer
                .topics
                .iter()
                .find(|t| t.name == done.target.topic.as_str());
            let mut partitions = topic.into_iter().flat_map(|t| &t.partitions);
            let found = partitions.find(|p| p.partition_index == done.target.partition.0);
            let code = found.map_or(ErrorCode::UnknownServerError, |p| p.error_code.into());
            match code {
                ErrorCode::None => self.parts.delivery.committed(done),
                code => outcome = Err(self.refusal(code)),
            }
        }
        outcome
    }

    fn commit_request(&self, progress: &[Progress]) -> OffsetCommitRequest {
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        for done in progress {
            let partition = OffsetCommitRequestPartition {
                partition_index: done.target.partition.0,
                committed_offset: done.offset,
                committed_metadata: Some(String::new()),
                ..OffsetCommitRequestPartition::default()
            };
            match topics
                .last_mut()
                .filter(|t| t.name == done.target.topic.as_str())
            {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(OffsetCommitRequestTopic {
                    name: done.target.topic.as_str().to_owned(),
                    partitions: vec![partition],
                }),
            }
        }
        OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.member_id.clone(),
            topics,
            ..OffsetCommitRequest::default()
        }
    }
}
