//! What somebody does to a group's znodes by hand: claims and members that are deleted or overwritten
//! come back, and neither an offset that cannot be read nor a znode that stands in the way for ever is
//! passed over in silence.

use harness::process::Ended;
use nyala_coordinator::registry::{GroupMember, Registry};
use nyala_coordinator::session::{Acl, CreateMode, Op};

use super::*;

const OWNER: &str = "/consumers/readers/owners/ledger/0";
const OFFSET: &str = "/consumers/readers/offsets/ledger/0";
const IDS: &str = "/consumers/readers/ids";
/// Nothing is committed but what the test commits.
const NEVER: Duration = Duration::from_secs(3600);

/// The next offsets of the only partition, one by one: nothing is left out, and nothing comes twice.
fn read_some(rig: &Rig, consumer: &mut Consumer) -> Vec<i64> {
    let offsets: Vec<i64> = wait::until("records", || {
        let polled = consumer.poll(Duration::from_millis(100));
        let records = rig.runtime.block_on(polled).expect("records");
        let offsets: Vec<i64> = records.iter().map(|r| r.offset).collect();
        if offsets.is_empty() {
            Err(())
        } else {
            Ok(offsets)
        }
    });
    for pair in offsets.windows(2) {
        assert_eq!(pair[1], pair[0] + 1);
    }
    offsets
}

/// By what the only partition is held, once that is another claim than `before`.
fn await_claim(consumer: &Consumer, before: Option<FencingToken>) -> FencingToken {
    wait::until("a new claim", || {
        let held = consumer.assignment();
        let token = held.values().find_map(|(_, token)| *token);
        token.filter(|now| Some(*now) > before).ok_or(held)
    })
}

/// Reads until all that was acknowledged has come, beginning with what is not committed.
fn read_to_end(rig: &Rig, consumer: &mut Consumer, next: i64, acked: &BTreeSet<i64>) {
    let last = *acked.last().expect("something was written");
    let mut next = next;
    while next <= last {
        for offset in read_some(rig, consumer) {
            assert_eq!(offset, next, "nothing is lost or repeated");
            next = offset + 1;
        }
    }
}

#[test]
fn a_partition_whose_claim_is_deleted_is_claimed_anew() {
    let (rig, feeder, _) = start("1");
    let operator = rig.runtime.block_on(connect(&rig.zk_address));
    let partition = PartitionIndex(0);
    let mut consumer = committing_by_hand(&rig, &rig.zk_address, NEVER);
    let mut token = await_claim(&consumer, None);
    for _ in 0..2 {
        read_some(&rig, &mut consumer);
        let done = rig.runtime.block_on(consumer.commit());
        done.expect("it is its own");
        let kept = committed(&rig, &operator, partition);
        assert_eq!(read_some(&rig, &mut consumer)[0], kept);
        // Nothing is asked of the consumer meanwhile: it notices by itself.
        let deleted = rig.runtime.block_on(operator.delete(OWNER, None));
        deleted.expect("it is there");
        token = await_claim(&consumer, Some(token));
        // What was handed out under the claim that is gone is not committed, and comes again.
        let lost = rig.runtime.block_on(consumer.commit());
        assert!(
            matches!(lost, Err(ConsumerError::Fenced { .. })),
            "{lost:?}"
        );
        let again = read_some(&rig, &mut consumer);
        assert_eq!(again[0], kept);
        let done = rig.runtime.block_on(consumer.commit());
        done.expect("it is its own again");
        let next = again.last().expect("not empty") + 1;
        assert_eq!(committed(&rig, &operator, partition), next);
    }
    let acked = feeder.finish(&rig);
    let next = committed(&rig, &operator, partition);
    read_to_end(&rig, &mut consumer, next, &acked[&partition]);
    rig.runtime.block_on(consumer.close()).expect("it leaves");
}

#[test]
fn a_fenced_commit_of_a_claim_that_is_deleted_stops_nothing() {
    let (rig, feeder, _) = start("1");
    let operator = rig.runtime.block_on(connect(&rig.zk_address));
    let partition = PartitionIndex(0);
    let mut consumer = committing_by_hand(&rig, &rig.zk_address, NEVER);
    let token = await_claim(&consumer, None);
    read_some(&rig, &mut consumer);
    rig.runtime.block_on(consumer.commit()).expect("its own");
    read_some(&rig, &mut consumer);
    // As another owner does that came and went.
    let delete = Op::Delete {
        path: OWNER.to_owned(),
        version: None,
    };
    let set = Op::Set {
        path: OFFSET.to_owned(),
        data: b"1".to_vec(),
        version: None,
    };
    let changed = rig.runtime.block_on(operator.multi(vec![delete, set]));
    changed.expect("both are there");
    let fenced = rig.runtime.block_on(consumer.commit());
    assert!(
        matches!(fenced, Err(ConsumerError::Fenced { .. })),
        "{fenced:?}"
    );
    await_claim(&consumer, Some(token));
    let acked = feeder.finish(&rig);
    read_to_end(&rig, &mut consumer, 1, &acked[&partition]);
    // What was handed out under the first claim may be told of once more.
    wait::until("a commit", || rig.runtime.block_on(consumer.commit()));
    let last = *acked[&partition].last().expect("something was written");
    assert_eq!(committed(&rig, &operator, partition), last + 1);
    rig.runtime.block_on(consumer.close()).expect("it leaves");
}

#[test]
fn a_partition_that_another_has_taken_is_claimed_when_that_one_goes() {
    let (rig, feeder, _) = start("1");
    let operator = rig.runtime.block_on(connect(&rig.zk_address));
    let mut consumer = committing_by_hand(&rig, &rig.zk_address, NEVER);
    let token = await_claim(&consumer, None);
    read_some(&rig, &mut consumer);
    let delete = Op::Delete {
        path: OWNER.to_owned(),
        version: None,
    };
    let take = Op::Create {
        path: OWNER.to_owned(),
        data: b"somebody".to_vec(),
        mode: CreateMode::Ephemeral,
        acl: Acl::Default,
    };
    let taken = rig.runtime.block_on(operator.multi(vec![delete, take]));
    taken.expect("it is there");
    wait::until("it lets go", || {
        let held = consumer.assignment();
        if held.is_empty() { Ok(()) } else { Err(held) }
    });
    let polled = rig.runtime.block_on(consumer.poll(Duration::ZERO));
    assert_eq!(polled.expect("in touch").len(), 0, "it is another's");
    rig.runtime.block_on(operator.close());
    await_claim(&consumer, Some(token));
    let acked = feeder.finish(&rig);
    read_to_end(&rig, &mut consumer, 0, &acked[&PartitionIndex(0)]);
    rig.runtime.block_on(consumer.close()).expect("it leaves");
}

#[test]
fn a_claim_whose_text_is_overwritten_outlives_a_silence() {
    let (mut rig, feeder, _) = start("1");
    let operator = rig.runtime.block_on(connect(&rig.zk_address));
    let mut consumer = committing_by_hand(&rig, &rig.zk_address, NEVER);
    let token = await_claim(&consumer, None);
    let seen = read_some(&rig, &mut consumer);
    let set = rig.runtime.block_on(operator.set(OWNER, b"somebody", None));
    set.expect("it is there");
    rig.zookeeper = None;
    wait::until("it lets go", || {
        let held = consumer.assignment();
        if held.is_empty() { Ok(()) } else { Err(held) }
    });
    rig.start_zookeeper();
    assert_eq!(await_claim(&consumer, None), token, "nobody else had it");
    let acked = feeder.finish(&rig);
    let next = seen.last().expect("not empty") + 1;
    read_to_end(&rig, &mut consumer, next, &acked[&PartitionIndex(0)]);
    rig.runtime.block_on(consumer.close()).expect("it leaves");
    let left = rig.runtime.block_on(operator.exists(OWNER));
    assert_eq!(left.expect("connected"), None, "it is given back");
}

/// The members' znodes, with the transactions that made them.
fn registered(rig: &Rig, operator: &Session) -> BTreeMap<String, i64> {
    let names = rig.runtime.block_on(operator.children(IDS));
    let each = names.expect("a group").into_iter().filter_map(|name| {
        let path = format!("{IDS}/{name}");
        let stat = rig.runtime.block_on(operator.exists(&path));
        let stat = stat.expect("connected")?;
        Some((name, stat.czxid))
    });
    each.collect()
}

#[test]
fn a_member_whose_znode_is_deleted_comes_back() {
    let (rig, feeder, notes) = start("4");
    let operator = rig.runtime.block_on(connect(&rig.zk_address));
    let mut members = vec![Member::start(&rig, 0, &notes)];
    await_shares(&[&members[0]], &[4]);
    for share in [4, 2] {
        for (name, czxid) in registered(&rig, &operator) {
            let path = format!("{IDS}/{name}");
            let deleted = rig.runtime.block_on(operator.delete(&path, None));
            deleted.expect("it is there");
            wait::until("it is there again", || {
                let now = registered(&rig, &operator);
                let made = now.get(&name).is_some_and(|made| *made > czxid);
                if made { Ok(()) } else { Err(now) }
            });
            let shares = vec![share; members.len()];
            await_shares(&members.iter().collect::<Vec<_>>(), &shares);
            let seen = notes.lock().len();
            wait::until("each reads again", || {
                let notes = notes.lock();
                let readers: BTreeSet<usize> = notes.iter().skip(seen).map(|s| s.member).collect();
                (readers.len() == members.len())
                    .then_some(())
                    .ok_or(readers)
            });
        }
        if members.len() < 2 {
            members.push(Member::start(&rig, 1, &notes));
            await_shares(&members.iter().collect::<Vec<_>>(), &[2, 2]);
        }
    }
    let acked = feeder.finish(&rig);
    check(&notes, &acked);
    assert_eq!(repeats(&notes), 0, "what is given back is committed first");
    for member in members {
        member.leave(&rig);
    }
}

/// Waits until the group's members are so many, and each is its session's and wants the topic.
fn await_registered(rig: &Rig, registry: &Registry, count: usize) {
    let topics = BTreeMap::from([("ledger".to_owned(), 1)]);
    wait::until("members that say what they want", || {
        let listed = rig.runtime.block_on(registry.group_members("readers"));
        let (members, _) = listed.expect("connected");
        let right = |m: &GroupMember| m.session_id != 0 && m.subscription == topics;
        let all = members.len() == count && members.iter().all(right);
        if all { Ok(()) } else { Err(members) }
    });
}

#[test]
fn a_member_whose_znode_is_overwritten_goes_on() {
    let (rig, feeder, notes) = start("4");
    let operator = rig.runtime.block_on(connect(&rig.zk_address));
    let registry = Registry::new(operator.clone());
    let first = Member::start(&rig, 0, &notes);
    await_shares(&[&first], &[4]);
    let other_topic =
        r#"{"version":1,"subscription":{"other":1},"pattern":"static","timestamp":"1"}"#;
    for text in ["garbage", "", other_topic] {
        for (name, _) in registered(&rig, &operator) {
            let path = format!("{IDS}/{name}");
            let set = operator.set(&path, text.as_bytes(), None);
            rig.runtime.block_on(set).expect("it is there");
        }
        // With whatever the first one's znode says by now.
        let second = Member::start(&rig, 1, &notes);
        await_registered(&rig, &registry, 2);
        await_shares(&[&first, &second], &[2, 2]);
        second.leave(&rig);
        await_registered(&rig, &registry, 1);
        await_shares(&[&first], &[4]);
        let seen = notes.lock().len();
        await_records(&notes, seen);
    }
    let acked = feeder.finish(&rig);
    check(&notes, &acked);
    assert_eq!(repeats(&notes), 0, "what is given back is committed first");
    first.leave(&rig);
    assert_eq!(registered(&rig, &operator), BTreeMap::new());
}

/// `nyala consume` as a member of the group.
fn consume(rig: &Rig) -> Process {
    let mut command = Command::new(nyala_binary());
    let place = ["--zookeeper", &rig.zk_address];
    let consume = [
        "consume",
        "ledger",
        "--group",
        "readers",
        "--from-beginning",
    ];
    command.args(consume).args(place);
    Process::start("consume", rig.folder.path(), &mut command)
}

/// Waits until it has warned of `path`.
fn await_told(process: &Process, path: &str) {
    wait::until("a warning", || {
        let told = process.stderr();
        let found = told.lines().any(|l| l.contains("WARN") && l.contains(path));
        if found { Ok(()) } else { Err(told) }
    });
}

#[test]
fn what_stands_in_the_way_for_ever_is_told_once() {
    let (rig, feeder, _) = start("1");
    let operator = rig.runtime.block_on(connect(&rig.zk_address));
    let registry = Registry::new(operator.clone());
    rig.runtime.block_on(async {
        let (folder, _) = OWNER.rsplit_once('/').expect("a path");
        operator.ensure_path(folder).await.expect("connected");
        let made = operator.create(OWNER, b"somebody", CreateMode::Persistent, Acl::Default);
        made.await.expect("nobody reads");
    });
    let mut process = consume(&rig);
    await_told(&process, OWNER);
    // It is looked at again.
    let set = operator.set(OWNER, b"somebody else", None);
    rig.runtime.block_on(set).expect("it is there");
    assert_eq!(process.stdout(), "", "it is another's");
    let deleted = rig.runtime.block_on(operator.delete(OWNER, None));
    deleted.expect("it is there");
    process.wait_for_line("a record", |_| Some(()));

    let members = registered(&rig, &operator);
    let name = members.keys().next().expect("one");
    let path = format!("{IDS}/{name}");
    let delete = Op::Delete {
        path: path.clone(),
        version: None,
    };
    let create = Op::Create {
        path: path.clone(),
        data: b"garbage".to_vec(),
        mode: CreateMode::Persistent,
        acl: Acl::Default,
    };
    let replaced = rig.runtime.block_on(operator.multi(vec![delete, create]));
    replaced.expect("it is there");
    await_told(&process, &path);
    let deleted = rig.runtime.block_on(operator.delete(&path, None));
    deleted.expect("it is left alone");
    await_registered(&rig, &registry, 1);
    let told = process.stderr();
    for path in [OWNER, &path] {
        let count = told.lines().filter(|l| l.contains(path)).count();
        assert_eq!(count, 1, "{path} in {told}");
    }
    feeder.finish(&rig);
}

/// One warning, with these words, that shows no more than the beginning of what it is about.
fn check_told(ended: &Ended, words: &[&str]) {
    let lines = ended.stderr.lines();
    let told: Vec<&str> = lines.filter(|line| line.contains("WARN")).collect();
    assert_eq!(told.len(), 1, "{ended:?}");
    for word in words {
        assert!(told[0].contains(word), "{word} in {}", told[0]);
    }
    assert!(!told[0].contains("END"), "{}", told[0]);
    assert!(!told[0].contains('\u{1}'), "{}", told[0]);
}

#[test]
fn an_offset_that_cannot_be_read_is_told() {
    let (rig, feeder, _) = start("1");
    let operator = rig.runtime.block_on(connect(&rig.zk_address));
    let (folder, _) = OFFSET.rsplit_once('/').expect("a path");
    let data = format!("\u{1}sevenhundred{}END", "x".repeat(64));
    rig.runtime.block_on(async {
        operator.ensure_path(folder).await.expect("connected");
        let mode = CreateMode::Persistent;
        let made = operator.create(OFFSET, data.as_bytes(), mode, Acl::Default);
        made.await.expect("nobody has committed");
    });
    let natively = |args: &[&str]| {
        let place = ["--zookeeper", &rig.zk_address];
        nyala(rig.folder.path(), &[args, &place].concat())
    };
    // For those who only look, and for who reads.
    let described = natively(&["group", "describe", "readers"]);
    check_told(&described, &["readers", "ledger-0", "sevenhundred"]);
    let shown = described.expect_success("nyala group describe");
    assert!(shown.contains("ledger"), "{shown}");
    let consume = ["consume", "ledger", "--group", "readers"];
    let how = ["--from-beginning", "--max-messages", "3", "--print-offset"];
    let ended = natively(&[&consume[..], &how].concat());
    let words = ["readers", "ledger-0", "sevenhundred", "auto.offset.reset"];
    check_told(&ended, &words);
    let records = ended.expect_success("nyala consume");
    assert!(records.starts_with("0\t"), "from the beginning: {records}");
    assert_eq!(committed(&rig, &operator, PartitionIndex(0)), 3);
    feeder.finish(&rig);
}
