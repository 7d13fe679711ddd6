//! Which faults, in which order and for how long: pure, from a seed.

use std::time::Duration;

use crate::brokers::SESSION;
use crate::seed::Seed;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// kill -9 of the leader of the first partition.
    KillLeader,
    /// kill -9 of one of its followers.
    KillFollower,
    /// kill -9 of the controller.
    KillController,
    /// kill -9 of the coordinator of the group that commits.
    KillCoordinator,
    /// SIGTERM of the leader.
    StopLeader,
    /// SIGSTOP of the leader, for less than its session.
    PauseLeaderShort,
    /// SIGSTOP of the leader, for longer than its session.
    PauseLeaderLong,
    /// SIGSTOP of a follower, for longer than its session.
    PauseFollower,
    /// SIGSTOP of the controller, for longer than its session.
    PauseController,
    /// The leader hears no other broker, and they do not hear it.
    IsolateLeaderFromBrokers,
    /// The leader hears no ZooKeeper.
    IsolateLeaderFromZooKeeper,
    /// Both.
    IsolateLeader,
    /// The leader hears no broker; they hear it.
    LeaderDeaf,
    /// No broker hears the leader; it hears them.
    LeaderMute,
    /// A follower hears no broker.
    FollowerDeaf,
    /// kill -9 of a ZooKeeper that follows.
    KillZooKeeperFollower,
    /// kill -9 of the ZooKeeper that leads.
    KillZooKeeperLeader,
    /// SIGSTOP of the ZooKeeper that leads.
    PauseZooKeeperLeader,
    /// kill -9 of all ZooKeepers.
    KillZooKeepers,
    /// The leader's session is closed by somebody else.
    ExpireLeader,
    /// The controller's session is closed by somebody else.
    ExpireController,
    /// A follower's disk is full.
    FullDiskFollower,
    /// The leader's disk is full.
    FullDiskLeader,
}

impl Kind {
    /// All of them, those that say most in a short run first.
    pub const ALL: [Self; 23] = [
        Self::KillLeader,
        Self::PauseLeaderLong,
        Self::IsolateLeader,
        Self::StopLeader,
        Self::KillController,
        Self::ExpireLeader,
        Self::IsolateLeaderFromZooKeeper,
        Self::KillZooKeeperLeader,
        Self::KillCoordinator,
        Self::IsolateLeaderFromBrokers,
        Self::KillFollower,
        Self::PauseLeaderShort,
        Self::PauseFollower,
        Self::PauseController,
        Self::LeaderDeaf,
        Self::LeaderMute,
        Self::FollowerDeaf,
        Self::KillZooKeeperFollower,
        Self::PauseZooKeeperLeader,
        Self::KillZooKeepers,
        Self::ExpireController,
        Self::FullDiskFollower,
        Self::FullDiskLeader,
    ];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KillLeader => "kill leader",
            Self::KillFollower => "kill follower",
            Self::KillController => "kill controller",
            Self::KillCoordinator => "kill group coordinator",
            Self::StopLeader => "SIGTERM leader",
            Self::PauseLeaderShort => "pause leader, short",
            Self::PauseLeaderLong => "pause leader, long",
            Self::PauseFollower => "pause follower, long",
            Self::PauseController => "pause controller, long",
            Self::IsolateLeaderFromBrokers => "isolate leader from brokers",
            Self::IsolateLeaderFromZooKeeper => "isolate leader from ZooKeeper",
            Self::IsolateLeader => "isolate leader from all",
            Self::LeaderDeaf => "one-way: leader deaf to brokers",
            Self::LeaderMute => "one-way: brokers deaf to leader",
            Self::FollowerDeaf => "one-way: follower deaf to brokers",
            Self::KillZooKeeperFollower => "kill ZooKeeper follower",
            Self::KillZooKeeperLeader => "kill ZooKeeper leader",
            Self::PauseZooKeeperLeader => "pause ZooKeeper leader",
            Self::KillZooKeepers => "kill all ZooKeepers",
            Self::ExpireLeader => "expire leader's session",
            Self::ExpireController => "expire controller's session",
            Self::FullDiskFollower => "full disk, follower",
            Self::FullDiskLeader => "full disk, leader",
        }
    }

    /// How long it lasts, at least and at most.
    const fn bounds(self) -> (Duration, Duration) {
        let session = SESSION;
        match self {
            Self::PauseLeaderShort => (Duration::from_millis(300), Duration::from_millis(1500)),
            // Over at once; the rest of the window is what it costs.
            Self::StopLeader | Self::ExpireLeader | Self::ExpireController => {
                (Duration::from_millis(100), Duration::from_secs(2))
            }
            Self::KillLeader
            | Self::KillFollower
            | Self::KillController
            | Self::KillCoordinator
            | Self::KillZooKeeperFollower
            | Self::KillZooKeeperLeader
            | Self::PauseZooKeeperLeader => (Duration::from_millis(100), Duration::from_secs(7)),
            _ => (
                session.saturating_add(Duration::from_secs(1)),
                session.saturating_add(Duration::from_secs(5)),
            ),
        }
    }
}

/// One fault of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// What.
    pub kind: Kind,
    /// For how long.
    pub hold: Duration,
}

/// An endless schedule: every kind once, in an order of its own, then every kind again. The first
/// round of a short run starts with one of the kinds that say most.
pub fn windows(seed: u64, only: Option<&str>) -> impl Iterator<Item = Window> {
    let mut kinds = Kind::ALL.to_vec();
    kinds.retain(|kind| only.is_none_or(|text| kind.name().contains(text)));
    assert!(!kinds.is_empty(), "no fault is named like that");
    let mut seed = Seed::new(seed);
    let mut round: Vec<Kind> = Vec::new();
    std::iter::from_fn(move || {
        if round.is_empty() {
            round.clone_from(&kinds);
            seed.shuffle(&mut round);
        }
        let kind = round.pop()?;
        let (least, most) = kind.bounds();
        let span = usize::try_from((most - least).as_millis()).unwrap_or(0);
        let more = u64::try_from(seed.below(span + 1)).unwrap_or(0);
        let hold = least + Duration::from_millis(more);
        Some(Window { kind, hold })
    })
}
