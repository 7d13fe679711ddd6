//! The same random requests to the embedded server and to a real ZooKeeper: every answer and every
//! watch event must be the same, but for the numbers that each server chooses for itself.
//!
//! The seed is printed; `NYALA_TEST_SEED` runs it again.

use std::cmp::Ordering;
use std::time::Duration;

use harness::folder::in_memory;
use harness::zookeeper::{EmbeddedZooKeeper, RealZooKeeper};
use harness::zookeeper_wire::{Acl, Body, Client, Event, Fields, Hello, Stat, code, op, open};
use nyala_coordinator::embedded::ServerConfig;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

const STEPS: usize = 4000;
const CLIENTS: usize = 3;

/// `echo -n alice:secret | openssl sha1 -binary | base64`
const ALICE: &str = "alice:aYXlLOpEooaV1cRAvUL1fp9Qt7E=";

/// Some clients of one server.
struct Side {
    address: String,
    clients: Vec<Client>,
}

/// A new session that outlives the pauses of a busy machine.
fn patient(address: &str) -> Client {
    let hello = Hello {
        timeout_ms: 60_000,
        ..Hello::default()
    };
    Client::hello(address, &hello).expect("a new session")
}

/// A step, chosen once and taken on both sides.
#[derive(Clone, Debug)]
enum Step {
    Request { op: i32, body: Body },
    Multi { ops: Vec<(i32, Body)> },
    Auth,
    Reconnect,
    NewSession,
}

/// What a client could see of a step.
#[derive(Debug, PartialEq)]
struct Seen {
    answer: Result<Vec<String>, i32>,
    events: Vec<Vec<Event>>,
}

fn path(random: &mut SmallRng) -> String {
    let paths = ["/d", "/d/a", "/d/b", "/d/a/x", "/d/a/x/y", "/d/b/s-"];
    (*paths.choose(random).expect("some")).to_owned()
}

fn acl(random: &mut SmallRng) -> Vec<Acl> {
    let entry = |perms: i32, scheme: &str, id: &str| (perms, scheme.to_owned(), id.to_owned());
    match random.random_range(0..12) {
        0 => vec![entry(31, "auth", "")],
        1 => vec![entry(1, "world", "anyone"), entry(30, "digest", ALICE)],
        2 => vec![entry(random.random_range(0..32), "ip", "127.0.0.0/8")],
        3 => vec![entry(31, "nosuch", "x")],
        _ => open(),
    }
}

fn version(random: &mut SmallRng) -> i32 {
    match random.random_range(0..3) {
        0 => random.random_range(0..4),
        _ => -1,
    }
}

/// Where watches are kept that last. ZooKeeper 3.8 forgets them when the same client leaves a
/// one-shot watch there, too (ZOOKEEPER-4466); ours keeps both, as later versions do.
const KEPT: [(&str, i32); 2] = [("/", 1), ("/e", 0)];

fn write(random: &mut SmallRng) -> (i32, Body) {
    let path = match random.random_range(0..6) {
        0 => "/e".to_owned(),
        _ => path(random),
    };
    let at = Body::new().text(&path);
    let data = vec![b'x'; random.random_range(0..5)];
    match random.random_range(0..10) {
        0..4 => {
            let op = *[op::CREATE, op::CREATE2].choose(random).expect("some");
            let flags = random.random_range(0..5);
            // Containers are left out: when they go is each server's own affair.
            let flags = if flags == 4 { 0 } else { flags };
            (op, at.data(Some(&data)).acl(&acl(random)).int(flags))
        }
        4..7 => (op::DELETE, at.int(version(random))),
        7..9 => (op::SET_DATA, at.data(Some(&data)).int(version(random))),
        _ => (op::CHECK, at.int(version(random))),
    }
}

fn choose(random: &mut SmallRng) -> Step {
    let at = Body::new().text(&path(random));
    let watch = random.random_bool(0.5);
    let (op, body) = match random.random_range(0..30) {
        0..9 => loop {
            // A lone check that holds is never answered by ZooKeeper.
            let (op, body) = write(random);
            if op != op::CHECK {
                break (op, body);
            }
        },
        9..12 => {
            let count = random.random_range(0..5);
            let ops = (0..count).map(|_| write(random)).collect();
            return Step::Multi { ops };
        }
        12 => (op::SET_ACL, at.acl(&acl(random)).int(version(random))),
        13 => (op::GET_ACL, at),
        14..17 => (op::EXISTS, at.bool(watch)),
        17..19 => (op::GET_DATA, at.bool(watch)),
        19..21 => (op::GET_CHILDREN, at.bool(watch)),
        21 => (op::GET_CHILDREN2, at.bool(watch)),
        22 => (op::GET_ALL_CHILDREN_NUMBER, at),
        23 => (op::GET_EPHEMERALS, at),
        24 => (op::SYNC, at),
        25 => {
            let (path, mode) = *KEPT.choose(random).expect("some");
            (op::ADD_WATCH, Body::path_and(path, mode))
        }
        26 => {
            let (path, _) = *KEPT.choose(random).expect("some");
            let at = random.random_bool(0.5).then(|| Body::new().text(path));
            let any = 3;
            let body = at.unwrap_or_else(|| Body::new().text("/d/a")).int(any);
            (op::REMOVE_WATCHES, body)
        }
        27 => return Step::Auth,
        28 => return Step::Reconnect,
        _ => return Step::NewSession,
    };
    Step::Request { op, body }
}

impl Side {
    fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            clients: (0..CLIENTS).map(|_| patient(address)).collect(),
        }
    }

    /// Takes a step with one client; then all tell what they heard of.
    fn take(&mut self, who: usize, step: &Step) -> Seen {
        let sessions: Vec<i64> = self.clients.iter().map(|zk| zk.session).collect();
        let client = &mut self.clients[who];
        let answer = match step {
            Step::Request { op, body } => {
                let fields = client.call(*op, body);
                fields.map(|mut f| told(*op, &mut f, &sessions))
            }
            Step::Multi { ops } => {
                let parts = ops.iter().cloned();
                let multi = parts.fold(Body::new(), |multi, (op, body)| multi.op(op, body));
                let fields = client.call(op::MULTI, &multi.end());
                fields.map(|mut f| results(&mut f, &sessions))
            }
            Step::Auth => client.auth("digest", "alice:secret").map(|()| Vec::new()),
            Step::Reconnect => {
                let again = Client::hello(&self.address, &client.again());
                *client = again.expect("its own session");
                Ok(Vec::new())
            }
            Step::NewSession => {
                let old = std::mem::replace(client, patient(&self.address));
                old.close();
                Ok(Vec::new())
            }
        };
        let events = self.clients.iter_mut().map(|zk| {
            let mut events = zk.events();
            // The order of what one session's end does to its ephemerals is nobody's promise.
            if matches!(step, Step::NewSession) {
                events.sort();
            }
            events
        });
        let events = events.collect();
        Seen { answer, events }
    }
}

/// What an answer says, with the server's own numbers taken out.
fn told(op: i32, f: &mut Fields, sessions: &[i64]) -> Vec<String> {
    let mut told = Vec::new();
    match op {
        op::CREATE | op::SYNC => told.push(f.text()),
        op::CREATE2 => told.extend([f.text(), shown(f.stat(), sessions)]),
        op::EXISTS | op::SET_DATA | op::SET_ACL => told.push(shown(f.stat(), sessions)),
        op::GET_DATA => told.extend([format!("{:?}", f.data()), shown(f.stat(), sessions)]),
        op::GET_CHILDREN | op::GET_EPHEMERALS => told.extend(f.texts()),
        op::GET_CHILDREN2 => {
            told.extend(f.texts());
            told.push(shown(f.stat(), sessions));
        }
        op::GET_ACL => told.extend([format!("{:?}", f.acl()), shown(f.stat(), sessions)]),
        op::GET_ALL_CHILDREN_NUMBER | op::ADD_WATCH => told.push(f.int().to_string()),
        _ => {}
    }
    assert!(f.rest().is_empty(), "more than the answer to {op}");
    told
}

fn results(f: &mut Fields, sessions: &[i64]) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        let (kind, error) = f.result();
        told.push(format!("{kind} {error}"));
        match kind {
            0 => return told,
            -1 => told.push(f.int().to_string()),
            op::CREATE => told.push(f.text()),
            op::CREATE2 => told.extend([f.text(), shown(f.stat(), sessions)]),
            op::SET_DATA => told.push(shown(f.stat(), sessions)),
            _ => {}
        }
    }
}

fn shown(stat: Stat, sessions: &[i64]) -> String {
    let sign = |order: Ordering| order as i8;
    format!(
        "versions {} {} {}, owner {:?}, data {}, children {}, zxids {} {} {}",
        stat.version,
        stat.cversion,
        stat.aversion,
        sessions.iter().position(|id| *id == stat.owner),
        stat.data_length,
        stat.num_children,
        sign(stat.mzxid.cmp(&stat.czxid)),
        sign(stat.pzxid.cmp(&stat.czxid)),
        sign(stat.pzxid.cmp(&stat.mzxid)),
    )
}

#[test]
fn random_requests_are_answered_alike() {
    let seed = std::env::var("NYALA_TEST_SEED").ok();
    let seed = seed.map_or_else(rand::random, |text| text.parse().expect("a number"));
    println!("NYALA_TEST_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let (one, two) = (in_memory(), in_memory());
    let embedded = EmbeddedZooKeeper::start_with(ServerConfig {
        tick_time: Duration::from_secs(3),
        ..EmbeddedZooKeeper::config(one.path())
    });
    let real = RealZooKeeper::start(two.path());
    let mut ours = Side::new(&embedded.address);
    let mut theirs = Side::new(&real.address);
    let mut refused = 0;
    for number in 0..STEPS {
        let who = random.random_range(0..CLIENTS);
        let step = choose(&mut random);
        let (ours, theirs) = (ours.take(who, &step), theirs.take(who, &step));
        assert_eq!(
            ours, theirs,
            "left is ours; step {number} of {who}: {step:?}"
        );
        refused += usize::from(ours.answer.is_err());
        assert_ne!(ours.answer, Err(code::MARSHALLING_ERROR), "a faulty test");
    }
    println!("{refused} of {STEPS} were refused");
}
