//! The broker, as a library and as the `nyala` binary.
//!
//! Inside: `net -> api -> {replication, groups, cluster} -> storage`. `broker.rs` wires them all;
//! `cli` is what a user types; `config` holds every setting.

pub mod api;
pub mod broker;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod groups;
pub mod net;
pub mod replication;
pub mod storage;
mod told;
