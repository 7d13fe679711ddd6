//! Partitions of this broker: role, log and high watermark of each, and the table of them.
//!
//! `api` appends and reads here, `cluster` says who leads, `groups` keeps its offsets in partitions
//! like any other. Nothing here knows the wire.

mod table;

pub use table::Table;
