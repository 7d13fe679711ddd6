//! The ZooKeeper session: connect, stay connected, and say honestly when it is not.
//!
//! A [`Session`] is a cheap handle (`handle.rs`, `calls.rs`). Heartbeats, and what is to be done when the
//! connection is lost (`attach.rs`), have a thread and a runtime of their own, so that a busy one cannot delay them.
//! A request is written by who makes it (`client/wire.rs`), answers are read on the runtime that connected, if it
//! has several threads and does so in time, or else here (`client/reading.rs`). Every call has a deadline; reads are repeated over a
//! reconnect, writes never are, but for `ensure_path`: their caller knows whether a repeat is right.
//! A call never crosses sessions: one begun in a session that ends fails with `SessionExpired`.
//!
//! *Invariant*: the states of one session go Connected, Suspended, Connected ... Lost; after Lost the
//! next session has the next generation. Only `client/` (and `error.rs`, for numbers, `config.rs`, for
//! paths) knows the protocol.

mod attach;
mod client;
mod config;
mod error;
mod lease;
mod neighbours;
mod ops;

pub use config::{DigestAuth, SessionConfig};
pub use error::{MultiError, SessionError, ZkError};
pub use lease::Lease;
pub(crate) use neighbours::Word;
pub use ops::{
    Acl, Children, CreateMode, Created, Node, Op, OpResult, Stat, TreeEvent, TreeEventKind,
    TreeWatch, Watch,
};

mod calls;
mod handle;

pub use handle::{Session, SessionState};
