//! Whose folders these are (`meta.properties` in each), and which replicas were lost with a disk that was replaced.
//!
//! A folder without an identity is new to this broker, or on another disk than before; one that is gone from `log.dirs`
//! is missing in `known-log-dirs`. What was lost is noted in all folders (`lost-replicas`) before that is put right,
//! and stays noted until those who have the records have taken this broker's name out of the replicas in sync: so
//! it is known however often the broker is stopped meanwhile. Both files are our own; Kafka reads only folders there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
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
            let is_new = dir.identity().is_ok_and(|known| known.is_none());
            let is_gone = |path: &PathBuf| !self.paths().any(|here| here == path);
            if is_new || dir.known_dirs().iter().any(is_gone) {
                self.has_other_dirs.store(true, Ordering::Relaxed);
            }
            dir.check_identity(broker_id, cluster_id)?;
        }
        Ok(())
    }

    /// Writes `meta.properties` in every folder that has none, and checks the others; notes which folders there are.
    /// While a folder is offline nobody knows what was on one that is new, or gone: that is for the next start.
    pub fn set_identity(&self, broker_id: BrokerId, cluster_id: &str) -> Result<(), IdentityError> {
        self.check_identity(broker_id, cluster_id)?;
        if self.has_other_dirs() && self.usable_dirs().count() < self.dirs.len() {
            return Ok(());
        }
        let all: Vec<PathBuf> = self.paths().map(Path::to_path_buf).collect();
        for dir in self.usable_dirs() {
            dir.set_identity(broker_id, cluster_id);
            dir.note_dirs(&all);
        }
        Ok(())
    }

    /// Whether the folders were not those of before when they were [checked](Self::check_identity): one had no
    /// identity, so it has never been this broker's or its disk was replaced, or one is not there any more.
    #[must_use]
    pub fn has_other_dirs(&self) -> bool {
        self.has_other_dirs.load(Ordering::Relaxed)
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
                let has = |(dir, lost): &(&Arc<LogDir>, Option<BTreeSet<_>>)| {
                    // What is damaged may have said so.
                    let said = lost.as_ref().is_none_or(|lost| lost.contains(id));
                    Arc::ptr_eq(dir, &placed.dir) && said
                };
                noted.iter().any(has)
            })
        };
        let all = noted.iter().filter_map(|(_, lost)| lost.as_ref()).flatten();
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

    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.dirs.iter().map(|dir| dir.path())
    }

    fn usable_dirs(&self) -> impl Iterator<Item = &Arc<LogDir>> {
        self.dirs.iter().filter(|dir| dir.offline().is_none())
    }
}

#[cfg(test)]
mod tests;
