//! Work that is pending for the controller, and notices to it: `/admin/reassign_partitions`,
//! `/admin/preferred_replica_election`, `/isr_change_notification`, `/log_dir_event_notification`.

use super::payloads::{self, Reassignments};
use super::{At, Controllership, FencedError, Registry, RegistryError, paths};
use crate::ids::{BrokerId, TopicPartition};
use crate::session::{Acl, CreateMode, MultiError, Op, Watch, ZkError};

/// Log folders that failed, as brokers tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogDirEvents {
    /// Brokers with a folder that failed.
    pub brokers: Vec<BrokerId>,
    /// The notices, for [`Registry::forget_notices`].
    pub notices: Vec<String>,
}

impl Registry {
    /// What `/admin/reassign_partitions` asks for; the watch fires when that may have changed.
    pub async fn pending_reassignments(&self) -> Result<(Reassignments, Watch), RegistryError> {
        let path = paths::REASSIGN_PARTITIONS;
        let (node, watch) = self.session.get_watch(path).await.at(path)?;
        let wanted = match node {
            Some(node) => payloads::decode_reassignments(&node.data).at(path)?,
            None => Reassignments::new(),
        };
        Ok((wanted, watch))
    }

    /// Replaces what is still to be reassigned; the node goes when nothing is.
    pub async fn set_pending_reassignments(
        &self,
        proof: &Controllership,
        wanted: &[(TopicPartition, Vec<BrokerId>)],
    ) -> Result<(), FencedError> {
        let path = paths::REASSIGN_PARTITIONS.to_owned();
        let op = if wanted.is_empty() {
            Op::Delete {
                path,
                version: None,
            }
        } else {
            Op::Set {
                path,
                data: payloads::encode_reassignments(wanted),
                version: None,
            }
        };
        gone_is_fine(self.write_as_controller(proof, vec![op]).await.map(drop))
    }

    /// What `/admin/preferred_replica_election` asks for; `None`: there is no such node.
    pub async fn pending_election(
        &self,
    ) -> Result<(Option<Vec<TopicPartition>>, Watch), RegistryError> {
        let path = paths::PREFERRED_REPLICA_ELECTION;
        let (node, watch) = self.session.get_watch(path).await.at(path)?;
        let wanted = match node {
            Some(node) => Some(payloads::decode_preferred_election(&node.data).at(path)?),
            None => None,
        };
        Ok((wanted, watch))
    }

    /// Removes a node of pending work, whatever it holds.
    pub async fn forget_pending(
        &self,
        proof: &Controllership,
        path: &str,
    ) -> Result<(), FencedError> {
        let op = Op::Delete {
            path: path.to_owned(),
            version: None,
        };
        gone_is_fine(self.write_as_controller(proof, vec![op]).await.map(drop))
    }

    /// Notices of changed in-sync replicas. What they tell stands in the partitions' states too.
    pub async fn isr_notices(&self) -> Result<(Vec<String>, Watch), RegistryError> {
        self.notices(paths::ISR_CHANGE_NOTIFICATION).await
    }

    /// Notices of failed log folders.
    pub async fn log_dir_events(&self) -> Result<(LogDirEvents, Watch), RegistryError> {
        let path = paths::LOG_DIR_EVENT_NOTIFICATION;
        let (notices, watch) = self.notices(path).await?;
        let mut brokers = Vec::new();
        for node in self.session.get_many(&notices).await.at(path)? {
            // A notice that cannot be read names nobody and goes with the others.
            brokers.extend(node.and_then(|n| payloads::decode_log_dir_event(&n.data).ok()));
        }
        Ok((LogDirEvents { brokers, notices }, watch))
    }

    /// Tells the controller that a log folder of `broker` has failed.
    pub async fn tell_log_dir_failure(&self, broker: BrokerId) -> Result<(), RegistryError> {
        let path = format!("{}/log_dir_event_", paths::LOG_DIR_EVENT_NOTIFICATION);
        let data = payloads::encode_log_dir_event(broker);
        let mode = CreateMode::PersistentSequential;
        match self.session.create(&path, &data, mode, Acl::Default).await {
            // Told twice is as good as told once.
            Ok(_) => Ok(()),
            Err(e) => Err(e).at(&path),
        }
    }

    /// Deletes notices that were heeded.
    pub async fn forget_notices(
        &self,
        proof: &Controllership,
        notices: &[String],
    ) -> Result<(), FencedError> {
        for path in notices {
            self.forget_pending(proof, path).await?;
        }
        Ok(())
    }

    /// Paths of the children of `path`.
    async fn notices(&self, path: &str) -> Result<(Vec<String>, Watch), RegistryError> {
        let (children, watch) = self.session.children_watch(path).await.at(path)?;
        let names = children.map(|c| c.names).unwrap_or_default();
        let paths = names.iter().map(|name| format!("{path}/{name}")).collect();
        Ok((paths, watch))
    }
}

fn gone_is_fine(done: Result<(), FencedError>) -> Result<(), FencedError> {
    match done {
        Err(FencedError::Failed(MultiError {
            error: ZkError::NoNode,
            ..
        })) => Ok(()),
        other => other,
    }
}
