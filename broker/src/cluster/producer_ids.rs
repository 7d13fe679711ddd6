//! Producer ids, from blocks of 1000 that brokers take from ZooKeeper (KIP-98).

use nyala_coordinator::ids::{BrokerEpoch, BrokerId};
use nyala_coordinator::registry::{ProducerIdBlock, Registry};
use tokio::sync::Mutex;
use tracing::warn;

use super::Cluster;
use super::error::{ControllerError, ProducerIdBlockError, ProducerIdError};
use crate::told::Told;

/// Hands out ids that no other broker of the cluster hands out. Ids of a block that is not used up
/// when the broker ends are lost, as in Kafka.
#[derive(Debug)]
pub(super) struct ProducerIds {
    registry: Registry,
    broker: BrokerId,
    /// Held while a block is taken, so that one broker takes one at a time.
    left: Mutex<Option<ProducerIdBlock>>,
    /// Why there was no block. Producers ask many times a second.
    told: Told,
}

impl ProducerIds {
    pub(super) fn new(registry: Registry, broker: BrokerId) -> Self {
        Self {
            registry,
            broker,
            left: Mutex::new(None),
            told: Told::default(),
        }
    }

    pub(super) async fn next(&self) -> Result<i64, ProducerIdError> {
        let mut left = self.left.lock().await;
        let mut block = match *left {
            Some(block) if block.first <= block.last => block,
            _ => self.take().await?,
        };
        let id = block.first;
        // `last` is below i64::MAX: the next block always starts above it.
        block.first = block.first.saturating_add(1);
        *left = Some(block);
        Ok(id)
    }

    async fn take(&self) -> Result<ProducerIdBlock, ProducerIdError> {
        let taken = take_block(&self.registry, self.broker).await;
        let failed = taken.as_ref().err().map(ToString::to_string);
        if self.told.is_news(failed.clone()) {
            warn!("no producer ids: {}", failed.unwrap_or_default());
        }
        taken
    }
}

async fn take_block(
    registry: &Registry,
    broker: BrokerId,
) -> Result<ProducerIdBlock, ProducerIdError> {
    let taken = registry.take_producer_ids(broker).await?;
    taken.ok_or(ProducerIdError::Exhausted)
}

impl Cluster {
    /// A producer id that no other broker of the cluster gives.
    pub async fn next_producer_id(&self) -> Result<i64, ProducerIdError> {
        self.producer_ids.next().await
    }

    /// A block of producer ids for another broker that asks the controller for it. It is taken from
    /// ZooKeeper by compare-and-set: no two controllers can give the same.
    pub async fn allocate_producer_ids(
        &self,
        broker: BrokerId,
        epoch: BrokerEpoch,
    ) -> Result<ProducerIdBlock, ProducerIdBlockError> {
        if !self.is_controller() {
            return Err(ControllerError::NotController.into());
        }
        match self.snapshot().brokers.get(&broker) {
            None => Err(ControllerError::UnknownBroker(broker).into()),
            Some(known) if known.epoch != epoch => Err(ControllerError::StaleBroker.into()),
            Some(_) => Ok(take_block(&self.registry, broker).await?),
        }
    }
}
