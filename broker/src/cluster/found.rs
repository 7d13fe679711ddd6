//! What a broker does before it opens its logs: the cluster's root nodes and id, and its own number.

use nyala_coordinator::ids::BrokerId;
use nyala_coordinator::registry::{Registry, RegistryError};
use nyala_coordinator::session::Session;

use crate::config::Settings;
use crate::storage::Identity;

/// Why this broker has no place in the cluster.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// The log folders are another cluster's.
    #[error(
        "the cluster id {here} of the log folders is not that of ZooKeeper, {there}: \
         wrong zookeeper.connect or wrong log.dirs"
    )]
    OtherCluster {
        /// In `meta.properties`.
        here: String,
        /// In `/cluster/id`.
        there: String,
    },
    /// The log folders are another broker's.
    #[error(
        "broker.id is {configured}, but meta.properties in the folders of log.dirs says that they belong to broker {stored}: \
         start it with broker.id={stored}, or give it folders of its own"
    )]
    OtherBroker {
        /// In the settings.
        configured: i32,
        /// In `meta.properties`.
        stored: BrokerId,
    },
    /// `broker.id` is above what may be given by hand.
    #[error("broker.id is {given}, above reserved.broker.max.id, which is {max}")]
    Reserved {
        /// In the settings.
        given: i32,
        /// `reserved.broker.max.id`.
        max: i32,
    },
    /// There is no number and none may be made.
    #[error("broker.id is not set and broker.id.generation.enable is false")]
    NoId,
    /// ZooKeeper cannot be reached, or holds something unreadable.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Makes the cluster's root nodes if they are missing; gives the cluster's id.
pub async fn found(session: &Session) -> Result<String, RegistryError> {
    let registry = Registry::new(session.clone());
    registry.ensure_roots().await?;
    registry.cluster_id_or_create().await
}

/// This broker's number: from the settings, or the log folders, or made by ZooKeeper.
pub async fn broker_id(
    session: &Session,
    settings: &Settings,
    cluster_id: &str,
    stored: &Identity,
) -> Result<BrokerId, FoundError> {
    if let Some(here) = stored
        .cluster_id
        .as_ref()
        .filter(|here| *here != cluster_id)
    {
        return Err(FoundError::OtherCluster {
            here: here.clone(),
            there: cluster_id.to_owned(),
        });
    }
    let configured = settings.broker_id;
    let max = settings.reserved_broker_max_id;
    match (configured, stored.broker_id) {
        (-1, Some(stored)) => Ok(stored),
        (-1, None) if settings.broker_id_generation_enable => {
            let registry = Registry::new(session.clone());
            Ok(registry.generate_broker_id(max).await?)
        }
        (-1, None) => Err(FoundError::NoId),
        (_, Some(stored)) if stored.0 != configured => {
            Err(FoundError::OtherBroker { configured, stored })
        }
        _ if settings.broker_id_generation_enable && configured > max => {
            Err(FoundError::Reserved {
                given: configured,
                max,
            })
        }
        _ => Ok(BrokerId(configured)),
    }
}
