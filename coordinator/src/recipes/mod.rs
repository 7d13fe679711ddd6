//! Coordination recipes: what is built on ZooKeeper again and again, each in one file, each fenced.
//!
//! Held: `lock` (mutual exclusion), `rwlock` (many readers or one writer), `semaphore` (at most N),
//! `multi_lock` (several at once, without deadlock), `election` (one leader, known to all).
//! Under them: `own` (an ephemeral node that is certainly ours), `hold` (the guard and the task that
//! keeps it honest), `line` (who is before whom, pure), `turn` (waiting for the one before),
//! `fence` (the token that makes late writers harmless).
//!
//! A recipe takes a [`Session`](crate::session::Session) and a path below its chroot. Every wait may be
//! dropped at any point and leaves nothing behind. Everything held is a [`Hold`]: it has a [`Fence`],
//! knows by itself when it is not valid any more, and is let go by `release` or by dropping it.
//!
//! *Invariant*: at no time are two holds of the same thing valid, as long as clocks run equally fast
//! and no session is ended by force; and whoever holds it later has the larger fence, whatever happens.

mod election;
mod error;
mod fence;
mod hold;
mod line;
mod lock;
mod multi_lock;
mod own;
mod rwlock;
mod semaphore;
mod turn;

#[cfg(test)]
mod testing;

pub use election::{Candidate, Election, Role};
pub use error::RecipeError;
pub use fence::Fence;
pub use hold::{Hold, Loss, Validity};
pub use line::Layout;
pub use lock::Lock;
pub use multi_lock::{MultiHold, MultiLock};
pub use rwlock::RwLock;
pub use semaphore::Semaphore;
pub use turn::Entrant;
