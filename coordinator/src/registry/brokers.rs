//! `/brokers/ids`: brokers say who they are, and live as long as their session.
//!
//! The node's creation transaction is the broker's epoch (KIP-380). A node that is there already may
//! be our own (a write whose answer was lost), one of our former sessions', or somebody else's: only
//! its owner tells, and somebody else's is never touched (KAFKA-7165).

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::info;

use super::payloads::BrokerRegistration;
use super::{At, Registry, RegistryError, paths};
use crate::ids::{BrokerEpoch, BrokerId};
use crate::session::{Acl, CreateMode, Node, Op, ZkError};

/// Beyond the session timeout: the server ends sessions in steps of its tick.
const EXPIRY_SLACK: Duration = Duration::from_secs(4);

/// Why a broker could not be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// Another live process has this id.
    #[error(
        "broker id {broker} is taken: {path} belongs to session {owner:#x}, which is still alive after {} ms; \
         is another broker running with the same broker.id?", waited.as_millis()
    )]
    Taken {
        /// The id asked for.
        broker: BrokerId,
        /// The node.
        path: String,
        /// The session that holds it.
        owner: i64,
        /// How long we waited for it to end.
        waited: Duration,
    },
    /// A persistent node is in the way; no session's end will remove it.
    #[error("{path} is a persistent node, so no broker can register there; delete it by hand")]
    NotEphemeral {
        /// The node.
        path: String,
    },
    /// ZooKeeper failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Registry {
    /// Registers `broker` in the current session and gives its epoch.
    ///
    /// Waits for a former owner's session to end, up to the session timeout.
    pub async fn register_broker(
        &self,
        broker: BrokerId,
        info: &BrokerRegistration,
    ) -> Result<BrokerEpoch, RegisterError> {
        let path = paths::broker(broker);
        let data = info.encode();
        let waited = self.session.session_timeout() + EXPIRY_SLACK;
        let deadline = Instant::now() + waited;
        loop {
            let created = self
                .session
                .create(&path, &data, CreateMode::Ephemeral, Acl::Open);
            match created.await {
                Ok(created) => return Ok(BrokerEpoch(created.stat.czxid)),
                // The next attempt finds our own node if this one was made.
                Err(ZkError::NodeExists | ZkError::Unknown) => {}
                Err(e) => return Err(e).at(&path)?,
            }
            let (found, gone) = self.session.get_watch(&path).await.at(&path)?;
            let Some(node) = found else { continue };
            let owner = node.stat.ephemeral_owner;
            if Some(owner) == self.session.session_id() {
                // Our own, from this call or one before. It is to say the right thing; its epoch stays.
                if node.data == data {
                    return Ok(BrokerEpoch(node.stat.czxid));
                }
                self.update(&path, &node, &data).await?;
                continue;
            }
            if owner == 0 {
                return Err(RegisterError::NotEphemeral { path });
            } else if self.session.is_former_session(owner) {
                info!("{path} is left from our former session {owner:#x}: replacing it");
                self.replace(&path, &node, &data).await?;
                continue;
            }
            info!("{path} belongs to session {owner:#x}: waiting for it to end");
            if timeout_at(deadline, gone.changed()).await.is_err() {
                return Err(RegisterError::Taken {
                    broker,
                    path,
                    owner,
                    waited,
                });
            }
        }
    }

    async fn update(&self, path: &str, node: &Node, data: &[u8]) -> Result<(), RegisterError> {
        let version = Some(node.stat.version);
        match self.session.set(path, data, version).await {
            // Whatever happened, the next look decides.
            Ok(_) | Err(ZkError::NoNode | ZkError::BadVersion | ZkError::Unknown) => Ok(()),
            Err(e) => Err(e).at(path)?,
        }
    }

    async fn replace(&self, path: &str, node: &Node, data: &[u8]) -> Result<(), RegisterError> {
        let ops = vec![
            Op::Delete {
                path: path.to_owned(),
                version: Some(node.stat.version),
            },
            Op::Create {
                path: path.to_owned(),
                data: data.to_vec(),
                mode: CreateMode::Ephemeral,
                acl: Acl::Open,
            },
        ];
        match self.session.multi(ops).await.map_err(ZkError::from) {
            // Whatever happened, the next look decides.
            Ok(_)
            | Err(ZkError::NoNode | ZkError::NodeExists | ZkError::BadVersion | ZkError::Unknown) => {
                Ok(())
            }
            Err(e) => Err(e).at(path)?,
        }
    }

    /// Removes the broker's registration if it is this session's.
    pub async fn unregister_broker(&self, broker: BrokerId) -> Result<(), RegistryError> {
        let path = paths::broker(broker);
        loop {
            let Some(stat) = self.session.exists(&path).await.at(&path)? else {
                return Ok(());
            };
            if Some(stat.ephemeral_owner) != self.session.session_id() {
                return Ok(());
            }
            match self.session.delete(&path, None).await {
                Ok(()) | Err(ZkError::NoNode) => return Ok(()),
                // The next look tells whether it has gone.
                Err(ZkError::Unknown) => {}
                Err(e) => return Err(e).at(&path),
            }
        }
    }

    /// The next generated broker id (`broker.id.generation.enable`), above `reserved_max`.
    pub async fn generate_broker_id(&self, reserved_max: i32) -> Result<BrokerId, RegistryError> {
        let path = paths::BROKER_SEQUENCE_ID;
        loop {
            match self.session.set(path, b"", None).await {
                Ok(stat) => return Ok(BrokerId(reserved_max.saturating_add(stat.version))),
                Err(ZkError::NoNode) => self.session.ensure_path(path).await.at(path)?,
                // A number that was counted and not used is lost, as in Kafka.
                Err(ZkError::Unknown) => {}
                Err(e) => return Err(e).at(path),
            }
        }
    }

    /// Ids of the registered brokers.
    pub async fn broker_ids(&self) -> Result<Vec<BrokerId>, RegistryError> {
        let path = paths::BROKER_IDS;
        let names = match self.session.children(path).await {
            Err(ZkError::NoNode) => Vec::new(),
            other => other.at(path)?,
        };
        let mut ids: Vec<_> = names
            .iter()
            .filter_map(|n| paths::parse_broker(n))
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// A broker's registration and epoch, if it is registered.
    pub async fn broker(
        &self,
        broker: BrokerId,
    ) -> Result<Option<(BrokerRegistration, BrokerEpoch)>, RegistryError> {
        let path = paths::broker(broker);
        let Some(node) = self.session.get_if_exists(&path).await.at(&path)? else {
            return Ok(None);
        };
        let info = BrokerRegistration::decode(&node.data).at(&path)?;
        Ok(Some((info, BrokerEpoch(node.stat.czxid))))
    }
}
