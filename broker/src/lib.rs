//! The broker.

pub mod api;
pub mod net;
pub mod replication;
pub mod storage;
