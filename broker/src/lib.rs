//! The broker.

pub mod storage;
