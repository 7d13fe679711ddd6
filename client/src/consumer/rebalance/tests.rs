//! Runs the scripts in `rebalance.txt`: commands, `----`, then effects and holdings.
//!
//! `NYALA_REGENERATE=1` writes what the machine does into the file: read the difference.

use std::fmt::Write as _;

use nyala_coordinator::ids::{PartitionIndex, TopicName};

use super::*;

mod world;

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/src/consumer/rebalance/rebalance.txt"
);

fn target(text: &str) -> TopicPartition {
    let (topic, partition) = text.rsplit_once('-').expect("topic-partition");
    TopicPartition {
        topic: TopicName::new(topic).expect("legal"),
        partition: PartitionIndex(partition.parse().expect("number")),
    }
}

/// `a:t,u b:t` as members with their topics.
fn members(words: &[&str]) -> Subscriptions {
    let one = |word: &&str| {
        let (name, topics) = word.split_once(':').expect("member:topics");
        let topics = topics.split(',').map(|t| TopicName::new(t).expect("legal"));
        (name.to_owned(), topics.collect())
    };
    words.iter().map(one).collect()
}

/// `t:4 u:1` as topics with their numbers of partitions.
fn topics(words: &[&str]) -> Partitions {
    let one = |word: &&str| {
        let (name, count) = word.split_once(':').expect("topic:count");
        let count: i32 = count.parse().expect("number");
        let all = (0..count).map(PartitionIndex).collect();
        (TopicName::new(name).expect("legal"), all)
    };
    words.iter().map(one).collect()
}

fn event(line: &str, machine: &Rebalance) -> Event {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [command, args @ ..] = words.as_slice() else {
        panic!("empty command");
    };
    let target = || target(args[0]);
    let number = |i: usize| {
        args.get(i)
            .map(|a: &&str| a.parse::<u64>().expect("number"))
    };
    match *command {
        "up" => Event::SessionUp {
            generation: number(0).expect("generation"),
        },
        "down" => Event::SessionDown,
        "registered" => Event::Registered {
            generation: number(0).unwrap_or(machine.generation),
        },
        "members" => Event::Members(members(args)),
        "topics" => Event::Topics(topics(args)),
        "claimed" => Event::Claimed {
            target: target(),
            token: FencingToken(number(1).expect("token").cast_signed()),
            generation: number(2).unwrap_or(machine.generation),
        },
        "busy" => Event::Busy {
            target: target(),
            generation: number(1).unwrap_or(machine.generation),
        },
        // With a token it is this member's claim, without one it is the owner in the way.
        "gone" => match number(1) {
            Some(token) => Event::ClaimGone {
                target: target(),
                token: FencingToken(token.cast_signed()),
            },
            None => Event::OwnerGone { target: target() },
        },
        "letgo" => Event::LetGo { target: target() },
        "released" => Event::Released {
            target: target(),
            generation: number(1).unwrap_or(machine.generation),
        },
        "close" => Event::Close,
        other => panic!("unknown command {other}"),
    }
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Register => "register".to_owned(),
        Effect::Claim(t) => format!("claim {t}"),
        Effect::Watch(t) => format!("watch {t}"),
        Effect::Unwatch(t) => format!("unwatch {t}"),
        Effect::Start(t, token) => format!("start {t} token {}", token.0),
        Effect::Revoke(t) => format!("revoke {t}"),
        Effect::Drop(t) => format!("drop {t}"),
        Effect::Release(t, token) => format!("release {t} token {}", token.0),
        Effect::Unregister => "unregister".to_owned(),
    }
}

/// Runs the commands of one block against `machine`.
fn run(machine: &mut Rebalance, commands: &str) -> String {
    let mut out = String::new();
    for line in commands.lines() {
        let event = event(line, machine);
        for e in machine.apply(event) {
            writeln!(out, "{}", effect(&e)).expect("text");
        }
    }
    let holdings: Vec<String> = machine
        .holdings
        .iter()
        .map(|(t, h)| {
            let name = format!("{h:?}");
            let name = name.split('(').next().unwrap_or_default().to_owned();
            format!("{t}:{name}")
        })
        .collect();
    writeln!(out, "= {}", holdings.join(" ")).expect("text");
    out
}

#[test]
fn scripts() {
    let text = std::fs::read_to_string(SCRIPT).expect("script");
    let mut machine = Rebalance::new("a".to_owned());
    let mut wrong = Vec::new();
    let mut fresh = String::new();
    for block in text.split("\n\n").map(str::trim).filter(|b| !b.is_empty()) {
        if block.starts_with('#') {
            machine = Rebalance::new("a".to_owned());
            writeln!(fresh, "{block}\n").expect("text");
            continue;
        }
        let (commands, expected) = block.split_once("\n----\n").unwrap_or((block, ""));
        let commands = commands.trim_end_matches("\n----");
        let got = run(&mut machine, commands);
        if got.trim() != expected.trim() {
            wrong.push(format!(
                "{commands}\n---- expected\n{expected}\n---- got\n{got}"
            ));
        }
        writeln!(fresh, "{commands}\n----\n{got}").expect("text");
    }
    if std::env::var_os("NYALA_REGENERATE").is_some() {
        std::fs::write(SCRIPT, fresh).expect("writable");
        return;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
