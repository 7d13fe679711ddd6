//! Which controller, and which of this broker's incarnations, an order may come from and be for.

use nyala_coordinator::ids::{BrokerEpoch, ControllerEpoch};
use parking_lot::Mutex;
use tracing::warn;

use super::facts::{ControlError, ControlHead};

/// The newest epochs that this broker has heard of.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    newest: Mutex<Newest>,
}

#[derive(Debug, Default)]
struct Newest {
    controller: Option<ControllerEpoch>,
    broker: Option<BrokerEpoch>,
    /// Generation of the session in which it registered.
    generation: u64,
}

impl Epochs {
    /// This broker has registered. Until it does so again, the epoch stays: an order of the time
    /// before is for the same process, with the same partitions.
    pub(super) fn registered(&self, epoch: BrokerEpoch, generation: u64) {
        let mut newest = self.newest.lock();
        (newest.broker, newest.generation) = (Some(epoch), generation);
    }

    /// Generation of the session in which this broker registered last.
    pub(super) fn generation(&self) -> u64 {
        self.newest.lock().generation
    }

    /// The same, if that gave it this epoch.
    pub(super) fn generation_of(&self, epoch: BrokerEpoch) -> Option<u64> {
        let newest = self.newest.lock();
        (newest.broker == Some(epoch)).then_some(newest.generation)
    }

    /// Lets an order in or refuses it; one from a newer controller fences all older ones.
    ///
    /// A higher broker epoch than ours is let in: the controller may learn of a registration before
    /// the one who made it does (KIP-380, KAFKA-9839).
    pub(super) fn admit(&self, head: &ControlHead) -> Result<(), ControlError> {
        let mut newest = self.newest.lock();
        if let (Some(asked), Some(current)) = (head.broker_epoch, newest.broker)
            && asked < current
        {
            return Err(ControlError::StaleBroker { asked, current });
        }
        let asked = head.controller_epoch;
        match newest.controller {
            Some(current) if asked < current => {
                let from = head.controller;
                warn!(
                    "an order of broker {from} is refused: controller epoch {asked} is older than {current}"
                );
                Err(ControlError::StaleController { asked, current })
            }
            _ => {
                newest.controller = Some(asked);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nyala_coordinator::ids::BrokerId;

    use super::*;

    fn head(controller_epoch: i32, broker_epoch: Option<i64>) -> ControlHead {
        ControlHead {
            controller: BrokerId(1),
            controller_epoch: ControllerEpoch(controller_epoch),
            broker_epoch: broker_epoch.map(BrokerEpoch),
        }
    }

    #[test]
    fn an_older_controller_is_fenced_and_the_same_one_is_not() {
        let epochs = Epochs::default();
        assert_eq!(epochs.admit(&head(3, None)), Ok(()));
        assert_eq!(epochs.admit(&head(3, None)), Ok(()));
        assert_eq!(epochs.admit(&head(4, None)), Ok(()));
        assert_eq!(
            epochs.admit(&head(3, None)),
            Err(ControlError::StaleController {
                asked: ControllerEpoch(3),
                current: ControllerEpoch(4),
            })
        );
    }

    #[test]
    fn orders_for_an_earlier_incarnation_are_refused_and_change_nothing() {
        let epochs = Epochs::default();
        assert_eq!(
            epochs.admit(&head(1, Some(5))),
            Ok(()),
            "not registered yet"
        );
        epochs.registered(BrokerEpoch(10), 1);
        assert!(matches!(
            epochs.admit(&head(9, Some(9))),
            Err(ControlError::StaleBroker { .. })
        ));
        assert_eq!(epochs.admit(&head(2, Some(10))), Ok(()));
        assert_eq!(
            epochs.admit(&head(2, Some(11))),
            Ok(()),
            "it may know sooner"
        );
        assert_eq!(epochs.admit(&head(2, None)), Ok(()));
    }
}
