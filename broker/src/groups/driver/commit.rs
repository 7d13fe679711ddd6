//! Committing offsets: fenced by the group, appended under its lock, answered when replicated.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{EmptyId, Groups, unwritable};
use crate::groups::driver::background::Work;
use crate::groups::error::GroupError;
use crate::groups::log::WriteError;
use crate::groups::offsets::{Committed, Place};
use crate::groups::records::{OffsetRecord, offset_key};
use crate::groups::shard::{Cell, Inner};

/// An OffsetCommit for partitions that exist.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    /// Empty for a consumer outside of group management.
    pub(crate) member: String,
    /// Static identity.
    pub(crate) instance: Option<String>,
    /// -1 outside of group management.
    pub(crate) generation: i32,
    /// The client's own retention; -1 for the broker's.
    pub(crate) retention_ms: i64,
    /// What to commit.
    pub(crate) offsets: Vec<NewOffset>,
}

/// One partition of an OffsetCommit.
#[derive(Clone, Debug)]
pub(crate) struct NewOffset {
    /// Topic and partition.
    pub(crate) place: Place,
    /// Offset of the next record to read.
    pub(crate) offset: i64,
    /// Leader epoch of the last record read, or -1.
    pub(crate) leader_epoch: i32,
    /// The client's own words.
    pub(crate) metadata: String,
}

type Results = Vec<Result<(), GroupError>>;

/// Commits that are in the log but not replicated: what to note when they are.
pub(super) type Pending = Vec<(Place, Committed)>;

impl Groups {
    /// OffsetCommit: a result for each offset, in their order.
    pub(crate) async fn commit(&self, group: &str, commit: Commit) -> Results {
        let all = |error| vec![Err(error); commit.offsets.len()];
        // A group that nobody knows starts with a commit from outside of group management.
        let found = match commit.generation < 0 {
            true => self.find_or_create(group, EmptyId::Taken).map(Some),
            false => self.find(group, EmptyId::Taken),
        };
        let cell = match found {
            Ok(Some(cell)) => cell,
            Ok(None) => return all(GroupError::IllegalGeneration),
            Err(error) => return all(error),
        };
        let (results, pending) = {
            let mut inner = cell.inner.lock();
            let (member, instance) = (commit.member.as_str(), commit.instance.as_deref());
            let now = self.now();
            let allowed = inner
                .group
                .check_commit(member, instance, commit.generation, now);
            self.set_alarm(&cell, &mut inner);
            match allowed {
                Err(error) => return all(error),
                Ok(()) => {
                    let appended = self.append_offsets(&cell, &mut inner, &commit);
                    // A commit that is refused must not leave a group behind.
                    if inner.group.generation() == 0 {
                        self.drop_if_vacant(&cell, &mut inner);
                    }
                    appended
                }
            }
        };
        let Some(pending) = pending else {
            return results;
        };
        let outcome = pending.await.unwrap_or(Err(WriteError::NotLeader));
        match outcome.map_err(WriteError::of_offsets) {
            Ok(()) => results,
            Err(error) => results.into_iter().map(|r| r.and(Err(error))).collect(),
        }
    }

    /// Puts what is acceptable into the log; the receiver tells when it is replicated, unless
    /// it is already.
    fn append_offsets(
        &self,
        cell: &Arc<Cell>,
        inner: &mut Inner,
        commit: &Commit,
    ) -> (Results, Option<oneshot::Receiver<Result<(), WriteError>>>) {
        let mut results: Results = commit
            .offsets
            .iter()
            .map(|o| self.check_offset(o))
            .collect();
        let accepted = commit
            .offsets
            .iter()
            .zip(&results)
            .filter(|(_, r)| r.is_ok());
        let accepted: Vec<_> = accepted
            .map(|(offset, _)| (offset.place.clone(), record(offset, commit.retention_ms)))
            .collect();
        if accepted.is_empty() {
            return (results, None);
        }
        let written = records(&cell.id, &accepted).and_then(|records| self.write(cell, &records));
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                let error = error.of_offsets();
                results.iter_mut().for_each(|r| *r = r.and(Err(error)));
                return (results, None);
            }
        };
        let written_at = written.base_offset;
        let committed = |(place, record)| (place, Committed { record, written_at });
        let accepted: Pending = accepted.into_iter().map(committed).collect();
        let Some(replicated) = written.pending else {
            for (place, committed) in accepted {
                inner.offsets.put(&place, committed);
            }
            return (results, None);
        };
        for (place, _) in &accepted {
            inner.offsets.begin(place);
        }
        let (sender, receiver) = oneshot::channel();
        self.send(Work::Offsets(
            Arc::clone(cell),
            accepted,
            replicated,
            sender,
        ));
        (results, Some(receiver))
    }

    fn check_offset(&self, offset: &NewOffset) -> Result<(), GroupError> {
        if offset.offset < 0 {
            return Err(GroupError::InvalidOffset);
        }
        let max = self.settings.offset_metadata_max;
        let metadata = &offset.metadata;
        // Kafka counts UTF-16 units, of which there are never more than bytes.
        if metadata.len() > max && metadata.encode_utf16().count() > max {
            return Err(GroupError::OffsetMetadataTooLarge);
        }
        Ok(())
    }

    /// The commit is replicated, or will not be.
    pub(super) fn offsets_replicated(
        cell: &Cell,
        pending: Pending,
        result: Result<(), WriteError>,
    ) {
        let mut inner = cell.inner.lock();
        for (place, committed) in pending {
            inner
                .offsets
                .end(&place, result.is_ok().then_some(committed));
        }
    }
}

fn record(offset: &NewOffset, retention_ms: i64) -> OffsetRecord {
    let commit_ms = nyala_coordinator::clock::wall_ms();
    OffsetRecord {
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata.as_str().into(),
        commit_ms,
        expire_ms: match retention_ms {
            -1 => -1,
            own => commit_ms.saturating_add(own),
        },
    }
}

type Records = Vec<(bytes::Bytes, Option<bytes::Bytes>)>;

fn records(group: &str, offsets: &[(Place, OffsetRecord)]) -> Result<Records, WriteError> {
    let one = |((topic, partition), record): &(Place, OffsetRecord)| {
        let key = offset_key(group, topic.as_str(), *partition).map_err(unwritable)?;
        Ok((key, Some(record.encode().map_err(unwritable)?)))
    };
    offsets.iter().map(one).collect()
}
