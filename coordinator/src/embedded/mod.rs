//! A single-node ZooKeeper server on the real wire protocol, for `nyala dev` and for tests.
//!
//! Deployments use a real ensemble; both pass the same conformance tests. The way of a request:
//! `connection` cuts a frame, `requests` decodes it, `engine` checks and applies it to the pure
//! parts (`tree`, `sessions`, `watches`) under one short lock and hands the change to `journal`;
//! the answer waits in the connection's `outbox` until everything it was computed from is on disk.
//!
//! *Invariant*: nothing leaves the server before the state that it shows is durable, so one
//! `fsync` serves every request that waits, and a crash never takes back what a client has seen.
//! *Invariant*: zxids are dense in the journal (`n`, `n + 1`, ...) and never go back.

mod acl;
mod config;
mod connection;
mod engine;
mod entry;
mod journal;
mod lifecycle;
mod node;
mod outbox;
mod reads;
mod records;
mod requests;
mod server;
mod sessions;
mod snapshot;
mod store;
mod transaction;
mod tree;
mod watches;
mod words;
mod writes;

pub use config::{ServerConfig, SyncPolicy};
pub use server::{Server, StartError};
pub use store::OpenError;
