//! Nodes that the controller watches beside brokers and topics: read when they may have changed.

use nyala_coordinator::ids::{BrokerId, TopicName, TopicPartition};
use nyala_coordinator::registry::{
    Controllership, FencedError, LogDirEvents, Reassignments, Registry, RegistryError, paths,
};
use nyala_coordinator::session::Watch;
use tracing::warn;

use super::TermError;

/// The last value read, and what tells that there may be another.
#[derive(Debug, Default)]
pub(super) struct Node<T> {
    pub(super) value: T,
    watch: Option<Watch>,
}

impl<T> Node<T> {
    fn read(&mut self, (value, watch): (T, Watch)) {
        self.value = value;
        self.watch = Some(watch);
    }

    /// Ends when the value must be read again.
    async fn fired(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.wait().await;
        }
        self.watch = None;
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    /// Who is controller.
    pub(super) seat: Node<Option<BrokerId>>,
    /// Topics that are marked for deletion.
    pub(super) marked: Node<Vec<TopicName>>,
    /// Moves that are asked for.
    pub(super) moves: Node<Reassignments>,
    /// Elections of preferred leaders that are asked for.
    pub(super) election: Node<Option<Vec<TopicPartition>>>,
    /// Notices of changed in-sync replicas.
    pub(super) isr_notices: Node<Vec<String>>,
    /// Notices of failed log folders.
    pub(super) log_dirs: Node<LogDirEvents>,
}

impl Nodes {
    /// Reads again what may have changed.
    pub(super) async fn refresh(
        &mut self,
        registry: &Registry,
        proof: &Controllership,
    ) -> Result<(), TermError> {
        if self.seat.watch.is_none() {
            self.seat.read(registry.controller_watch().await?);
        }
        if self.marked.watch.is_none() {
            self.marked.read(registry.topics_to_delete().await?);
        }
        if self.moves.watch.is_none() {
            match registry.pending_reassignments().await {
                Ok(read) => self.moves.read(read),
                Err(e) => reject(registry, proof, e, paths::REASSIGN_PARTITIONS).await?,
            }
        }
        if self.election.watch.is_none() {
            match registry.pending_election().await {
                Ok(read) => self.election.read(read),
                Err(e) => reject(registry, proof, e, paths::PREFERRED_REPLICA_ELECTION).await?,
            }
        }
        if self.isr_notices.watch.is_none() {
            self.isr_notices.read(registry.isr_notices().await?);
        }
        if self.log_dirs.watch.is_none() {
            self.log_dirs.read(registry.log_dir_events().await?);
        }
        Ok(())
    }

    /// Ends when something must be read again.
    pub(super) async fn fired(&mut self) {
        tokio::select! {
            () = self.seat.fired() => {}
            () = self.marked.fired() => {}
            () = self.moves.fired() => {}
            () = self.election.fired() => {}
            () = self.isr_notices.fired() => {}
            () = self.log_dirs.fired() => {}
        }
    }
}

/// Pending work that nobody can understand is removed, as Kafka's controller does.
async fn reject(
    registry: &Registry,
    proof: &Controllership,
    error: RegistryError,
    path: &str,
) -> Result<(), TermError> {
    if !matches!(error, RegistryError::Payload { .. }) {
        return Err(error.into());
    }
    warn!("{error}: it is removed");
    match registry.forget_pending(proof, path).await {
        Err(FencedError::Failed(_)) | Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
