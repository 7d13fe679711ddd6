//! Producer ids, from blocks of 1000 that brokers take from ZooKeeper (KIP-98).

use nyala_coordinator::ids::BrokerId;
use nyala_coordinator::registry::{ProducerIdBlock, Registry};
use tokio::sync::Mutex;

use super::error::ProducerIdError;

/// Hands out ids that no other broker of the cluster hands out. Ids of a block that is not used up
/// when the broker ends are lost, as in Kafka.
#[derive(Debug)]
pub(super) struct ProducerIds {
    registry: Registry,
    broker: BrokerId,
    /// Held while a block is taken, so that one broker takes one at a time.
    left: Mutex<Option<ProducerIdBlock>>,
}

impl ProducerIds {
    pub(super) fn new(registry: Registry, broker: BrokerId) -> Self {
        Self {
            registry,
            broker,
            left: Mutex::new(None),
        }
    }

    pub(super) async fn next(&self) -> Result<i64, ProducerIdError> {
        let mut left = self.left.lock().await;
        let mut block = match *left {
            Some(block) if block.first <= block.last => block,
            _ => {
                let taken = self.registry.take_producer_ids(self.broker).await?;
                taken.ok_or(ProducerIdError::Exhausted)?
            }
        };
        let id = block.first;
        // `last` is below i64::MAX: the next block always starts above it.
        block.first = block.first.saturating_add(1);
        *left = Some(block);
        Ok(id)
    }
}
