//! ZooKeeper for the workspace: session, typed registry, recipes, and an embedded server.
//!
//! Knows nothing of Kafka's wire protocol or of logs.

pub mod clock;
pub mod embedded;
pub mod ids;
