//! One end of the wire, and the wire itself.
//!
//! [`wire`] is pure bytes and serves the broker too; the rest is the native client: [`Producer`]
//! and [`Consumer`] on a [`Cluster`] that is learned from ZooKeeper or from a broker, and [`tasks`],
//! a task queue on topics.
//! `examples/` has programs that run.

pub mod cluster;
pub mod config;
pub mod connection;
pub mod consumer;
pub mod error;
pub mod low_water;
pub mod producer;
pub mod tasks;
pub mod wire;

pub use cluster::Cluster;
pub use connection::Connection;
pub use consumer::Consumer;
pub use producer::Producer;
pub use tasks::TaskQueue;
