//! Text scripts against the machine: commands, `----`, what they lead to. The scripts lie in
//! `groups/testdata`; `NYALA_REWRITE_TESTDATA=1` writes what the machine does now.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::*;
use crate::groups::event::{Joined, Leaving, Sync};
use crate::groups::member::{Client, Protocol};

struct Script {
    group: Group,
    now: Now,
    next_request: u64,
    next_member: u64,
}

/// The words of one command line: the first, plain ones, and `key=value` ones.
struct Words<'a> {
    plain: Vec<&'a str>,
    named: HashMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Self {
        let mut words = Self {
            plain: Vec::new(),
            named: HashMap::new(),
        };
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) => drop(words.named.insert(key, value)),
                None => words.plain.push(word),
            }
        }
        words
    }

    fn has(&self, flag: &str) -> bool {
        self.plain.contains(&flag)
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.named.get(key).copied()
    }

    fn number<T: std::str::FromStr>(&self, key: &str, default: T) -> T {
        let parsed = self.get(key).map(|v| v.parse().ok());
        parsed.map_or(default, |v| {
            v.unwrap_or_else(|| panic!("{key} is no number"))
        })
    }

    fn member(&self) -> MemberId {
        MemberId::from(self.get("member").unwrap_or(""))
    }

    fn instance(&self) -> Option<Arc<str>> {
        self.get("instance").map(Arc::from)
    }
}

impl Script {
    fn new(words: &Words<'_>) -> Self {
        let rules = Rules {
            members_max: words.number("max", usize::MAX),
            initial_rebalance_delay_ms: words.number("delay", 3000),
        };
        let now = Now {
            ticks_ms: 0,
            wall_ms: 0,
        };
        Self {
            group: Group::new(rules, now),
            now,
            next_request: 1,
            next_member: 1,
        }
    }

    fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request - 1)
    }

    fn run(&mut self, line: &str, out: &mut String) {
        let words = Words::of(line);
        match words.plain.first().copied().unwrap_or("") {
            "new" => *self = Self::new(&words),
            "load" => self.load(&words),
            "at" => self.at(words.plain[1].parse().expect("a time"), out),
            "join" => {
                let join = self.join(&words);
                let request = self.request();
                self.apply(Event::Join(request, join), out);
            }
            "sync" => {
                let request = self.request();
                self.apply(Event::Sync(request, sync(&words)), out);
            }
            "leave" => {
                let request = self.request();
                self.apply(Event::Leave(request, leaving(&words)), out);
            }
            "stored" => {
                let write = WriteId(words.number("w", 0));
                let result = match words.has("failed") {
                    true => Err(GroupError::CoordinatorNotAvailable),
                    false => Ok(()),
                };
                self.apply(Event::Persisted(write, result), out);
            }
            "heartbeat" => self.answer("heartbeat", out, |group, now| {
                let id = words.member();
                let instance = words.instance();
                let generation = words.number("gen", 0);
                group.heartbeat(id.as_str(), instance.as_deref(), generation, now)
            }),
            "commit" => self.answer("commit", out, |group, now| {
                let id = words.member();
                let instance = words.instance();
                let generation = words.number("gen", -1);
                group.check_commit(id.as_str(), instance.as_deref(), generation, now)
            }),
            "delete" => self.answer("delete", out, |group, _| group.delete()),
            "unload" => self.apply(Event::Unload, out),
            "topics" => writeln!(out, "topics {:?}", self.group.subscribed).unwrap(),
            "describe" => writeln!(out, "{}", describe(&self.group.summary())).unwrap(),
            other => panic!("no command {other:?}"),
        }
    }

    fn answer(
        &mut self,
        what: &str,
        out: &mut String,
        ask: impl FnOnce(&mut Group, Now) -> Result<(), GroupError>,
    ) {
        match ask(&mut self.group, self.now) {
            Ok(()) => writeln!(out, "{what} ok").unwrap(),
            Err(error) => writeln!(out, "{what} {error:?}").unwrap(),
        }
    }

    fn apply(&mut self, event: Event, out: &mut String) {
        for effect in self.group.apply(event, self.now) {
            writeln!(out, "{}", show(&effect)).unwrap();
        }
    }

    /// Goes to the time given, stopping at every deadline on the way.
    fn at(&mut self, ticks_ms: u64, out: &mut String) {
        while let Some(next) = self.group.next_deadline().filter(|d| *d <= ticks_ms) {
            let next = next.max(self.now.ticks_ms);
            self.now = Now {
                ticks_ms: next,
                wall_ms: i64::try_from(next).unwrap(),
            };
            for effect in self.group.apply(Event::Tick, self.now) {
                writeln!(out, "{next}: {}", show(&effect)).unwrap();
            }
        }
        self.now = Now {
            ticks_ms,
            wall_ms: i64::try_from(ticks_ms).unwrap(),
        };
    }

    fn join(&mut self, words: &Words<'_>) -> Join {
        let client = words.get("client").unwrap_or("c");
        let stem = words.get("instance").unwrap_or(client);
        let fresh = MemberId::from(format!("{stem}-{}", self.next_member));
        if words.get("member").is_none() {
            self.next_member += 1;
        }
        let session_timeout_ms = words.number("session", 10_000);
        Join {
            member: words.member(),
            fresh,
            instance: words.instance(),
            must_know_id: words.has("v4") && words.get("instance").is_none(),
            can_skip_assignment: words.has("v9"),
            client: Client {
                id: client.into(),
                host: "/127.0.0.1".into(),
            },
            protocol_type: words.get("type").unwrap_or("consumer").into(),
            terms: Terms {
                protocols: protocols(words.get("protocols").unwrap_or("range:x")),
                session_timeout_ms,
                rebalance_timeout_ms: words.number("rebalance", 60_000),
            },
        }
    }

    fn load(&mut self, words: &Words<'_>) {
        let members = words.get("members").unwrap_or("").split(',');
        let member = |text: &str| {
            let (id, instance) = text.split_once('/').unwrap_or((text, ""));
            MemberRecord {
                id: id.into(),
                instance: Some(instance).filter(|i| !i.is_empty()).map(Arc::from),
                client: Client {
                    id: "c".into(),
                    host: "/127.0.0.1".into(),
                },
                rebalance_timeout_ms: 60_000,
                session_timeout_ms: 10_000,
                subscription: Bytes::from_static(b"x"),
                assignment: Bytes::from(format!("of-{id}")),
            }
        };
        let members: Vec<_> = members.filter(|m| !m.is_empty()).map(member).collect();
        let record = GroupRecord {
            protocol_type: "consumer".into(),
            generation: words.number("gen", 1),
            protocol: (!members.is_empty()).then(|| "range".into()),
            leader: members.first().map(|m| m.id.clone()),
            state_since_ms: -1,
            members,
        };
        let rules = self.group.rules;
        self.group = Group::load(record, rules, self.now);
    }
}

/// `range:x,sticky:y` as protocols with metadata; `+a+b` as metadata is a real subscription.
fn protocols(text: &str) -> Vec<Protocol> {
    let protocol = |pair: &str| {
        let (name, metadata) = pair.split_once(':').unwrap_or((pair, ""));
        Protocol {
            name: name.into(),
            metadata: match metadata.strip_prefix('+') {
                Some(topics) => subscription_of(topics),
                None => Bytes::copy_from_slice(metadata.as_bytes()),
            },
        }
    };
    let pairs = text.split(',').filter(|p| !p.is_empty() && *p != "none");
    pairs.map(protocol).collect()
}

fn subscription_of(topics: &str) -> Bytes {
    let topics: Vec<&str> = topics.split('+').collect();
    let mut bytes = vec![0, 1];
    bytes.extend(i32::try_from(topics.len()).unwrap().to_be_bytes());
    for topic in topics {
        bytes.extend(i16::try_from(topic.len()).unwrap().to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.into()
}

fn sync(words: &Words<'_>) -> Sync {
    let shares = words.get("shares").unwrap_or("").split(',');
    let share = |pair: &str| {
        let (id, share) = pair.split_once(':').expect("member:share");
        (MemberId::from(id), Bytes::copy_from_slice(share.as_bytes()))
    };
    Sync {
        member: words.member(),
        instance: words.instance(),
        generation: words.number("gen", 0),
        protocol_type: words.get("type").map(str::to_owned),
        protocol: words.get("protocol").map(str::to_owned),
        assignment: shares.filter(|s| !s.is_empty()).map(share).collect(),
    }
}

/// `leave a-1 b-2 /instance c-3/instance`
fn leaving(words: &Words<'_>) -> Vec<Leaving> {
    let one = |text: &&str| {
        let (id, instance) = text.split_once('/').unwrap_or((text, ""));
        Leaving {
            member: MemberId::from(id),
            instance: Some(instance).filter(|i| !i.is_empty()).map(Arc::from),
        }
    };
    words.plain.iter().skip(1).map(one).collect()
}

fn show(effect: &Effect) -> String {
    match effect {
        Effect::Joined(request, Ok(joined)) => format!("r{} {}", request.0, show_joined(joined)),
        Effect::Joined(request, Err(refused)) => {
            let id = refused.member.as_str();
            format!("r{} refused {:?} member={id:?}", request.0, refused.error)
        }
        Effect::Synced(request, Ok(synced)) => {
            let share = text(&synced.assignment);
            let protocol = synced.protocol.as_deref().unwrap_or("-");
            format!("r{} synced protocol={protocol} share={share:?}", request.0)
        }
        Effect::Synced(request, Err(error)) => format!("r{} not synced {error:?}", request.0),
        Effect::Left(request, results) => {
            let word = |r: &Result<(), GroupError>| match r {
                Ok(()) => "ok".to_owned(),
                Err(error) => format!("{error:?}"),
            };
            let words: Vec<_> = results.iter().map(word).collect();
            format!("r{} left {}", request.0, words.join(" "))
        }
        Effect::Persist(write, record) => {
            let share = |m: &MemberRecord| format!("{}={}", m.id, text(&m.assignment));
            let members: Vec<_> = record.members.iter().map(share).collect();
            format!(
                "store w={} gen={} protocol={} leader={} [{}]",
                write.0,
                record.generation,
                record.protocol.as_deref().unwrap_or("-"),
                record.leader.as_deref().unwrap_or("-"),
                members.join(" ")
            )
        }
    }
}

fn show_joined(joined: &Joined) -> String {
    let member = |m: &JoinedMember| match &m.instance {
        Some(instance) => format!("{}/{instance}:{}", m.member, text(&m.metadata)),
        None => format!("{}:{}", m.member, text(&m.metadata)),
    };
    let members: Vec<_> = joined.members.iter().map(member).collect();
    let skip = if joined.skip_assignment { " skip" } else { "" };
    format!(
        "joined gen={} as {} leader={} protocol={}{skip} [{}]",
        joined.generation,
        joined.member,
        joined.leader,
        joined.protocol.as_deref().unwrap_or("-"),
        members.join(" ")
    )
}

fn describe(summary: &Summary) -> String {
    let member = |m: &MemberSummary| {
        let (metadata, share) = (text(&m.metadata), text(&m.assignment));
        format!("{} {} {metadata:?} {share:?}", m.member, m.client.host)
    };
    let members: Vec<_> = summary.members.iter().map(member).collect();
    format!(
        "{} {:?} {:?} [{}]",
        summary.state,
        summary.protocol_type,
        summary.protocol,
        members.join(", ")
    )
}

fn text(bytes: &Bytes) -> String {
    bytes.escape_ascii().to_string()
}

/// One line about the group after the commands of a block.
fn state_of(group: &Group) -> String {
    let member = |m: &Member| match m.is_joined() {
        true => format!("{}*", m.id),
        false => m.id.to_string(),
    };
    let members: Vec<_> = group.members.iter().map(member).collect();
    let mut line = format!("{} gen={}", group.state.name(), group.generation);
    if let Some(leader) = &group.leader {
        write!(line, " leader={leader}").unwrap();
    }
    if let Some(protocol) = &group.protocol {
        write!(line, " protocol={protocol}").unwrap();
    }
    write!(line, " [{}]", members.join(" ")).unwrap();
    if !group.pending.is_empty() {
        let pending: Vec<_> = group.pending.keys().map(MemberId::as_str).collect();
        write!(line, " pending=[{}]", pending.join(" ")).unwrap();
    }
    line
}

/// Runs one script and returns it with the results as they are now.
fn run(script: &str) -> String {
    let mut machine = Script::new(&Words::of("new"));
    let mut result = String::new();
    for block in script.split("\n\n") {
        let commands = block.split("----").next().unwrap_or("").trim_end();
        let mut out = String::new();
        for line in commands
            .lines()
            .filter(|l| !l.trim_start().starts_with('#'))
        {
            if !line.trim().is_empty() {
                machine.run(line, &mut out);
            }
        }
        if !result.is_empty() {
            result.push('\n');
        }
        if commands
            .lines()
            .all(|l| l.starts_with('#') || l.trim().is_empty())
        {
            writeln!(result, "{commands}").unwrap();
            continue;
        }
        let state = state_of(&machine.group);
        writeln!(result, "{commands}\n----\n{out}{state}").unwrap();
    }
    result
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/groups/testdata")
}

fn check(name: &str) {
    let path = testdata().join(format!("{name}.txt"));
    let script = std::fs::read_to_string(&path).expect("the script");
    let actual = run(&script);
    if std::env::var_os("NYALA_REWRITE_TESTDATA").is_some() {
        std::fs::write(&path, actual).expect("the script, rewritten");
    } else {
        assert!(script == actual, "{name} is not as written; now:\n{actual}");
    }
}

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            check(stringify!($name));
        }
    )*

        #[test]
        fn every_script_is_run() {
            let mut names = vec![$(concat!(stringify!($name), ".txt").to_owned()),*];
            let mut files: Vec<String> = std::fs::read_dir(testdata()).expect("testdata")
                .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
                .collect();
            names.sort();
            files.sort();
            assert_eq!(names, files);
        }
    };
}

scripts!(
    capacity,
    commits,
    cooperative,
    delete_and_unload,
    first_join,
    heartbeats,
    initial_delay,
    join_again,
    leader_change,
    leave,
    load,
    member_id_required,
    protocols_and_votes,
    rebalance_timeout,
    session_timeout,
    static_members,
    static_replacement,
    storage_failures,
    sync_and_assign,
    sync_timeout,
    subscriptions,
);

/// Ten thousand members that send heartbeats: nothing is looked at but the one member, and the
/// machine wants to be woken about once in a session timeout.
#[test]
fn heartbeats_of_a_large_group_do_not_wake_the_timer() {
    let mut script = Script::new(&Words::of("new delay=0"));
    let mut out = String::new();
    let ids: Vec<String> = (0..10_000).map(|i| format!("m-{i:05}")).collect();
    script.run(&format!("load gen=1 members={}", ids.join(",")), &mut out);
    let mut wakes = 0;
    for round in 1..=20_u64 {
        script.now.ticks_ms = round * 3000;
        for id in &ids {
            assert_eq!(script.group.heartbeat(id, None, 1, script.now), Ok(()));
        }
        if script
            .group
            .next_deadline()
            .is_some_and(|d| d <= script.now.ticks_ms)
        {
            wakes += 1;
            assert_eq!(script.group.apply(Event::Tick, script.now), Vec::new());
        }
    }
    assert_eq!(script.group.members.len(), 10_000);
    assert!(
        wakes <= 7,
        "60 s of heartbeats with sessions of 10 s woke it {wakes} times"
    );
}

/// First joins that never come back fill a bounded table and are gone after their session.
#[test]
fn a_flood_of_first_joins_is_bounded_and_expires() {
    let mut script = Script::new(&Words::of("new"));
    let words = Words::of("join v4 session=6000");
    let mut refused = 0;
    for _ in 0..100_000 {
        let join = script.join(&words);
        let request = script.request();
        let effects = script.group.apply(Event::Join(request, join), script.now);
        let Some(Effect::Joined(_, Err(refusal))) = effects.first() else {
            panic!("{effects:?}");
        };
        match refusal.error {
            GroupError::MemberIdRequired => {}
            GroupError::GroupMaxSizeReached => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(refused, 90_000);
    assert_eq!(script.group.pending_members(), 10_000);
    let mut out = String::new();
    script.at(6000, &mut out);
    assert_eq!(script.group.pending_members(), 0);
    assert_eq!(script.group.next_deadline(), None);
}
