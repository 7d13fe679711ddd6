//! The fencing token of everything that is held: the transaction that made its znode (czxid).
//!
//! Who holds a thing later has the larger token, over sessions, restarts and even when the thing's
//! folder was deleted and made anew, because zxids never go back. A store that remembers the largest
//! token it has seen and refuses smaller ones is safe from a holder that sleeps and wakes too late. Read in
//! `own.rs` from the answer that made the node; a broker checks it in `broker/src/storage/guard.rs`.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// A fencing token; larger is later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub i64);

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Fence {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}
