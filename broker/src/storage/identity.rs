//! Whose folders these are (`meta.properties` in each), and which replicas were lost with a disk that was replaced.
//!
//! A folder without an identity is new to this broker, or on another disk than before. What was lost is noted in all
//! folders (`lost-replicas`, a file of our own; Kafka reads only folders there) before such a one gets its identity,
//! and stays noted until those who have the records have taken this broker's name out of the replicas in sync: so
//! it is known however often the broker is stopped meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nyala_coordinator::ids::{BrokerId, TopicPartition};

use super::log_dir::LogDir;
use super::properties::Identity;
use super::{IdentityError, LogDirs};

impl LogDirs {
    /// What the folders' `meta.properties` say, before the broker has an id.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let known = self.dirs.iter().filter_map(|dir| dir.identity().ok()?);
        known.fold(Identity::default(), |found, next| Identity {
            broker_id: found.broker_id.or(next.broker_id),
            cluster_id: found.cluster_id.or(next.cluster_id),
        })
    }

    /// Checks `meta.properties` in every folder, and writes nothing.
    pub fn check_identity(
        &self,
        broker_id: BrokerId,
        cluster_id: &str,
    ) -> Result<(), IdentityError> {
        for dir in self.usable_dirs() {
            if dir.identity().is_ok_and(|known| known.is_none()) {
                self.has_new_dir.store(true, Ordering::Relaxed);
            }
            dir.check_identity(broker_id, cluster_id)?;
        }
        Ok(())
    }

    /// Writes `meta.properties` in every folder that has none, and checks the others. While a folder is offline nobody knows
    /// what was on a new one: it stays new for the next start.
    pub fn set_identity(&self, broker_id: BrokerId, cluster_id: &str) -> Result<(), IdentityError> {
        self.check_identity(broker_id, cluster_id)?;
        if self.has_new_dir() && self.usable_dirs().count() < self.dirs.len() {
            return Ok(());
        }
        for dir in self.usable_dirs() {
            dir.set_identity(broker_id, cluster_id);
        }
        Ok(())
    }

    /// Whether a folder had no identity when it was [checked](Self::check_identity): it has never been this
    /// broker's, or its disk was replaced.
    #[must_use]
    pub fn has_new_dir(&self) -> bool {
        self.has_new_dir.load(Ordering::Relaxed)
    }

    /// What was noted as lost, by this start or one before. A note is in all folders before a log is made anew: one
    /// whose folder does not have it was never lost (a disk that was away for a while), or is trusted again.
    #[must_use]
    pub fn lost_replicas(&self) -> BTreeSet<TopicPartition> {
        let noted = self.usable_dirs().map(|dir| (dir, dir.lost_replicas()));
        let noted: Vec<_> = noted.collect();
        let logs = self.logs.read();
        let is_lost = |id: &TopicPartition| {
            logs.get(id).is_none_or(|placed| {
                let has = |(dir, lost): &(&Arc<LogDir>, BTreeSet<_>)| {
                    Arc::ptr_eq(dir, &placed.dir) && lost.contains(id)
                };
                noted.iter().any(has)
            })
        };
        let all = noted.iter().flat_map(|(_, lost)| lost);
        all.filter(|id| is_lost(id)).cloned().collect()
    }

    /// Notes what is lost (blocks shortly); a folder that does not take it goes offline.
    pub fn note_lost(&self, lost: &BTreeSet<TopicPartition>) {
        for dir in self.usable_dirs() {
            if let Err(error) = dir.note_lost(lost) {
                dir.take_offline(error);
            }
        }
    }

    fn usable_dirs(&self) -> impl Iterator<Item = &Arc<LogDir>> {
        self.dirs.iter().filter(|dir| dir.offline().is_none())
    }
}

#[cfg(test)]
mod tests;
