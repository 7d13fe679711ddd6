//! What is to be done about a leader's answer for one partition. Pure.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::fetch::PartitionData;
use nyala_coordinator::ids::LeaderEpoch;

use crate::storage::EpochEnd;

/// What the answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Append the records, if any, and note the leader's offsets.
    Take,
    /// The logs part: truncate first, before the leader's offsets are believed (KAFKA-14704).
    Diverged(EpochEnd),
    /// Our end lies outside of the leader's log.
    OutOfRange,
    /// Not now. Leader and follower learn of a new epoch at different times; one of them is behind.
    Later(ErrorCode),
}

/// Judges an answer.
pub(super) fn decide(data: &PartitionData) -> Verdict {
    match ErrorCode::from(data.error_code) {
        ErrorCode::None if data.diverging_epoch.epoch >= 0 => Verdict::Diverged(EpochEnd {
            leader_epoch: LeaderEpoch(data.diverging_epoch.epoch),
            end_offset: data.diverging_epoch.end_offset,
        }),
        ErrorCode::None => Verdict::Take,
        ErrorCode::OffsetOutOfRange => Verdict::OutOfRange,
        error => Verdict::Later(error),
    }
}

#[cfg(test)]
mod tests {
    use nyala_client::wire::messages::fetch::EpochEndOffset;

    use super::*;

    #[test]
    fn an_answer_is_records_a_parting_or_a_reason() {
        let data = |error: ErrorCode, epoch| PartitionData {
            error_code: error.code(),
            diverging_epoch: EpochEndOffset {
                epoch,
                end_offset: 20,
            },
            ..PartitionData::default()
        };
        assert_eq!(decide(&data(ErrorCode::None, -1)), Verdict::Take);
        let parted = Verdict::Diverged(EpochEnd {
            leader_epoch: LeaderEpoch(3),
            end_offset: 20,
        });
        assert_eq!(decide(&data(ErrorCode::None, 3)), parted);
        let out = decide(&data(ErrorCode::OffsetOutOfRange, -1));
        assert_eq!(out, Verdict::OutOfRange);
        let later = decide(&data(ErrorCode::FencedLeaderEpoch, -1));
        assert_eq!(later, Verdict::Later(ErrorCode::FencedLeaderEpoch));
    }
}
