//! What is asked for over and over is answered once, so that an answer is bounded by what there is, and not by
//! how often it is asked for. Kafka answers every time, and so do we in requests of a decent size.

use std::collections::HashSet;
use std::hash::Hash;

/// In requests for no more than this, whatever is repeated is answered again.
pub(super) const DECENT: usize = 1000;

/// The first of each, where there are many.
pub(super) fn distinct<T, K: Eq + Hash>(asked: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    if asked.len() <= DECENT {
        return asked;
    }
    let mut seen = HashSet::new();
    asked
        .into_iter()
        .filter(|one| seen.insert(key(one)))
        .collect()
}
