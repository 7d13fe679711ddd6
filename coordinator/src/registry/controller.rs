//! `/controller` and `/controller_epoch`: one broker decides, and a former one's writes all fail.
//!
//! Winning is one transaction: make `/controller` and count up the epoch. Every later write of the
//! controller is a transaction that first checks the epoch node's version (KAFKA-6082).

use super::payloads::{self, decode_controller, decode_controller_epoch};
use super::{At, Registry, RegistryError, paths};
use crate::clock;
use crate::ids::{BrokerId, ControllerEpoch};
use crate::session::{Acl, CreateMode, MultiError, Op, OpResult, Watch, ZkError};

/// Proof of an election that was won; it fences every write made with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controllership {
    /// Epoch of this controller.
    pub epoch: ControllerEpoch,
    /// Version of `/controller_epoch` that goes with it.
    pub epoch_version: i32,
}

/// Outcome of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// This broker is the controller.
    Won(Controllership),
    /// Another one is, or was a moment ago.
    Lost(Option<BrokerId>),
}

/// Why a controller's write failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FencedError {
    /// Another controller has been elected since: stop at once.
    #[error("another controller has been elected since")]
    Fenced,
    /// The operation with this index (from 0, the check not counted) failed, and so all of them.
    #[error(transparent)]
    Failed(#[from] MultiError),
}

impl Registry {
    /// Tries to become the controller.
    pub async fn elect(&self, broker: BrokerId) -> Result<Election, RegistryError> {
        let (epoch, version) = self.controller_epoch_or_create().await?;
        let next = ControllerEpoch(epoch.0.saturating_add(1));
        let ops = vec![
            Op::Create {
                path: paths::CONTROLLER.to_owned(),
                data: payloads::encode_controller(broker, clock::wall_ms()),
                mode: CreateMode::Ephemeral,
                acl: Acl::Default,
            },
            Op::Set {
                path: paths::CONTROLLER_EPOCH.to_owned(),
                data: payloads::encode_controller_epoch(next),
                version: Some(version),
            },
        ];
        match self.session.multi(ops).await.map_err(ZkError::from) {
            Ok(_) => Ok(Election::Won(Controllership {
                epoch: next,
                epoch_version: version.wrapping_add(1),
            })),
            Err(ZkError::NodeExists | ZkError::BadVersion | ZkError::Unknown) => {
                self.who_won(broker).await
            }
            Err(e) => Err(e).at(paths::CONTROLLER),
        }
    }

    /// After a refusal or a lost answer: the node's owner tells whether it was us after all.
    async fn who_won(&self, broker: BrokerId) -> Result<Election, RegistryError> {
        let path = paths::CONTROLLER;
        let Some(node) = self.session.get_if_exists(path).await.at(path)? else {
            return Ok(Election::Lost(None));
        };
        let named = decode_controller(&node.data).at(path)?;
        if named != broker || Some(node.stat.ephemeral_owner) != self.session.session_id() {
            return Ok(Election::Lost(Some(named)));
        }
        let (epoch, epoch_version) = self.controller_epoch_or_create().await?;
        Ok(Election::Won(Controllership {
            epoch,
            epoch_version,
        }))
    }

    /// Who is controller; the watch fires when that may have changed.
    pub async fn controller_watch(&self) -> Result<(Option<BrokerId>, Watch), RegistryError> {
        let path = paths::CONTROLLER;
        let (node, watch) = self.session.get_watch(path).await.at(path)?;
        let broker = match node {
            Some(node) => Some(decode_controller(&node.data).at(path)?),
            None => None,
        };
        Ok((broker, watch))
    }

    /// Gives the controllership up, if it is still ours.
    pub async fn resign(&self, proof: &Controllership) -> Result<(), FencedError> {
        let delete = Op::Delete {
            path: paths::CONTROLLER.to_owned(),
            version: None,
        };
        self.write_as_controller(proof, vec![delete])
            .await
            .map(drop)
    }

    /// All of `ops`, if no other controller has been elected since; the results of `ops` only.
    pub async fn write_as_controller(
        &self,
        proof: &Controllership,
        ops: Vec<Op>,
    ) -> Result<Vec<OpResult>, FencedError> {
        let mut fenced = Vec::with_capacity(ops.len() + 1);
        fenced.push(Op::Check {
            path: paths::CONTROLLER_EPOCH.to_owned(),
            version: proof.epoch_version,
        });
        fenced.extend(ops);
        match self.session.multi(fenced).await {
            Ok(mut results) => {
                if !results.is_empty() {
                    results.remove(0);
                }
                Ok(results)
            }
            Err(MultiError {
                index: Some(0),
                error: ZkError::BadVersion | ZkError::NoNode,
            }) => Err(FencedError::Fenced),
            Err(MultiError { index, error }) => Err(FencedError::Failed(MultiError {
                index: index.map(|i| i.saturating_sub(1)),
                error,
            })),
        }
    }

    async fn controller_epoch_or_create(&self) -> Result<(ControllerEpoch, i32), RegistryError> {
        let path = paths::CONTROLLER_EPOCH;
        loop {
            if let Some(node) = self.session.get_if_exists(path).await.at(path)? {
                let epoch = decode_controller_epoch(&node.data).at(path)?;
                return Ok((epoch, node.stat.version));
            }
            let zero = payloads::encode_controller_epoch(ControllerEpoch(0));
            self.create_if_missing(path, &zero).await?;
        }
    }
}
