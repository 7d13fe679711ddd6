//! `/latest_producer_id_block`: brokers take blocks of producer ids by compare-and-set.

use super::payloads::ProducerIdBlock;
use super::{At, Registry, RegistryError, paths};
use crate::ids::BrokerId;
use crate::session::ZkError;

/// Ids in a block, as in Kafka.
const BLOCK_SIZE: i64 = 1000;

impl Registry {
    /// Takes the next block for `broker`. `None`: all 2^63 ids are used up.
    pub async fn take_producer_ids(
        &self,
        broker: BrokerId,
    ) -> Result<Option<ProducerIdBlock>, RegistryError> {
        let path = paths::PRODUCER_ID_BLOCK;
        loop {
            let node = self.session.get_if_exists(path).await.at(path)?;
            let last = match &node {
                // Kafka makes the node without data.
                Some(node) if node.data.is_empty() => -1,
                Some(node) => ProducerIdBlock::decode(&node.data).at(path)?.last,
                None => -1,
            };
            let Some(block) = next(broker, last) else {
                return Ok(None);
            };
            let Some(node) = node else {
                if self.create_if_missing(path, &block.encode()).await? {
                    return Ok(Some(block));
                }
                continue;
            };
            match self
                .session
                .set(path, &block.encode(), Some(node.stat.version))
                .await
            {
                Ok(_) => return Ok(Some(block)),
                // Somebody was faster, or it was us and the answer was lost: then this block stays
                // unused and the next one is taken, which is always safe.
                Err(ZkError::BadVersion | ZkError::Unknown) => {}
                Err(e) => return Err(e).at(path),
            }
        }
    }
}

fn next(broker: BrokerId, last: i64) -> Option<ProducerIdBlock> {
    let first = last.checked_add(1)?;
    let last = first.checked_add(BLOCK_SIZE - 1)?;
    Some(ProducerIdBlock {
        broker,
        first,
        last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_follow_each_other_and_end() {
        let block = next(BrokerId(1), 999).expect("there are more");
        assert_eq!((block.first, block.last), (1000, 1999));
        assert_eq!(next(BrokerId(1), -1).map(|b| b.first), Some(0));
        assert_eq!(next(BrokerId(1), i64::MAX), None);
        assert_eq!(next(BrokerId(1), i64::MAX - 5), None);
    }
}
