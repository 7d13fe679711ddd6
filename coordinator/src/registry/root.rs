//! The nodes that a cluster stands on: made by whichever broker starts first.

use super::payloads::{self, ProducerIdBlock};
use super::{At, Registry, RegistryError, paths};
use crate::ids::{BrokerId, TopicId};
use crate::session::{Acl, CreateMode, ZkError};

impl Registry {
    /// Makes the persistent nodes that Kafka's brokers make when they start.
    pub async fn ensure_roots(&self) -> Result<(), RegistryError> {
        // All at once: ZooKeeper syncs its journal for them together.
        let kinds = paths::CONFIG_TYPES
            .iter()
            .map(|kind| paths::config_type(kind));
        let roots = paths::ROOTS.iter().map(|path| (*path).to_owned());
        let ensure = |path: String| async move { self.session.ensure_path(&path).await.at(&path) };
        futures::future::try_join_all(roots.chain(kinds).map(ensure)).await?;
        // Kafka leaves this node without data; ours would have an empty text, which Kafka cannot parse there. An
        // empty block says the same.
        let none = ProducerIdBlock {
            broker: BrokerId(-1),
            first: 0,
            last: -1,
        };
        self.create_if_missing(paths::PRODUCER_ID_BLOCK, &none.encode())
            .await?;
        Ok(())
    }

    /// Makes `/feature` as Kafka's controller does, unless it is there.
    pub async fn ensure_feature(&self) -> Result<(), RegistryError> {
        self.create_if_missing(paths::FEATURE, payloads::FEATURE)
            .await?;
        Ok(())
    }

    /// The cluster's id; makes one if there is none.
    pub async fn cluster_id_or_create(&self) -> Result<String, RegistryError> {
        if let Some(id) = self.cluster_id().await? {
            return Ok(id);
        }
        self.session.ensure_path("/cluster").await.at("/cluster")?;
        let id = TopicId::random().to_string();
        let proposal = payloads::encode_cluster_id(&id);
        self.create_if_missing(paths::CLUSTER_ID, &proposal).await?;
        // Another broker may have been faster.
        Ok(self.cluster_id().await?.unwrap_or(id))
    }

    /// The cluster's id, if it has one.
    pub async fn cluster_id(&self) -> Result<Option<String>, RegistryError> {
        let path = paths::CLUSTER_ID;
        match self.session.get_if_exists(path).await.at(path)? {
            Some(node) => payloads::decode_cluster_id(&node.data).at(path).map(Some),
            None => Ok(None),
        }
    }

    /// Whether the node was made; `false`: it was there.
    pub(super) async fn create_if_missing(
        &self,
        path: &str,
        data: &[u8],
    ) -> Result<bool, RegistryError> {
        let mode = CreateMode::Persistent;
        loop {
            match self.session.create(path, data, mode, Acl::Default).await {
                Ok(_) => return Ok(true),
                Err(ZkError::NodeExists) => return Ok(false),
                // Either it is there now, or the next attempt makes it.
                Err(ZkError::Unknown) => {}
                Err(e) => return Err(e).at(path),
            }
        }
    }
}
