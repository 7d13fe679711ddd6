//! Coordination recipes: what is built on ZooKeeper again and again, each in one file or in one and a folder, each fenced.
//!
//! Held: `lock` (mutual exclusion), `rwlock` (many readers or one writer), `semaphore` (at most N),
//! `multi_lock` (several at once, without deadlock), `election` (one leader, known to all).
//! Shared: `membership` (who is there, and is well), `config` (typed values), `naming` (claimed names,
//! bound names, numbers that never come twice), `progress` (how far each worker is), `transaction`
//! (all or none, and which was refused), `balance` (shares and rounds, pure).
//! Met or handed over: `barrier`, `double_barrier` (begin and end together), `queue` (each item to one
//! consumer), `fanout` (each item to all), `sync_queue` (opens when all have come).
//! Under them: `presence` (a write that is sent twice happens once), `inlet` (items into a queue),
//! `tree_view` (a tree kept current), `claim` (a fixed name), `own` (an ephemeral node that is certainly
//! ours), `fence` (the token that makes late writers harmless). The way of a lock: `turn` (who is before
//! whom, pure), `line` (waiting for the one before), `hold` (the guard and the task that keeps it honest),
//! and how the next is told: `farewell` through ZooKeeper, `session/neighbours.rs` within one session.
//!
//! A recipe takes a [`Session`](crate::session::Session) and a path below its chroot. Every wait may be
//! dropped at any point and leaves nothing behind (but for `queue::Queue::pop`, which has no second chance
//! to offer: what it was taking may be lost). What is held is a [`Hold`] (of a queue, a `Taken`; of
//! a service, a `Registration`): it has a [`Fence`],
//! knows by itself when it is not valid any more, and is let go by `release` or by dropping it, on any thread.
//!
//! *Invariant*: at no time are two holds of the same thing valid, as long as clocks run equally fast,
//! no session is ended by force and nobody deletes the nodes of others; and whoever holds it later has the
//! larger fence.

pub mod balance;
pub mod barrier;
mod claim;
pub mod config;
pub mod double_barrier;
mod election;
mod error;
pub mod fanout;
mod farewell;
mod fence;
mod hold;
mod inlet;
mod line;
mod lock;
pub mod membership;
mod multi_lock;
pub mod naming;
mod own;
mod path;
mod patience;
mod presence;
pub mod progress;
pub mod queue;
mod rwlock;
mod semaphore;
pub mod sync_queue;
pub mod transaction;
mod tree_view;
mod turn;

#[cfg(test)]
mod storm;
#[cfg(test)]
mod testing;

pub use election::{Candidate, Election, Role};
pub use error::RecipeError;
pub use fence::Fence;
pub use hold::{Hold, Loss, Validity};
pub use inlet::PutError;
pub use line::Entrant;
pub use lock::Lock;
pub use multi_lock::{MultiHold, MultiLock};
pub use rwlock::RwLock;
pub use semaphore::Semaphore;
pub use turn::Layout;
