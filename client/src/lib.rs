//! One end of the wire, and the wire itself.
//!
//! [`wire`] is pure bytes and serves the broker too; the rest is the native client.

pub mod wire;
