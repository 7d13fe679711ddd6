//! ZooKeeper for the workspace, from the bottom up: `protocol`, `session` (one connection that renews itself),
//! `registry` (every znode, typed), `watched` and `cluster` (current snapshots), `recipes` (locks,
//! elections and the like, for everybody), and `embedded` (a server of our own).
//!
//! Knows nothing of Kafka's wire protocol or of logs.

pub mod clock;
pub mod cluster;
pub mod embedded;
pub mod ids;
pub mod port;
mod protocol;
pub mod recipes;
pub mod registry;
pub mod session;
pub mod watched;
