//! The driver on a log in memory, with tokio's paused time.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::Duration;

use nyala_client::wire::compression::Codec;
use nyala_coordinator::cluster::{ClusterSnapshot, PartitionInfo, TopicInfo};
use nyala_coordinator::ids::{LeaderEpoch, PartitionIndex, TopicId, TopicName, TopicPartition};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::groups::OFFSETS_TOPIC;
use crate::groups::event::{JoinRefused, Joined, Leaving, Sync};
use crate::groups::log::memory::MemoryLog;
use crate::groups::member::{Client, MemberId};
use crate::groups::state::Rules;

const PARTITIONS: i32 = 3;

struct Fixture {
    groups: Arc<Groups>,
    log: Arc<MemoryLog>,
    stop: CancellationToken,
}

impl Deref for Fixture {
    type Target = Groups;

    fn deref(&self) -> &Groups {
        &self.groups
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(super) fn settings() -> GroupSettings {
    GroupSettings {
        rules: Rules {
            members_max: 100,
            initial_rebalance_delay_ms: 100,
        },
        session_timeout_ms: 6000..=1_800_000,
        metadata_bytes_max: 4 << 20,
        offset_metadata_max: 4096,
        offsets_partitions: PARTITIONS,
        codec: Codec::None,
        retention_ms: 60_000,
        retention_check: Duration::from_secs(600),
        load_bytes: 200,
    }
}

/// Groups on `log`, which lead nothing yet.
fn start(log: &Arc<MemoryLog>) -> Fixture {
    let (groups, background) = Groups::new(settings(), Arc::clone(log) as Arc<dyn OffsetsLog>);
    let stop = CancellationToken::new();
    tokio::spawn(background.run(stop.clone()));
    Fixture {
        groups,
        log: Arc::clone(log),
        stop,
    }
}

/// Groups on `log` that lead every partition.
async fn lead(log: &Arc<MemoryLog>) -> Fixture {
    let fixture = start(log);
    for partition in 0..PARTITIONS {
        fixture.on_lead(partition, 0);
    }
    fixture.loaded().await;
    fixture
}

async fn fixture() -> Fixture {
    lead(&Arc::new(MemoryLog::new())).await
}

impl Fixture {
    async fn loaded(&self) {
        let all = async {
            while self.list(&[], &[]).0.is_some() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(60), all).await.expect("loaded");
    }

    /// Joins without the detour over a member id.
    async fn enter(&self, group: &str, client: &str) -> Result<Joined, JoinRefused> {
        self.join(group, join(client)).await
    }

    /// A group with one member that has all.
    async fn stable(&self, group: &str) -> Joined {
        let joined = self.enter(group, "c").await.expect("joined");
        let synced = self
            .sync(group, sync_of(&joined, "all"))
            .await
            .expect("synced");
        assert_eq!(synced.assignment, "all");
        joined
    }

    async fn commit_one(&self, group: &str, offset: i64) -> Result<(), GroupError> {
        let results = self
            .groups
            .commit(group, simple(vec![new_offset("t", offset)]))
            .await;
        results[0]
    }

    fn offset(&self, group: &str, topic: &str) -> Result<Option<i64>, GroupError> {
        let wanted = [(topic.to_owned(), vec![0])];
        let fetched = self.fetch_offsets(group, &wanted, true)?;
        let offset =
            |record: Option<crate::groups::records::OffsetRecord>| record.map(|r| r.offset);
        fetched[0][0].committed.clone().map(offset)
    }
}

fn join(client: &str) -> JoinRequest {
    JoinRequest {
        member: String::new(),
        instance: None,
        knows_member_id_required: false,
        can_skip_assignment: false,
        client: Client {
            id: client.into(),
            host: "/127.0.0.1".into(),
        },
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), subscription("t"))],
    }
}

fn subscription(topic: &str) -> Bytes {
    let mut bytes = vec![0, 0, 0, 0, 0, 1, 0, u8::try_from(topic.len()).unwrap()];
    bytes.extend(topic.as_bytes());
    bytes.into()
}

fn sync_of(joined: &Joined, share: &'static str) -> Sync {
    let share = (
        joined.leader.to_string(),
        Bytes::from_static(share.as_bytes()),
    );
    Sync {
        member: joined.member.clone(),
        instance: None,
        generation: joined.generation,
        protocol_type: None,
        protocol: None,
        assignment: shares([share].into_iter()),
    }
}

fn new_offset(topic: &str, offset: i64) -> NewOffset {
    NewOffset {
        place: (TopicName::new(topic).unwrap(), 0),
        offset,
        leader_epoch: 7,
        metadata: "words".to_owned(),
    }
}

fn simple(offsets: Vec<NewOffset>) -> Commit {
    Commit {
        member: String::new(),
        instance: None,
        generation: -1,
        retention_ms: -1,
        offsets,
    }
}

#[test]
fn partitions_are_those_of_javas_hash() {
    for (group, hash) in [("", 0), ("test", 3_556_498), ("hello", 99_162_322)] {
        assert_eq!(partition_of(group, i32::MAX), hash, "{group}");
        assert_eq!(partition_of(group, 50), hash % 50, "{group}");
    }
    // Negative hash codes: -1 from "drumwood boulderhead", and the one without an opposite.
    assert_eq!(partition_of("drumwood boulderhead", 50), 0);
    assert_eq!(partition_of("polygenelubricants", 50), 0);
    // Outside of the basic plane Java counts two units.
    let (high, low) = (0xd83d_i32, 0xde00_i32);
    let expected = high.wrapping_mul(31).wrapping_add(low);
    assert_eq!(partition_of("😀", i32::MAX), expected.abs());
}

#[tokio::test(start_paused = true)]
async fn a_group_survives_the_move_to_another_broker() {
    let groups = fixture().await;
    let joined = groups.stable("g").await;
    let member = joined.member.as_str().to_owned();
    let commit = Commit {
        member: member.clone(),
        generation: joined.generation,
        ..simple(vec![new_offset("t", 42)])
    };
    assert_eq!(groups.commit("g", commit).await, [Ok(())]);
    assert_eq!(groups.commit_one("simple", 3).await, Ok(()));

    let other = lead(&groups.log).await;
    assert_eq!(other.offset("g", "t"), Ok(Some(42)));
    assert_eq!(other.offset("simple", "t"), Ok(Some(3)));
    assert_eq!(other.heartbeat("g", &member, None, 1), Ok(()));
    let summary = other.describe("g").unwrap().unwrap();
    assert_eq!((summary.state, summary.members.len()), ("Stable", 1));
    assert_eq!(summary.members[0].assignment, "all");
    // The first one resigns: it answers for nothing any more.
    for partition in 0..PARTITIONS {
        groups.on_resign(partition);
    }
    let refused = Err(GroupError::NotCoordinator);
    assert_eq!(groups.heartbeat("g", &member, None, 1), refused);
    assert_eq!(groups.list(&[], &[]), (None, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn three_members_join_one_leaves_one_falls_silent() {
    let groups = fixture().await;
    let (a, b, c) = tokio::join!(
        groups.enter("g", "a"),
        groups.enter("g", "b"),
        groups.enter("g", "c")
    );
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    assert_eq!((a.generation, b.generation, c.generation), (1, 1, 1));
    let leader = [&a, &b, &c]
        .into_iter()
        .find(|m| m.member == m.leader)
        .unwrap();
    assert_eq!(leader.members.len(), 3);
    let all = tokio::join!(
        groups.sync("g", sync_of(&a, "x")),
        groups.sync("g", sync_of(&b, "x")),
        groups.sync("g", sync_of(&c, "x"))
    );
    assert!(all.0.is_ok() && all.1.is_ok() && all.2.is_ok());
    let leaving = |joined: &Joined| Leaving {
        member: joined.member.clone(),
        instance: None,
    };
    assert_eq!(groups.leave("g", vec![leaving(&b)]).await, Ok(vec![Ok(())]));
    let rejoin = Err(GroupError::RebalanceInProgress);
    assert_eq!(groups.heartbeat("g", a.member.as_str(), None, 1), rejoin);
    let again = JoinRequest {
        member: a.member.to_string(),
        ..join("a")
    };
    // The third one never comes back: its session ends, and the rebalance with it.
    let joined = groups.join("g", again).await.unwrap();
    assert_eq!((joined.generation, joined.members.len()), (2, 1));
    let gone = Err(GroupError::UnknownMemberId);
    assert_eq!(groups.heartbeat("g", c.member.as_str(), None, 1), gone);
}

#[tokio::test(start_paused = true)]
async fn while_a_partition_loads_clients_are_told_to_wait() {
    let first = fixture().await;
    let joined = first.stable("g").await;
    let log = Arc::clone(&first.log);
    log.set_unreadable(true);
    let groups = start(&log);
    let not_ours = Err(GroupError::NotCoordinator);
    assert_eq!(groups.offset("g", "t"), not_ours.map(|()| None));
    for partition in 0..PARTITIONS {
        groups.on_lead(partition, 1);
    }
    let loading = GroupError::CoordinatorLoadInProgress;
    assert_eq!(groups.enter("g", "c").await.unwrap_err().error, loading);
    assert_eq!(groups.commit_one("g", 1).await, Err(loading));
    assert_eq!(groups.offset("g", "t"), Err(loading));
    assert_eq!(groups.list(&[], &[]).0, Some(loading));
    assert_eq!(
        groups.heartbeat("g", joined.member.as_str(), None, 1),
        Ok(())
    );
    let sync = groups.sync("g", sync_of(&joined, "x")).await;
    assert_eq!(sync.unwrap_err(), GroupError::RebalanceInProgress);
    // The disk is back: it is tried again without anyone's help.
    log.set_unreadable(false);
    groups.loaded().await;
    assert_eq!(
        groups.heartbeat("g", joined.member.as_str(), None, 1),
        Ok(())
    );
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_hear_that_the_partition_moved() {
    let groups = fixture().await;
    let partition = groups.partition_for("g");
    let resign = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        groups.on_resign(partition);
    };
    let (joined, ()) = tokio::join!(groups.enter("g", "c"), resign);
    assert_eq!(joined.unwrap_err().error, GroupError::NotCoordinator);
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_answered_and_shown_when_it_is_replicated() {
    let groups = fixture().await;
    assert_eq!(groups.commit_one("g", 1).await, Ok(()));
    groups.log.hold();
    let check = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let unstable = Err(GroupError::UnstableOffsetCommit);
        assert_eq!(groups.offset("g", "t"), unstable);
        let wanted = [("t".to_owned(), vec![0])];
        let fetched = groups.fetch_offsets("g", &wanted, false).unwrap();
        let committed = fetched[0][0].committed.clone().unwrap().unwrap();
        assert_eq!(committed.offset, 1, "the one before, which is replicated");
        groups.log.release(Ok(()));
    };
    let (result, ()) = tokio::join!(groups.commit_one("g", 2), check);
    assert_eq!(result, Ok(()));
    assert_eq!(groups.offset("g", "t"), Ok(Some(2)));

    groups.log.hold();
    let fail = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        groups.log.release(Err(WriteError::TimedOut));
    };
    let (result, ()) = tokio::join!(groups.commit_one("g", 3), fail);
    assert_eq!(result, Err(GroupError::CommitTimedOut));
    assert_eq!(groups.offset("g", "t"), Ok(Some(2)));
}

#[tokio::test(start_paused = true)]
async fn an_assignment_waits_for_replication_without_blocking_the_group() {
    let groups = fixture().await;
    let joined = groups.enter("g", "c").await.unwrap();
    groups.log.hold();
    let check = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let summary = groups.describe("g").unwrap().unwrap();
        assert_eq!(summary.state, "CompletingRebalance");
        assert_eq!(
            groups.heartbeat("g", joined.member.as_str(), None, 1),
            Ok(())
        );
        groups.log.release(Ok(()));
    };
    let (synced, ()) = tokio::join!(groups.sync("g", sync_of(&joined, "x")), check);
    assert_eq!(synced.unwrap().assignment, "x");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_takes_nothing_leads_to_errors_that_clients_retry() {
    let groups = fixture().await;
    let joined = groups.enter("g", "c").await.unwrap();
    groups.log.fail(Some(WriteError::NotNow));
    let later = GroupError::CoordinatorNotAvailable;
    let synced = groups.sync("g", sync_of(&joined, "x")).await;
    assert_eq!(synced.unwrap_err(), later);
    assert_eq!(groups.commit_one("other", 1).await, Err(later));
    groups.log.fail(Some(WriteError::TooLarge { bytes: 1 }));
    let too_large = Err(GroupError::InvalidCommitOffsetSize);
    assert_eq!(groups.commit_one("other", 1).await, too_large);
    // Nothing is deleted as long as the log cannot say so.
    groups.log.fail(None);
    assert_eq!(groups.commit_one("other", 1).await, Ok(()));
    groups.log.fail(Some(WriteError::NotNow));
    assert_eq!(groups.delete("other"), Err(later));
    assert_eq!(groups.expire_offsets(i64::MAX), 0);
    assert_eq!(groups.offset("other", "t"), Ok(Some(1)));
}

/// `hostile-inputs.md` 46: session timeout out of bounds, empty group id, 10 MB of metadata,
/// joins without follow-up.
#[tokio::test(start_paused = true)]
async fn hostile_joins_are_refused() {
    let groups = fixture().await;
    for session_timeout_ms in [i32::MIN, -1, 0, 5999, 1_800_001, i32::MAX] {
        let request = JoinRequest {
            session_timeout_ms,
            ..join("c")
        };
        let refused = groups.join("g", request).await.unwrap_err();
        assert_eq!(refused.error, GroupError::InvalidSessionTimeout);
    }
    let refused = groups.enter("", "c").await.unwrap_err();
    assert_eq!(refused.error, GroupError::InvalidGroupId);
    let request = JoinRequest {
        protocols: vec![("range".to_owned(), vec![0; 10 << 20].into())],
        ..join("c")
    };
    let refused = groups.join("g", request).await.unwrap_err();
    assert_eq!(refused.error, GroupError::TooLarge);
    let request = JoinRequest {
        instance: Some("i".repeat(40_000)),
        ..join("c")
    };
    let refused = groups.join("g", request).await.unwrap_err();
    assert_eq!(refused.error, GroupError::TooLarge);
    let long = "g".repeat(40_000);
    let refused = groups.enter(&long, "c").await.unwrap_err();
    assert_eq!(refused.error, GroupError::InvalidGroupId);
    // A protocol that is named twice counts once, or nobody could ever agree on it.
    let request = JoinRequest {
        protocols: vec![
            ("range".to_owned(), Bytes::new()),
            ("range".to_owned(), Bytes::new()),
        ],
        ..join("c")
    };
    let joined = groups.join("twice", request).await.unwrap();
    assert_eq!(joined.protocol.as_deref(), Some("range"));
}

#[tokio::test(start_paused = true)]
async fn groups_of_first_joins_that_never_come_back_vanish() {
    let groups = fixture().await;
    for n in 0..1000 {
        let request = JoinRequest {
            knows_member_id_required: true,
            session_timeout_ms: 6000,
            ..join("c")
        };
        let refused = groups.join(&format!("g{n}"), request).await.unwrap_err();
        assert_eq!(refused.error, GroupError::MemberIdRequired);
        assert!(!refused.member.is_unknown());
    }
    assert_eq!(groups.list(&[], &[]).1.len(), 1000);
    assert_eq!(groups.pending.load(Ordering::Relaxed), 1000);
    tokio::time::sleep(Duration::from_millis(6100)).await;
    assert_eq!(groups.list(&[], &[]).1.len(), 0);
    assert_eq!(groups.pending.load(Ordering::Relaxed), 0);
    // A first join that is refused leaves no group, either.
    let request = JoinRequest {
        protocols: Vec::new(),
        ..join("c")
    };
    groups.join("g", request).await.unwrap_err();
    assert_eq!(groups.list(&[], &[]).1.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn first_joins_of_all_groups_together_are_bounded() {
    let groups = fixture().await;
    let first = || JoinRequest {
        knows_member_id_required: true,
        ..join("c")
    };
    let mut refused = 0;
    for n in 0..100_010 {
        let refusal = groups
            .join(&format!("g{}", n % 50), first())
            .await
            .unwrap_err();
        match refusal.error {
            GroupError::MemberIdRequired => {}
            GroupError::CoordinatorNotAvailable => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(refused, 10);
    // Those who are in, and those who have an id, are served meanwhile.
    groups.enter("others", "c").await.unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;
    let refusal = groups.join("g", first()).await.unwrap_err();
    assert_eq!(refusal.error, GroupError::MemberIdRequired);
}

/// `hostile-inputs.md` 47: a follower's assignment is not looked at, unknown members are told.
#[tokio::test(start_paused = true)]
async fn hostile_syncs_are_refused() {
    let groups = fixture().await;
    let joined = groups.enter("g", "c").await.unwrap();
    let mut unknown = sync_of(&joined, "x");
    unknown.member = MemberId::from("nobody");
    let refused = groups.sync("g", unknown).await.unwrap_err();
    assert_eq!(refused, GroupError::UnknownMemberId);
    let refused = groups.sync("no group", sync_of(&joined, "x")).await;
    assert_eq!(refused.unwrap_err(), GroupError::UnknownMemberId);
    let mut huge = sync_of(&joined, "x");
    huge.assignment
        .insert(MemberId::from("c"), vec![0; 5 << 20].into());
    assert_eq!(
        groups.sync("g", huge).await.unwrap_err(),
        GroupError::TooLarge
    );
}

/// `hostile-inputs.md` 48 and 18: nothing to commit, negative offsets, long metadata, the same
/// partition twice.
#[tokio::test(start_paused = true)]
async fn hostile_commits_are_answered_one_by_one() {
    let groups = fixture().await;
    assert_eq!(groups.commit("g", simple(Vec::new())).await, []);
    groups.commit_one("g", -1).await.unwrap_err();
    assert_eq!(
        groups.list(&[], &[]).1,
        [],
        "refused commits leave no group behind"
    );
    let with = |metadata: String| NewOffset {
        metadata,
        ..new_offset("long", 1)
    };
    let offsets = vec![
        new_offset("t", -1),
        with("x".repeat(4097)),
        new_offset("t", 5),
        new_offset("t", 6),
        // As many UTF-16 units as are allowed, in twice as many bytes.
        with("ü".repeat(4096)),
    ];
    let results = groups.commit("g", simple(offsets)).await;
    let expected = [
        Err(GroupError::InvalidOffset),
        Err(GroupError::OffsetMetadataTooLarge),
        Ok(()),
        Ok(()),
        Ok(()),
    ];
    assert_eq!(results, expected);
    assert_eq!(groups.offset("g", "t"), Ok(Some(6)));
    let other = lead(&groups.log).await;
    assert_eq!(other.offset("g", "t"), Ok(Some(6)));
    assert_eq!(other.offset("g", "long"), Ok(Some(1)));
    // A generation needs a group.
    let commit = Commit {
        generation: 1,
        ..simple(vec![new_offset("t", 1)])
    };
    let refused = groups.commit("nobody", commit).await;
    assert_eq!(refused, [Err(GroupError::IllegalGeneration)]);
}

#[tokio::test(start_paused = true)]
async fn only_empty_groups_are_deleted_and_stay_deleted() {
    let groups = fixture().await;
    let joined = groups.stable("g").await;
    assert_eq!(groups.delete("g"), Err(GroupError::NonEmptyGroup));
    assert_eq!(groups.delete("nobody"), Err(GroupError::GroupIdNotFound));
    let commit = Commit {
        member: joined.member.to_string(),
        generation: 1,
        ..simple(vec![new_offset("t", 1)])
    };
    assert_eq!(groups.commit("g", commit).await, [Ok(())]);
    let leaving = Leaving {
        member: joined.member,
        instance: None,
    };
    assert_eq!(groups.leave("g", vec![leaving]).await, Ok(vec![Ok(())]));
    assert_eq!(groups.delete("g"), Ok(()));
    assert_eq!(groups.delete("g"), Err(GroupError::GroupIdNotFound));
    assert_eq!(groups.offset("g", "t"), Ok(None));
    let other = lead(&groups.log).await;
    assert_eq!(other.list(&[], &[]).1, []);
    assert_eq!(other.offset("g", "t"), Ok(None));
}

#[tokio::test(start_paused = true)]
async fn offsets_of_subscribed_topics_are_kept() {
    let groups = fixture().await;
    let joined = groups.stable("g").await;
    let commit = Commit {
        member: joined.member.to_string(),
        generation: 1,
        ..simple(vec![new_offset("t", 1), new_offset("u", 2)])
    };
    assert_eq!(groups.commit("g", commit).await, [Ok(()), Ok(())]);
    let places = ["t", "u"].map(|t| (TopicName::new(t).unwrap(), 0));
    let results = groups.delete_offsets("g", &places).unwrap();
    assert_eq!(results, [Err(GroupError::GroupSubscribedToTopic), Ok(())]);
    assert_eq!(groups.offset("g", "t"), Ok(Some(1)));
    assert_eq!(groups.offset("g", "u"), Ok(None));
    let missing = groups.delete_offsets("nobody", &places);
    assert_eq!(missing, Err(GroupError::GroupIdNotFound));
    let other = JoinRequest {
        protocol_type: "connect".to_owned(),
        ..join("c")
    };
    groups.join("workers", other).await.unwrap();
    let refused = groups.delete_offsets("workers", &places);
    assert_eq!(refused, Err(GroupError::NonEmptyGroup));
    // The last offset of a group without members takes the group along.
    groups.commit_one("simple", 1).await.unwrap();
    assert_eq!(
        groups.delete_offsets("simple", &places),
        Ok(vec![Ok(()), Ok(())])
    );
    assert!(groups.describe("simple").unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn old_offsets_expire_and_take_their_group_along() {
    let groups = fixture().await;
    let now_ms = clock::wall_ms();
    groups.commit_one("simple", 1).await.unwrap();
    let joined = groups.stable("g").await;
    let own = Commit {
        member: joined.member.to_string(),
        generation: 1,
        ..simple(vec![new_offset("t", 1), new_offset("u", 1)])
    };
    groups.commit("g", own).await;
    assert_eq!(groups.expire_offsets(now_ms + 59_000), 0);
    // The topic that is subscribed to keeps its offset, the other two go.
    assert_eq!(groups.expire_offsets(now_ms + 120_000), 2);
    assert_eq!(groups.offset("g", "t"), Ok(Some(1)));
    assert!(groups.describe("simple").unwrap().is_none());
    let other = lead(&groups.log).await;
    assert_eq!(other.offset("simple", "t"), Ok(None));
    assert_eq!(other.offset("g", "u"), Ok(None));
    assert_eq!(other.offset("g", "t"), Ok(Some(1)));
    // A deleted topic takes its offsets along.
    other.forget_topic(&TopicName::new("t").unwrap());
    assert_eq!(other.offset("g", "t"), Ok(None));
}

#[tokio::test(start_paused = true)]
async fn groups_are_listed_by_state_and_type() {
    let groups = fixture().await;
    groups.stable("stable").await;
    groups.commit_one("empty", 1).await.unwrap();
    let names = |states: &[&str], types: &[&str]| {
        let text = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let (error, listed) = groups.list(&text(states), &text(types));
        assert_eq!(error, None);
        let mut names: Vec<String> = listed.iter().map(|o| o.group.to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&[], &[]), ["empty", "stable"]);
    assert_eq!(names(&["STABLE"], &[]), ["stable"]);
    assert_eq!(
        names(&["Empty", "stable"], &["Classic"]),
        ["empty", "stable"]
    );
    assert_eq!(names(&["Dead"], &[]), [""; 0]);
    assert_eq!(names(&[], &["consumer"]), [""; 0]);
}

/// A cluster that has these topics, each with one partition.
fn cluster_of(topics: &[(&str, TopicId)]) -> Arc<ClusterSnapshot> {
    let info = |id: TopicId| TopicInfo {
        id: Some(id),
        partitions: (0..PARTITIONS)
            .map(|p| (PartitionIndex(p), PartitionInfo::default()))
            .collect(),
    };
    let topics = topics
        .iter()
        .map(|(name, id)| (TopicName::new(name).unwrap(), Arc::new(info(*id))));
    Arc::new(ClusterSnapshot {
        topics: topics.collect(),
        ..ClusterSnapshot::default()
    })
}

#[tokio::test(start_paused = true)]
async fn groups_follow_what_is_led_and_which_topics_there_are() {
    let (first, second) = (TopicId([1; 16]), TopicId([2; 16]));
    let offsets = (OFFSETS_TOPIC, TopicId([3; 16]));
    let groups = start(&Arc::new(MemoryLog::new()));
    let led = |epoch: i32| {
        let partition = |p| TopicPartition {
            topic: TopicName::new(OFFSETS_TOPIC).unwrap(),
            partition: PartitionIndex(p),
        };
        let led: BTreeMap<_, _> = (0..PARTITIONS)
            .map(|p| (partition(p), LeaderEpoch(epoch)))
            .collect();
        Arc::new(led)
    };
    let (leading, follow_leading) = watch::channel(Arc::default());
    let (cluster, follow_cluster) = watch::channel(Arc::new(ClusterSnapshot::default()));
    let follow =
        Arc::clone(&groups.groups).follow(follow_leading, follow_cluster, groups.stop.clone());
    tokio::spawn(follow);
    let settle = || tokio::time::sleep(Duration::from_millis(10));
    settle().await;
    assert_eq!(
        groups.commit_one("g", 1).await,
        Err(GroupError::NotCoordinator)
    );
    cluster.send_replace(cluster_of(&[("t", first), offsets]));
    leading.send_replace(led(4));
    settle().await;
    groups.loaded().await;
    assert_eq!(groups.commit_one("g", 1).await, Ok(()));
    // The next epoch: nobody else has led in between, so nothing is read.
    groups.log.set_unreadable(true);
    leading.send_replace(led(5));
    settle().await;
    assert_eq!(groups.offset("g", "t"), Ok(Some(1)));
    assert_eq!(groups.commit_one("g", 2).await, Ok(()));
    // Another one: somebody else may have led in between, so all is read again.
    leading.send_replace(led(7));
    settle().await;
    let loading = Err(GroupError::CoordinatorLoadInProgress);
    assert_eq!(groups.offset("g", "t"), loading);
    groups.log.set_unreadable(false);
    groups.loaded().await;
    assert_eq!(groups.offset("g", "t"), Ok(Some(2)));
    assert_eq!(groups.commit_one("g", 1).await, Ok(()));
    assert_eq!(groups.offset("g", "t"), Ok(Some(1)));
    // The topic is made again under its name: it has other records now.
    cluster.send_replace(cluster_of(&[("t", second), offsets]));
    settle().await;
    assert_eq!(groups.offset("g", "t"), Ok(None));
    assert_eq!(groups.commit_one("g", 2).await, Ok(()));
    cluster.send_replace(cluster_of(&[offsets]));
    settle().await;
    assert_eq!(groups.offset("g", "t"), Ok(None));
    leading.send_replace(Arc::default());
    settle().await;
    assert_eq!(groups.offset("g", "t"), Err(GroupError::NotCoordinator));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_answered_from_records_that_are_not_replicated() {
    let first = fixture().await;
    first.commit_one("g", 1).await.unwrap();
    let log = Arc::clone(&first.log);
    log.hold();
    let groups = start(&log);
    for partition in 0..PARTITIONS {
        groups.on_lead(partition, 1);
    }
    tokio::time::sleep(Duration::from_secs(9)).await;
    let loading = GroupError::CoordinatorLoadInProgress;
    assert_eq!(groups.offset("g", "t"), Err(loading));
    log.release(Err(WriteError::TimedOut));
    log.hold();
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(groups.offset("g", "t"), Err(loading), "it goes on waiting");
    log.release(Ok(()));
    groups.loaded().await;
    assert_eq!(groups.offset("g", "t"), Ok(Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_deposed_coordinator_says_so_before_the_cluster_does() {
    let groups = fixture().await;
    let joined = groups.stable("g").await;
    groups.commit_one("h", 1).await.unwrap();
    groups.log.depose();
    let moved = GroupError::NotCoordinator;
    assert_eq!(groups.offset("h", "t"), Err(moved));
    assert_eq!(groups.commit_one("h", 2).await, Err(moved));
    let beat = groups.heartbeat("g", joined.member.as_str(), None, 1);
    assert_eq!(beat, Err(moved));
}

#[tokio::test(start_paused = true)]
async fn unreadable_batches_do_not_take_the_others_along() {
    let groups = fixture().await;
    groups.commit_one("g", 1).await.unwrap();
    let partition = groups.partition_for("g");
    let mut bytes = groups.log.bytes(partition);
    let mut bad = BatchBuilder::new(BatchOptions::default());
    bad.append(0, Some(&[0xff]), None, &[]).unwrap();
    let mut bad = bad.build().unwrap().to_vec();
    nyala_client::wire::batch::stamp(&mut bad, 1, 0);
    bytes.extend(bad);
    groups.log.put(partition, bytes);
    groups.commit_one("g", 2).await.unwrap();
    let other = lead(&groups.log).await;
    assert_eq!(other.offset("g", "t"), Ok(Some(2)));
}
