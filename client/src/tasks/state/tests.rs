//! Simulated histories: workers that die, wake late and report twice, schedulers that crash between two
//! decisions and go on deciding after they were replaced, checkpoints at any moment.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::super::checkpoint::{Gathering, Part};
use super::super::event::{Event, Fence, Report, Stored, Verdict, WorkerId};
use super::super::task::{LANES, LATER, Options, Place, Submitted, TaskId};
use super::super::view::{TaskState, View};
use super::{Decision, State};

fn id(text: &str) -> TaskId {
    TaskId::new(text).expect("legal")
}

fn task(lane: i32, offset: i64, name: &str, options: Options) -> Submitted {
    Submitted {
        place: Place { lane, offset },
        id: id(name),
        options,
        payload: Bytes::copy_from_slice(name.as_bytes()),
        at_ms: 0,
    }
}

fn members(all: &[(&str, usize)]) -> BTreeMap<WorkerId, usize> {
    all.iter().map(|(w, n)| (WorkerId::from(*w), *n)).collect()
}

fn report(of: &Decision, report: Report) -> Event {
    Event::Reported {
        place: of.place,
        id: of.id.clone(),
        attempt: of.attempt,
        worker: "w".into(),
        report,
    }
}

fn failed(fatal: bool) -> Report {
    let error = "no".into();
    Report::Failed { error, fatal }
}

/// What was decided, in short.
fn words(decisions: &[Decision]) -> Vec<String> {
    let word = |d: &Decision| match &d.verdict {
        Verdict::Assigned { worker, .. } => format!("{} to {worker} #{}", d.id, d.attempt),
        Verdict::Lost => format!("{} lost", d.id),
        Verdict::Retry { due_ms } => format!("{} again at {due_ms}", d.id),
        Verdict::Dead { error } => format!("{} dead: {}", d.id, String::from_utf8_lossy(error)),
        Verdict::Duplicate => format!("{} duplicate", d.id),
    };
    decisions.iter().map(word).collect()
}

#[test]
fn only_free_workers_get_tasks_and_priorities_go_first() {
    let mut state = State::default();
    for (offset, name) in (0..).zip(["a", "b", "c"]) {
        state.submitted(task(5, offset, name, Options::default()));
    }
    let high = Options {
        priority: 9,
        ..Options::default()
    };
    state.submitted(task(9, 0, "high", high));
    assert_eq!(words(&state.decide(0)), Vec::<String>::new());
    state.set_members(members(&[("v", 1), ("w", 2)]));
    let given = state.decide(0);
    assert_eq!(words(&given), ["high to w #1", "a to w #1", "b to v #1"]);
    assert!(state.decide(0).is_empty(), "nobody is free");
    state.apply(report(&given[1], Report::Done(Stored::At(0))), 0);
    assert_eq!(words(&state.decide(0)), ["c to w #1"]);
}

#[test]
fn failures_are_tried_again_with_growing_pauses_then_given_up() {
    let mut state = State::default();
    let options = Options {
        retries: 2,
        backoff_ms: 100,
        ..Options::default()
    };
    state.submitted(task(5, 0, "t", options));
    state.set_members(members(&[("w", 1)]));
    let mut now = 0;
    for (attempt, pause) in [(1, 100), (2, 200)] {
        let given = state.decide(now);
        assert_eq!(words(&given), [format!("t to w #{attempt}")]);
        state.apply(report(&given[0], failed(false)), now);
        let again = state.decide(now);
        assert_eq!(words(&again), [format!("t again at {}", now + pause)]);
        assert_eq!(state.next_deadline_ms(), Some(now + pause));
        assert!(state.decide(now + pause - 1).is_empty());
        now += pause;
    }
    let given = state.decide(now);
    state.apply(report(&given[0], failed(false)), now);
    let dead = state.decide(now);
    assert_eq!(words(&dead), ["t dead: no"]);
    // It stays until the log says so: a checkpoint in between must not forget it.
    assert_eq!(state.open_count(), 1);
    let restored = State::from_checkpoint(&state.checkpoint(0, None)).decide(now);
    assert_eq!(words(&restored), ["t dead: no"]);
    state.apply(dead[0].clone().event(Fence(0)), now);
    assert_eq!(state.open_count(), 0);
}

#[test]
fn an_assignment_with_a_number_far_ahead_is_nobodys() {
    let mut state = State::default();
    state.submitted(task(5, 0, "t", Options::default()));
    state.set_members(members(&[("w", 1)]));
    let foreign = Decision {
        place: Place { lane: 5, offset: 0 },
        id: id("t"),
        attempt: u32::MAX,
        verdict: Verdict::Assigned {
            worker: "ghost".into(),
            lease_ms: 1,
            payload: None,
        },
    };
    state.apply(foreign.event(Fence(7)), 0);
    let given = state.decide(0);
    assert_eq!(words(&given), ["t to w #1"]);
    assert!(state.decide(0).is_empty(), "it is given once");
    state.apply(report(&given[0], Report::Done(Stored::At(0))), 0);
    assert_eq!(state.open_count(), 0);
}

#[test]
fn a_rejected_task_is_given_up_at_once() {
    let mut state = State::default();
    state.submitted(task(5, 0, "t", Options::default()));
    state.set_members(members(&[("w", 1)]));
    let given = state.decide(0);
    state.apply(report(&given[0], failed(true)), 0);
    assert_eq!(words(&state.decide(0)), ["t dead: no"]);
}

#[test]
fn a_dead_workers_tasks_go_to_the_others_first_of_all() {
    let mut state = State::default();
    state.submitted(task(5, 0, "a", Options::default()));
    state.submitted(task(5, 1, "b", Options::default()));
    state.set_members(members(&[("v", 1)]));
    let given = state.decide(0);
    state.set_members(members(&[("w", 1)]));
    assert_eq!(words(&state.decide(0)), ["a lost", "a to w #2"]);
    // The first result counts, whichever attempt it comes from; the other one changes nothing.
    state.apply(report(&given[0], Report::Done(Stored::At(0))), 0);
    assert_eq!(words(&state.decide(0)), ["b to w #1"]);
    state.apply(report(&given[0], Report::Done(Stored::At(1))), 0);
    state.apply(report(&given[0], failed(false)), 0);
    assert_eq!(state.open_count(), 1);
}

#[test]
fn a_task_that_takes_its_workers_with_it_is_given_up() {
    let mut state = State::default();
    state.submitted(task(5, 0, "t", Options::default()));
    let mut last = Vec::new();
    for round in 0..20 {
        state.set_members(members(&[(&format!("w{round}"), 1)]));
        last = words(&state.decide(0));
        if last.len() == 1 && round > 0 {
            break;
        }
    }
    assert_eq!(
        last,
        ["t dead: given up: 11 times its worker was lost or its lease ran out"]
    );
}

#[test]
fn a_lease_ends_without_progress_and_is_renewed_by_it() {
    let mut state = State::default();
    let options = Options {
        lease_ms: 1000,
        ..Options::default()
    };
    state.submitted(task(5, 0, "t", options));
    state.set_members(members(&[("w", 1)]));
    let given = state.decide(0);
    assert_eq!(state.next_deadline_ms(), None, "it has not begun");
    state.apply(report(&given[0], Report::Started), 10_000);
    state.apply(report(&given[0], Report::Progress("1".into())), 10_900);
    assert!(state.decide(16_899).is_empty());
    assert_eq!(words(&state.decide(16_900)), ["t lost", "t to w #2"]);
}

#[test]
fn tasks_for_later_wait_for_their_time() {
    let mut state = State::default();
    let options = Options {
        due_ms: 500,
        ..Options::default()
    };
    state.submitted(task(LATER, 0, "t", options));
    state.set_members(members(&[("w", 1)]));
    assert!(state.decide(499).is_empty());
    assert_eq!(state.next_deadline_ms(), Some(500));
    let given = state.decide(500);
    assert_eq!(words(&given), ["t to w #1"]);
    let Verdict::Assigned { payload, .. } = &given[0].verdict else {
        panic!("{given:?}");
    };
    assert_eq!(*payload, None, "it stayed in the log");
}

#[test]
fn an_id_of_the_submitters_choice_runs_once() {
    let mut state = State::default();
    let unique = Options {
        unique: true,
        ..Options::default()
    };
    for offset in 0..3 {
        state.submitted(task(5, offset, "t", unique.clone()));
    }
    state.set_members(members(&[("w", 2)]));
    let given = state.decide(0);
    assert_eq!(words(&given), ["t to w #1", "t duplicate", "t duplicate"]);
    state.apply(report(&given[0], Report::Done(Stored::At(0))), 0);
    state.submitted(task(5, 3, "t", unique.clone()));
    assert_eq!(words(&state.decide(0)), ["t duplicate"], "done before");
    let redriven = Options {
        redriven: true,
        ..unique
    };
    state.submitted(task(5, 4, "t", redriven));
    assert_eq!(words(&state.decide(0)), ["t to w #1"]);
}

#[test]
fn memory_holds_a_window_of_each_lane() {
    let mut state = State::default();
    let mut offset = 0;
    while state.has_room(5) {
        state.submitted(task(5, offset, "t", Options::default()));
        offset += 1;
    }
    assert_eq!(offset, 10_000);
    assert!(state.has_room(6) && state.has_room(10));
    let parts = state.checkpoint(7, None);
    assert_eq!(parts[0].positions[5], 0, "they are read again");
    assert!(parts[0].lines.is_empty(), "what is fresh is not listed");
    state.set_members(members(&[("w", 3)]));
    state.decide(0);
    let parts = state.checkpoint(7, None);
    assert_eq!(parts[0].positions[5], 3);
    assert_eq!(parts[0].read_lines().count(), 3);
}

/// A scheduler, live or replaced.
struct Scheduler {
    state: State,
    fence: Fence,
    read: usize,
}

#[derive(Default)]
struct Worker {
    read: usize,
    fence: Fence,
    held: Vec<(Place, TaskId, u32)>,
}

/// A queue with everything in it, driven by dice.
struct World {
    dice: SmallRng,
    now: i64,
    lanes: [Vec<Submitted>; LANES],
    log: Vec<Event>,
    live: Scheduler,
    replaced: Vec<Scheduler>,
    workers: BTreeMap<WorkerId, Worker>,
    /// Workers whose sessions have ended, who do not know it.
    ghosts: Vec<(WorkerId, Worker)>,
    /// Where the last whole checkpoint begins.
    /// Of the last owner's znode.
    czxid: i64,
    pointer: Option<usize>,
    submitted: BTreeSet<TaskId>,
    serial: i64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            dice: SmallRng::seed_from_u64(seed),
            now: 1,
            lanes: Default::default(),
            log: Vec::new(),
            live: Scheduler {
                state: State::default(),
                fence: Fence(0),
                read: 0,
            },
            replaced: Vec::new(),
            workers: BTreeMap::new(),
            ghosts: Vec::new(),
            pointer: None,
            czxid: 0,
            submitted: BTreeSet::new(),
            serial: 0,
        };
        world.take_over();
        world.replaced.clear();
        world
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.dice.random_range(0..100) < percent
    }

    fn submit(&mut self) {
        self.serial += 1;
        let unique = self.chance(20);
        let name = match (unique, self.chance(10)) {
            (true, _) => format!("unique-{}", self.dice.random_range(0..30)),
            (_, true) => format!("bad-{}", self.serial),
            _ => format!("task-{}", self.serial),
        };
        let priority = self.dice.random_range(3..6_u8);
        let later = self.chance(15);
        let lane = if later { LATER } else { i32::from(priority) };
        let all = &mut self.lanes[usize::try_from(lane).expect("small")];
        let offset = i64::try_from(all.len()).expect("few");
        let options = Options {
            priority,
            due_ms: if later { self.now + 50 } else { 0 },
            backoff_ms: 5,
            lease_ms: 100,
            unique,
            ..Options::default()
        };
        self.submitted.insert(id(&name));
        all.push(Submitted {
            at_ms: self.now,
            ..task(lane, offset, &name, options)
        });
    }

    /// As `scheduler/takeover.rs` does it.
    fn replay(&self, pointer: Option<usize>) -> State {
        let mut state = State::default();
        let mut from = 0;
        if let Some(pointer) = pointer {
            let mut gathering = Gathering::default();
            let mut parts: Option<Vec<Part>> = None;
            for event in &self.log[pointer..] {
                if let Event::Checkpoint(fence, part) = event
                    && parts.is_none()
                {
                    parts = gathering.add(*fence, part.clone());
                }
            }
            let parts = parts.expect("whole");
            from = usize::try_from(parts[0].from).expect("an index");
            state = State::from_checkpoint(&parts);
            let Event::Checkpoint(fence, _) = &self.log[pointer] else {
                panic!("no checkpoint");
            };
            state.apply(Event::Elected(*fence), 0);
        }
        let mut ends = [0; LANES];
        for event in &self.log[from..] {
            if let Event::Decided { place, .. } | Event::Reported { place, .. } = event {
                let end = &mut ends[place.index()];
                *end = (*end).max(place.offset + 1);
            }
        }
        for (lane, end) in ends.into_iter().enumerate() {
            let start = usize::try_from(state.position(lane)).expect("an index");
            let end = usize::try_from(end).expect("an index");
            for task in self.lanes[lane].iter().take(end).skip(start) {
                state.submitted(task.clone());
            }
        }
        for event in &self.log[from..] {
            state.apply(event.clone(), self.now);
        }
        state
    }

    fn take_over(&mut self) {
        self.czxid += 10;
        if self.chance(20) {
            // On another ZooKeeper, where all begins anew.
            self.czxid = 1;
        }
        let mut fence = Fence(self.czxid);
        loop {
            let known = self.replay(self.pointer).fence();
            self.log.push(Event::Elected(fence));
            if known < fence {
                break;
            }
            fence = known.next().expect("room for more");
        }
        let state = self.replay(self.pointer);
        assert_eq!(state.fence(), fence);
        let read = self.log.len();
        let old = std::mem::replace(&mut self.live, Scheduler { state, fence, read });
        self.replaced.push(old);
    }

    fn schedule(&mut self) {
        let unread = self.log.len() - self.live.read;
        for event in self.log[self.live.read..self.live.read + unread].iter() {
            self.live.state.apply(event.clone(), self.now);
        }
        self.live.read += unread;
        for (lane, all) in self.lanes.iter().enumerate() {
            let next = usize::try_from(self.live.state.position(lane)).expect("an index");
            for task in all.iter().skip(next).take(7) {
                self.live.state.submitted(task.clone());
            }
        }
        let members = self.workers.keys().map(|w| (w.clone(), 3)).collect();
        self.live.state.set_members(members);
        let decisions = self.live.state.decide(self.now);
        let crash = !decisions.is_empty() && self.chance(5);
        let kept = match crash {
            true => self.dice.random_range(0..decisions.len()),
            false => decisions.len(),
        };
        let fence = self.live.fence;
        let events = decisions.into_iter().take(kept).map(|d| d.event(fence));
        self.log.extend(events);
        if crash {
            return self.take_over();
        }
        if self.chance(5) {
            let from = i64::try_from(self.live.read).expect("an index");
            let pointer = self.log.len();
            let parts = self.live.state.checkpoint(from, None);
            let parts = parts.into_iter().map(|p| Event::Checkpoint(fence, p));
            self.log.extend(parts);
            self.pointer = Some(pointer);
        }
    }

    /// One that was replaced decides on what it knew.
    fn haunt(&mut self) {
        if let Some(mut old) = self.replaced.pop() {
            old.state.set_members(members(&[("nobody", 5)]));
            let fence = old.fence;
            let decisions = old.state.decide(self.now + 1000);
            self.log
                .extend(decisions.into_iter().map(|d| d.event(fence)));
        }
    }

    fn work(&mut self, name: &WorkerId, mut worker: Worker) -> Worker {
        for event in &self.log[worker.read..] {
            match event {
                Event::Elected(fence) => worker.fence = worker.fence.max(*fence),
                Event::Decided {
                    fence,
                    place,
                    id,
                    attempt,
                    verdict: Verdict::Assigned { worker: to, .. },
                } if *fence >= worker.fence && to == name => {
                    worker.held.push((*place, id.clone(), *attempt));
                }
                _ => {}
            }
        }
        worker.read = self.log.len();
        while !worker.held.is_empty() && self.chance(70) {
            let at = self.dice.random_range(0..worker.held.len());
            let (place, id, attempt) = worker.held[at].clone();
            let report = match self.dice.random_range(0..20) {
                _ if id.as_str().starts_with("bad") => failed(false),
                0 | 1 => failed(false),
                2 => Report::Returned,
                3 => Report::Started,
                4 => Report::Progress("half".into()),
                _ => Report::Done(Stored::Inline(name.to_string().into())),
            };
            if !matches!(report, Report::Started | Report::Progress(_)) {
                worker.held.remove(at);
            }
            let worker = name.clone();
            self.log.push(Event::Reported {
                place,
                id,
                attempt,
                worker,
                report,
            });
        }
        worker
    }

    fn step(&mut self, faults: bool) {
        self.now += self.dice.random_range(0..10_i64);
        if faults && self.chance(60) {
            self.submit();
        }
        if (faults && self.chance(10)) || self.workers.len() < 2 {
            self.serial += 1;
            let worker = Worker {
                read: self.log.len(),
                ..Worker::default()
            };
            self.workers
                .insert(format!("w{}", self.serial).into(), worker);
        }
        self.schedule();
        let names: Vec<WorkerId> = self.workers.keys().cloned().collect();
        for name in names {
            if let Some(worker) = self.workers.remove(&name) {
                let worker = self.work(&name, worker);
                if faults && self.chance(4) {
                    self.ghosts.push((name, worker));
                } else {
                    self.workers.insert(name, worker);
                }
            }
        }
        if self.chance(10)
            && let Some((name, ghost)) = self.ghosts.pop()
        {
            self.work(&name, ghost);
        }
        if faults && self.chance(2) {
            self.take_over();
        }
        if self.chance(5) {
            self.haunt();
        }
    }

    fn is_quiet(&self) -> bool {
        let read = |(lane, all): (usize, &Vec<Submitted>)| {
            usize::try_from(self.live.state.position(lane)).is_ok_and(|p| p == all.len())
        };
        self.live.state.open_count() == 0 && self.lanes.iter().enumerate().all(read)
    }

    fn view(&self, from: usize) -> BTreeMap<TaskId, TaskState> {
        let mut view = View::new(None, from > 0);
        for event in &self.log[from..] {
            view.event(event.clone(), 0);
        }
        for task in self.lanes.iter().flatten() {
            view.submitted(task.clone());
        }
        let found = view.finish();
        let states: BTreeMap<TaskId, TaskState> =
            found.iter().map(|t| (t.id.clone(), t.state)).collect();
        assert_eq!(states.len(), found.len(), "an id is listed once");
        states
    }

    /// The attempts that took effect, and the ends that did.
    fn check_events(&self) {
        let (mut fence, mut given, mut ended) = (Fence(0), BTreeSet::new(), BTreeSet::new());
        for event in &self.log {
            match event {
                Event::Elected(f) => fence = fence.max(*f),
                Event::Decided { fence: f, .. } if *f < fence => {}
                Event::Decided {
                    place,
                    attempt,
                    verdict,
                    ..
                } => {
                    let known = ended.contains(place);
                    match verdict {
                        Verdict::Assigned { .. } => {
                            assert!(given.insert((*place, *attempt)), "{event:?} twice");
                        }
                        Verdict::Dead { .. } if !known => {
                            ended.insert(*place);
                        }
                        _ => {}
                    }
                }
                Event::Reported {
                    place,
                    report: Report::Done(_),
                    ..
                } => {
                    ended.insert(*place);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn every_task_has_one_end_through_crashes_of_everyone() {
    for seed in 0..150 {
        let mut world = World::new(seed);
        for _ in 0..300 {
            world.step(true);
        }
        let mut rounds = 0;
        while !world.is_quiet() {
            world.step(false);
            rounds += 1;
            assert!(
                rounds < 3000,
                "seed {seed}: {} open",
                world.live.state.open_count()
            );
        }
        world.check_events();
        let states = world.view(0);
        let listed: BTreeSet<TaskId> = states.keys().cloned().collect();
        assert_eq!(listed, world.submitted, "seed {seed}: none is lost");
        for (id, state) in &states {
            assert!(state.is_final(), "seed {seed}: {id} is {state:?}");
            let bad = id.as_str().starts_with("bad");
            assert!(
                !bad || *state == TaskState::Dead,
                "seed {seed}: {id} {state:?}"
            );
        }
        // Whoever reads the log from its beginning, or from the last checkpoint, sees nothing open.
        for pointer in [None, world.pointer] {
            let state = world.replay(pointer);
            assert_eq!(state.open_count(), 0, "seed {seed}, from {pointer:?}");
        }
        // A trimmed log lists less, but nothing wrong.
        if let Some(Event::Checkpoint(_, part)) = world.pointer.map(|p| &world.log[p]) {
            let trimmed = world.view(usize::try_from(part.from).expect("an index"));
            for (id, state) in trimmed {
                assert_eq!(Some(&state), states.get(&id), "seed {seed}: {id}");
            }
        }
    }
}

#[test]
fn a_topic_made_anew_is_read_from_its_beginning_and_old_events_mean_nothing() {
    let topic = |n| Some(nyala_coordinator::ids::TopicId([n; 16]));
    let mut state = State::default();
    assert!(state.set_topic(topic(1)));
    for (offset, name) in (0..).zip(["a", "b", "c"]) {
        state.submitted(task(5, offset, name, Options::default()));
    }
    state.set_members(members(&[("w", 2)]));
    let given = state.decide(0);
    assert_eq!(words(&given), ["a to w #1", "b to w #1"]);
    let mut state = State::from_checkpoint(&state.checkpoint(9, None));
    assert!(state.set_topic(None), "what is not known says nothing");
    assert!(!state.set_topic(topic(2)));
    state.start_over();
    assert_eq!((state.open_count(), state.position(5)), (0, 0));
    assert!(state.set_topic(topic(2)));
    state.submitted(task(5, 0, "new", Options::default()));
    // What a worker says of the task that was there before.
    state.apply(report(&given[0], Report::Done(Stored::At(0))), 0);
    state.apply(given[0].clone().event(Fence(0)), 0);
    state.set_members(members(&[("w", 2)]));
    assert_eq!(words(&state.decide(0)), ["new to w #1"]);
}
