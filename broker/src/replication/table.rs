//! All partitions that this broker has, by topic and index.

/// Table of partitions.
#[derive(Debug, Default)]
pub struct Table {}
