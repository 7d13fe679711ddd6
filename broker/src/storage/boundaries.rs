//! Boundaries between batches that readers met last: a sequential reader finds its next start there.

use std::cell::Cell;

/// As many as readers usually go over one partition at once.
const KEPT: usize = 4;

/// A place between two batches: the batch that starts there holds `offset`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boundary {
    /// Base offset of the segment.
    pub(crate) segment: i64,
    pub(crate) offset: i64,
    /// Within the segment, in bytes.
    pub(crate) position: u64,
}

const NOWHERE: Boundary = Boundary {
    segment: -1,
    offset: -1,
    position: 0,
};

/// The last few of one log, the oldest replaced first.
#[derive(Debug)]
pub(crate) struct Boundaries {
    kept: Cell<[Boundary; KEPT]>,
    turn: Cell<usize>,
}

impl Boundaries {
    pub(crate) fn new() -> Self {
        Self {
            kept: Cell::new([NOWHERE; KEPT]),
            turn: Cell::new(0),
        }
    }

    /// The one before `offset` in a segment, if it was met lately.
    pub(crate) fn find(&self, segment: i64, offset: i64) -> Option<Boundary> {
        let kept = self.kept.get();
        let mut kept = kept.iter();
        let found = kept.find(|b| b.offset == offset && b.segment == segment);
        found.copied()
    }

    pub(crate) fn remember(&self, boundary: Boundary) {
        let mut kept = self.kept.get();
        if kept.iter().any(|b| b.offset == boundary.offset) {
            return;
        }
        let turn = self.turn.get();
        if let Some(slot) = kept.get_mut(turn) {
            *slot = boundary;
        }
        self.kept.set(kept);
        self.turn.set((turn + 1) % KEPT);
    }

    /// The log has been cut: what was met may not be there.
    pub(crate) fn forget(&self) {
        self.kept.set([NOWHERE; KEPT]);
    }
}
