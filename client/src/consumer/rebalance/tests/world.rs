//! A member in a world where everything goes wrong in any order, and that comes to rest in the end.
//!
//! The world is what ZooKeeper keeps, what is under way, and what the application reads. Whatever
//! was deleted by hand meanwhile: when nobody disturbs it any more, the member is registered, and
//! reads exactly its share, under the claims that are there.

use proptest::prelude::*;

use super::*;

const PARTITIONS: i32 = 3;
/// So many answers are enough for everything to come to rest.
const PATIENCE: usize = 200;

struct World {
    machine: Rebalance,
    generation: u64,
    up: bool,
    zxid: i64,
    /// Owner znodes: creation, and whether it is this member's.
    owners: BTreeMap<TopicPartition, (i64, bool)>,
    registered: bool,
    other: bool,
    /// A list of members as it was read, and the last that was told.
    read: Option<Subscriptions>,
    told: Option<Subscriptions>,
    /// What was begun and not answered. A claim's watch stays there until it fires, even when its
    /// time is over.
    begun: Vec<Effect>,
    reading: BTreeMap<TopicPartition, FencingToken>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            machine: Rebalance::new("a".to_owned()),
            generation: 0,
            up: false,
            zxid: 0,
            owners: BTreeMap::new(),
            registered: false,
            other: false,
            read: None,
            told: None,
            begun: Vec::new(),
            reading: BTreeMap::new(),
        };
        world.apply(Event::Topics(topics(&[&format!("t:{PARTITIONS}")])));
        world.expire();
        world
    }

    fn apply(&mut self, event: Event) {
        let shown = format!("{event:?}");
        for effect in self.machine.apply(event) {
            match &effect {
                Effect::Start(target, token) => {
                    assert!(self.up, "{shown}: {effect:?} without a session");
                    let before = self.reading.insert(target.clone(), *token);
                    assert_eq!(before, None, "{shown}: {effect:?} while it is read");
                }
                Effect::Revoke(target) => drop(self.reading.remove(target)),
                Effect::Drop(target) => {
                    let read = self.reading.remove(target);
                    assert!(read.is_some(), "{shown}: {effect:?} of what is not read");
                    continue;
                }
                Effect::Unwatch(target) => {
                    let watch = Effect::Watch(target.clone());
                    let begun = self.begun.iter().position(|begun| *begun == watch);
                    self.begun.remove(begun.expect("it is watched"));
                    continue;
                }
                Effect::Claim(target) | Effect::Watch(target) | Effect::Release(target, _) => {
                    let read = self.reading.get(target);
                    assert_eq!(read, None, "{shown}: {effect:?} while it is read");
                }
                Effect::Register => {
                    let before = self.begun.contains(&effect);
                    assert!(!before, "{shown}: {effect:?} while one is under way");
                }
                Effect::Unregister => {}
            }
            self.begun.push(effect);
        }
        self.check_watches();
    }

    /// Owners are looked at for as long as they are waited for.
    fn check_watches(&self) {
        let watches = self.begun.iter();
        let watches = watches.filter(|begun| matches!(begun, Effect::Watch(_)));
        let holdings = self.machine.holdings.values();
        let waiting = holdings.filter(|holding| **holding == Holding::Waiting);
        assert_eq!(watches.count(), waiting.count(), "{:?}", self.machine);
    }

    /// Answers what was begun, if it is time; `false` if it is not.
    fn answer(&mut self, index: usize) -> bool {
        if self.begun.is_empty() {
            return false;
        }
        let index = index % self.begun.len();
        let generation = self.generation;
        let event = match self.begun[index].clone() {
            Effect::Register => {
                self.registered = true;
                Event::Registered { generation }
            }
            Effect::Claim(target) => {
                self.zxid += 1;
                let fresh = (self.zxid, true);
                match *self.owners.entry(target.clone()).or_insert(fresh) {
                    (czxid, true) => Event::Claimed {
                        generation,
                        target,
                        token: FencingToken(czxid),
                    },
                    (_, false) => Event::Busy { generation, target },
                }
            }
            Effect::Watch(target) if self.owners.contains_key(&target) => return false,
            Effect::Watch(target) => Event::OwnerGone { target },
            Effect::Start(target, token) => match self.owners.get(&target) {
                Some((czxid, _)) if *czxid == token.0 => return false,
                _ => Event::ClaimGone { target, token },
            },
            Effect::Revoke(target) => Event::LetGo { target },
            Effect::Release(target, token) => {
                self.owners
                    .retain(|owned, (czxid, _)| *owned != target || *czxid != token.0);
                Event::Released { generation, target }
            }
            Effect::Drop(_) | Effect::Unwatch(_) | Effect::Unregister => {
                unreachable!("not answered")
            }
        };
        self.begun.remove(index);
        self.apply(event);
        true
    }

    fn look_at_members(&mut self) {
        let present = [("a", self.registered), ("b", self.other)];
        let words = present.iter().filter(|(_, there)| *there);
        let words: Vec<String> = words.map(|(name, _)| format!("{name}:t")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.read = Some(members(&words));
    }

    /// As the driver, which is told only of what is other than before. `false`: it is not.
    fn tell_members(&mut self) -> bool {
        match self.read.take() {
            Some(read) if Some(&read) != self.told.as_ref() => self.told = Some(read),
            _ => return false,
        }
        self.tell_again();
        true
    }

    fn tell_again(&mut self) {
        if let Some(told) = self.told.clone() {
            self.apply(Event::Members(told));
        }
    }

    /// A new session: the ephemerals of the last are gone, and so is what was under way.
    fn expire(&mut self) {
        self.owners.retain(|_, (_, mine)| !*mine);
        self.registered = false;
        self.begun.clear();
        self.generation += 1;
        self.up = true;
        let generation = self.generation;
        self.apply(Event::SessionUp { generation });
    }

    fn session(&mut self, up: bool) {
        if self.up == up {
            return;
        }
        self.up = up;
        let generation = self.generation;
        self.apply(match up {
            true => Event::SessionUp { generation },
            false => Event::SessionDown,
        });
        assert!(up || self.reading.is_empty(), "read without a session");
    }

    fn step(&mut self, what: u8, which: u8) {
        let target = target(&format!("t-{}", i32::from(which) % PARTITIONS));
        match what {
            0 => drop(self.owners.remove(&target)),
            1 => {
                self.zxid += 1;
                self.owners.entry(target).or_insert((self.zxid, false));
            }
            2 => self.registered = false,
            3 => self.other = !self.other,
            4 => self.session(false),
            5 => self.session(true),
            6 => self.expire(),
            7 => self.look_at_members(),
            8 => drop(self.tell_members()),
            9 => self.tell_again(),
            _ => drop(self.answer(usize::from(which))),
        }
    }

    /// Everybody else is quiet, and lets go: answers until there is nothing left to answer.
    fn come_to_rest(&mut self) {
        self.session(true);
        self.owners.retain(|_, (_, mine)| *mine);
        for _ in 0..PATIENCE {
            self.look_at_members();
            let told = self.tell_members();
            let answered = (0..self.begun.len()).any(|index| self.answer(index));
            if !told && !answered && self.registered {
                return;
            }
            if !told && !answered {
                // The driver does so every minute.
                self.tell_again();
            }
        }
        panic!("no rest: {:?}, begun {:?}", self.machine, self.begun);
    }

    fn check(&self) {
        assert!(self.registered, "{:?}", self.machine);
        let mine = self.machine.mine();
        let read: BTreeSet<TopicPartition> = self.reading.keys().cloned().collect();
        assert_eq!(read, mine, "{:?}", self.machine);
        for (target, token) in &self.reading {
            assert_eq!(self.owners.get(target), Some(&(token.0, true)), "{target}");
        }
        assert_eq!(self.owners.len(), mine.len(), "nothing else is held");
    }
}

proptest! {
    #[test]
    fn whatever_is_deleted_by_hand_a_member_has_its_share_in_the_end(
        steps in prop::collection::vec((0_u8..20, any::<u8>()), 0..120),
    ) {
        let mut world = World::new();
        for (what, which) in steps {
            world.step(what, which);
        }
        world.come_to_rest();
        world.check();
    }
}
