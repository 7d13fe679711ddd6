//! The controller's seat: every broker stands for election when it is empty, and whoever wins rules
//! until the seat, the session or the broker is gone (`controller/term.rs`). Who is to lead a partition
//! is decided in `leaders.rs`; here it is only carried out.
//!
//! Every write is a transaction that checks the controller epoch: a controller that was replaced while
//! it slept finds out by its first write, and does nothing.

mod answers;
mod delete;
mod elect;
mod moves;
mod news;
mod nodes;
mod refusals;
mod reports;
mod set_back;
mod stuck;
mod term;

use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::BrokerId;
use nyala_coordinator::registry::{Controllership, Election, FencedError, Registry, RegistryError};
use nyala_coordinator::session::{SessionState, Watch};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use self::term::Term;
use super::Configs;
use super::asks::Ask;
use super::error::ControllerError;
use crate::replication::Peers;

/// Pause after something failed, and between looks at what cannot be done yet.
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// Pause when a node of the seat holds what nobody can read: only an operator can mend that.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(5);

/// Requests that wait for the controller; more are refused, and asked again by their brokers.
const ASKS_MAX: usize = 1_024;

/// Whether this broker is the controller, for the rest of it to read, and to ask.
#[derive(Clone, Debug, Default)]
pub(super) struct Seat {
    taken: Arc<Mutex<Option<Taken>>>,
}

#[derive(Debug)]
struct Taken {
    proof: Controllership,
    asks: mpsc::Sender<Ask>,
}

impl Seat {
    pub(super) fn is_taken(&self) -> bool {
        self.taken.lock().is_some()
    }

    /// Asks the controller, if it is here.
    pub(super) async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
    ) -> Result<T, ControllerError> {
        let asks = self.taken.lock().as_ref().map(|taken| taken.asks.clone());
        let (reply, answer) = oneshot::channel();
        let asks = asks.ok_or(ControllerError::NotController)?;
        // Not taken, or not answered: its term has ended.
        let gone = |_| ControllerError::NotController;
        asks.try_send(ask(reply))
            .map_err(|_| ControllerError::NotController)?;
        answer.await.map_err(gone)
    }

    fn set(&self, taken: Option<Taken>) {
        *self.taken.lock() = taken;
    }

    /// Gives the seat up, so that another broker need not wait for our session to end.
    pub(super) async fn leave(&self, registry: &Registry) {
        let taken = self.taken.lock().take();
        if let Some(taken) = taken
            && let Err(e) = registry.resign(&taken.proof).await
        {
            warn!("could not give up the controller's seat: {e}");
        }
    }
}

/// One broker's candidate for the seat.
#[derive(Debug)]
pub(super) struct Controller {
    pub(super) this: BrokerId,
    pub(super) registry: Registry,
    pub(super) seat: Seat,
    pub(super) configs: Arc<Configs>,
    pub(super) peers: Arc<Peers>,
}

/// Why a term as controller ended.
#[derive(Debug, thiserror::Error)]
enum TermError {
    #[error(transparent)]
    Write(#[from] FencedError),
    #[error(transparent)]
    Read(#[from] RegistryError),
    #[error("the session was lost")]
    Session,
    #[error("{0:?} holds the seat")]
    Unseated(Option<BrokerId>),
}

type Snapshots = watch::Receiver<Arc<ClusterSnapshot>>;

impl Controller {
    /// Stands for election whenever the seat is empty, until dropped.
    pub(super) async fn run(self, mut snapshots: Snapshots) {
        let mut states = self.registry.session().states();
        loop {
            let state = *states.borrow_and_update();
            if !state.is_connected() {
                if states.changed().await.is_err() {
                    return;
                }
                continue;
            }
            match self.stand(&state, &mut snapshots).await {
                Ok(watch) => tokio::select! {
                    () = watch.changed() => {}
                    changed = states.changed() => if changed.is_err() { return },
                },
                Err(TermError::Read(e @ RegistryError::Payload { .. })) => {
                    warn!("there can be no controller: {e}; delete that node, or write it anew");
                    tokio::time::sleep(UNREADABLE_PAUSE).await;
                }
                Err(e) => {
                    info!("not the controller: {e}");
                    tokio::time::sleep(RETRY_EVERY).await;
                }
            }
            self.seat.set(None);
        }
    }

    /// One election; if it is won, the whole term. Gives what to wait for before the next.
    async fn stand(
        &self,
        state: &SessionState,
        snapshots: &mut Snapshots,
    ) -> Result<Watch, TermError> {
        let (holder, watch) = self.registry.controller_watch().await?;
        if holder.is_some_and(|h| h != self.this) {
            return Ok(watch);
        }
        match self.registry.elect(self.this).await? {
            Election::Lost(_) => Ok(watch),
            Election::Won(proof) => {
                info!(
                    "broker {} is the controller, epoch {}",
                    self.this, proof.epoch
                );
                let (asks, asked) = mpsc::channel(ASKS_MAX);
                self.seat.set(Some(Taken { proof, asks }));
                let mut term = Term::new(self, proof, asked, snapshots);
                Err(term.rule(state.generation(), snapshots).await)
            }
        }
    }
}
