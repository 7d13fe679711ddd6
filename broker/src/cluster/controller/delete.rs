//! The end of topics: their znodes go when their replicas are gone.
//!
//! Which replicas are, is kept account of in `cluster/deletion.rs`.

use std::sync::Arc;

use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::TopicName;
use nyala_coordinator::registry::{FencedError, RegistryError, StoredTopic};
use nyala_coordinator::session::ZkError;
use tracing::{info, warn};

use super::term::Term;
use super::{Snapshots, TermError};

/// What is stored under a topic's name.
pub(super) enum Standing {
    Nothing,
    Topic(StoredTopic),
    /// Something that nobody can understand: an operator's slip, say. It is no reason to keep everybody
    /// else waiting.
    Unreadable,
}

/// Whether it is this node that cannot be read, rather than ZooKeeper that cannot be reached.
fn is_of_topic(error: &RegistryError) -> bool {
    let is_payload = matches!(error, RegistryError::Payload { .. });
    is_payload || error.zk() == Some(&ZkError::NoAuth)
}

impl Term<'_> {
    /// What stands under a name, read now.
    pub(super) async fn standing(&mut self, topic: &TopicName) -> Result<Standing, RegistryError> {
        let standing = match self.registry.topic(topic).await {
            Ok(None) => Standing::Nothing,
            Ok(Some(stored)) => Standing::Topic(stored),
            Err(e) if is_of_topic(&e) => {
                if self.unreadable.insert(topic.clone()) {
                    warn!(
                        "{e}: what ZooKeeper has of topic {topic} stays until that node is written anew"
                    );
                }
                return Ok(Standing::Unreadable);
            }
            Err(e) => return Err(e),
        };
        self.unreadable.remove(topic);
        Ok(standing)
    }

    /// Removes what is left of topics whose replicas are gone; whether some have to be tried again.
    pub(super) async fn delete(&mut self, snapshots: &mut Snapshots) -> Result<bool, TermError> {
        let snapshot = Arc::clone(&snapshots.borrow());
        let enabled = self.seat.configs.live().get().delete_topic_enable;
        let (mut again, mut gone) = (false, Vec::new());
        for topic in self.nodes.marked.value.clone() {
            if self.stuck.waits(&topic, self.began) {
                continue;
            }
            // Not there in the snapshot may be not there yet: only what is read now counts.
            let idle = !snapshot.topics.contains_key(&topic)
                && match self.standing(&topic).await? {
                    Standing::Nothing => true,
                    Standing::Topic(_) => false,
                    // The snapshot will not tell when it goes.
                    Standing::Unreadable => {
                        again = true;
                        false
                    }
                };
            if idle || !enabled {
                let forgotten = self.registry.forget_deletion(&self.proof, &topic).await;
                self.unless_refused(&topic, forgotten)?;
            }
        }
        for (topic, id) in self.deletions.finished(&snapshot) {
            if self.stuck.waits(&topic, self.began) {
                continue;
            }
            // The name may be another topic's already. If not now, then not before we have deleted it:
            // nobody else does.
            match self.standing(&topic).await? {
                Standing::Topic(stored) if stored.assignment.id == id => {}
                Standing::Topic(_) | Standing::Nothing => continue,
                // Written as it was, it makes no new snapshot.
                Standing::Unreadable => {
                    again = true;
                    continue;
                }
            }
            match self.registry.delete_topic(&self.proof, &topic).await {
                // Something was made or removed below it meanwhile: the next round looks again.
                Err(FencedError::Failed(e))
                    if matches!(e.error, ZkError::NotEmpty | ZkError::NoNode) =>
                {
                    again = true;
                }
                outcome => {
                    if self.unless_refused(&topic, outcome)? {
                        info!("topic {topic} is deleted");
                        gone.push((topic, id));
                    }
                }
            }
        }
        if !gone.is_empty() {
            // What the next round decides for these names is about topics that were made anew.
            self.nodes.marked = Default::default();
            let is_gone = |snapshot: &ClusterSnapshot, topic: &TopicName, id| {
                snapshot.topics.get(topic).is_none_or(|info| info.id != id)
            };
            self.await_shown(snapshots, |snapshot| {
                gone.iter().all(|(topic, id)| is_gone(snapshot, topic, *id))
            })
            .await;
        }
        Ok(again)
    }

    /// Whether it was done. What the nodes' ACL does not allow waits for an operator, and holds up nothing else.
    fn unless_refused(
        &mut self,
        topic: &TopicName,
        outcome: Result<(), FencedError>,
    ) -> Result<bool, TermError> {
        match outcome {
            Ok(()) => {
                self.stuck.freed(topic);
                Ok(true)
            }
            Err(FencedError::Failed(e)) if e.error == ZkError::NoAuth => {
                if self.stuck.failed(topic, e.to_string(), self.began) {
                    warn!("{topic} cannot be deleted now: {e}");
                }
                Ok(false)
            }
            Err(e) => Err(e.into()),
        }
    }
}
