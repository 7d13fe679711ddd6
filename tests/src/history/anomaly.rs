//! Names of what may be wrong with a history. The names are Jepsen's where it has one.

/// Kinds of anomalies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// One offset held two values.
    InconsistentOffsets,
    /// One value was at two offsets.
    Duplicate,
    /// Acknowledged, below the end of the log, and not in it.
    LostWrite,
    /// Acknowledged, and at or above the end of the log.
    Unseen,
    /// Seen by a reader, and not in the log at the end.
    Phantom,
    /// Nobody sent it.
    NeverSent,
    /// Refused for certain, and there all the same.
    RefusedYetThere,
    /// Offsets of the log have a hole.
    GapUnexplained,
    /// A reader jumped over records between two polls.
    PollSkip,
    /// A reader jumped over records within a poll.
    IntPollSkip,
    /// A reader went back between two polls.
    NonmonotonicPoll,
    /// A reader went back within a poll.
    IntNonmonotonicPoll,
    /// A send that began after another was acknowledged got a lower offset.
    NonmonotonicSend,
    /// Two sends of one client that were under way together changed places.
    IntNonmonotonicSend,
    /// The visible end of a partition went back.
    HwRegress,
    /// A committed offset was lost or went back by itself.
    CommitRegress,
    /// A committed offset was read that nobody committed.
    CommitPhantom,
    /// Two members owned one partition.
    DoubleOwner,
    /// One epoch had two leaders.
    EpochTwoLeaders,
    /// Leader epochs go down along a log.
    EpochRegress,
    /// Two replicas of a partition are not the same.
    ReplicaDiverge,
    /// Nothing succeeds any more after the last fault was over.
    Stuck,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::InconsistentOffsets,
        Self::Duplicate,
        Self::LostWrite,
        Self::Unseen,
        Self::Phantom,
        Self::NeverSent,
        Self::RefusedYetThere,
        Self::GapUnexplained,
        Self::PollSkip,
        Self::IntPollSkip,
        Self::NonmonotonicPoll,
        Self::IntNonmonotonicPoll,
        Self::NonmonotonicSend,
        Self::IntNonmonotonicSend,
        Self::HwRegress,
        Self::CommitRegress,
        Self::CommitPhantom,
        Self::DoubleOwner,
        Self::EpochTwoLeaders,
        Self::EpochRegress,
        Self::ReplicaDiverge,
        Self::Stuck,
    ];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InconsistentOffsets => "inconsistent-offsets",
            Self::Duplicate => "duplicate",
            Self::LostWrite => "lost-write",
            Self::Unseen => "unseen",
            Self::Phantom => "phantom",
            Self::NeverSent => "never-sent",
            Self::RefusedYetThere => "refused-yet-there",
            Self::GapUnexplained => "gap-unexplained",
            Self::PollSkip => "poll-skip",
            Self::IntPollSkip => "int-poll-skip",
            Self::NonmonotonicPoll => "nonmonotonic-poll",
            Self::IntNonmonotonicPoll => "int-nonmonotonic-poll",
            Self::NonmonotonicSend => "nonmonotonic-send",
            Self::IntNonmonotonicSend => "int-nonmonotonic-send",
            Self::HwRegress => "hw-regress",
            Self::CommitRegress => "commit-regress",
            Self::CommitPhantom => "commit-phantom",
            Self::DoubleOwner => "double-owner",
            Self::EpochTwoLeaders => "epoch-two-leaders",
            Self::EpochRegress => "epoch-regress",
            Self::ReplicaDiverge => "replica-diverge",
            Self::Stuck => "stuck",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Anomaly {
    /// What it is.
    pub kind: Kind,
    /// Where, and of what.
    pub detail: String,
}

impl Anomaly {
    /// Something that did not come back to work.
    #[must_use]
    pub const fn stuck(detail: String) -> Self {
        Self::new(Kind::Stuck, detail)
    }

    /// A finding.
    pub(super) const fn new(kind: Kind, detail: String) -> Self {
        Self { kind, detail }
    }
}

impl std::fmt::Display for Anomaly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.detail)
    }
}
