//! The scheduler of a queue: stands by, owns the queue for a term, decides by `state.rs`.
//!
//! A term begins with the owner znode and ends with its session, at the lease's end at the latest, or with
//! the first failure: then all state is dropped and read again. `takeover.rs` reads it, `upkeep.rs` writes
//! checkpoints, trims and buries the dead. Nothing is told to anyone but through the log.

mod backlog;
mod letter;
mod takeover;
mod upkeep;

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use nyala_coordinator::clock;
use nyala_coordinator::registry::{RegistryError, paths};
use nyala_coordinator::session::{Acl, CreateMode, SessionState, ZkError};
use nyala_coordinator::watched::Watched;
use tokio::sync::watch;

use super::error::TaskError;
use super::event::{Event, Fence, Verdict, WorkerId};
use super::queue::Parts;
use super::state::{Decision, State};
use super::tail::{Batch, Following};
use super::task::{LANES, Submitted};
use super::topics::Topics;
use crate::producer::Ack;
use backlog::Backlog;
use upkeep::Upkeep;

pub(super) use letter::{DEAD, dead_place, is_referred};

/// Pause before a failed term is followed by the next try.
const RETRY: Duration = Duration::from_millis(200);
/// The owner is looked at this often even if no watch fires.
const OWNER_CHECK: Duration = Duration::from_secs(5);
/// Batches that are taken in before the next decisions.
const BATCHES_MAX: usize = 16;
/// Decisions that may wait for their ack.
const UNACKED_MAX: usize = 50_000;
/// Longest sleep without a look at the state.
const LOOK: Duration = Duration::from_secs(1);
/// And the shortest.
const LOOK_MIN: Duration = Duration::from_millis(1);

type Members = BTreeMap<WorkerId, usize>;

/// Stands by and schedules, until it is aborted.
pub(super) async fn run(parts: Parts) {
    let me = format!("scheduler-{:016x}", rand::random::<u64>());
    loop {
        let ended = match claim(&parts, &me).await {
            Ok(Some(fence)) => {
                let ended = term(&parts, &me, fence).await;
                leave(&parts, &me).await;
                ended
            }
            Ok(None) => {
                owner_gone(&parts).await;
                continue;
            }
            Err(error) => Err(error),
        };
        if let Err(error @ (TaskError::Fenced { .. } | TaskError::Remade { .. })) = &ended {
            tracing::warn!(queue = parts.topics.queue, %error, "this scheduler's term has ended");
        } else if let Err(error) = ended {
            tracing::debug!(queue = parts.topics.queue, %error, "no scheduler here for now");
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn at(path: &str) -> impl FnOnce(ZkError) -> TaskError + '_ {
    move |source| {
        let path = path.to_owned();
        RegistryError::Zk { path, source }.into()
    }
}

/// Owns the queue if nobody else does.
async fn claim(parts: &Parts, me: &str) -> Result<Option<Fence>, TaskError> {
    let (group, events) = (parts.topics.group(), Topics::log(&parts.topics.events));
    let (path, session) = (paths::group_owner(&group, &events), parts.session());
    loop {
        let mode = CreateMode::Ephemeral;
        match session
            .create(&path, me.as_bytes(), mode, Acl::Default)
            .await
        {
            Ok(created) => return Ok(Some(Fence(created.stat.czxid))),
            Err(ZkError::NodeExists) => {}
            // It may be there now.
            Err(ZkError::Unknown) => continue,
            Err(ZkError::NoNode) => {
                let parent = paths::group_topic_owners(&group, &events.topic);
                session.ensure_path(&parent).await.map_err(at(&parent))?;
                continue;
            }
            Err(error) => return Err(at(&path)(error)),
        }
        let node = session.get_if_exists(&path).await.map_err(at(&path))?;
        if let Some(node) = node {
            let ours = Some(node.stat.ephemeral_owner) == session.session_id();
            let ours = ours && node.data == me.as_bytes();
            return Ok(ours.then_some(Fence(node.stat.czxid)));
        }
    }
}

async fn owner_gone(parts: &Parts) {
    let (group, events) = (parts.topics.group(), Topics::log(&parts.topics.events));
    match parts.registry.partition_owner(&group, &events).await {
        Ok((None, _)) => {}
        Ok((Some(_), gone)) => {
            // The watch is a hint; either way the owner is looked at again.
            let _ = tokio::time::timeout(OWNER_CHECK, gone.changed()).await;
        }
        Err(_) => tokio::time::sleep(RETRY).await,
    }
}

/// Gives the queue back, as far as it is still this session's.
async fn leave(parts: &Parts, me: &str) {
    let (group, events) = (parts.topics.group(), Topics::log(&parts.topics.events));
    let released = parts.registry.release_partition(&group, &events, me).await;
    let left = parts.registry.leave_group(&group, me).await;
    if let Err(error) = released.and(left) {
        tracing::debug!(%error, "the owner's znode goes with its session");
    }
}

async fn watch_members(parts: &Parts) -> Result<Watched<Members>, TaskError> {
    let (registry, group) = (parts.registry.clone(), parts.topics.group());
    let topic = Arc::new(parts.topics.events.as_str().to_owned());
    let watched = Watched::start(move || {
        let (registry, group, topic) = (registry.clone(), group.clone(), Arc::clone(&topic));
        async move {
            let (members, watch) = registry.group_members(&group).await?;
            let each = members.into_iter().map(|member| {
                let capacity = member.subscription.get(topic.as_str()).copied();
                let capacity = usize::try_from(capacity.unwrap_or(0)).unwrap_or(0);
                (WorkerId::from(member.id), capacity)
            });
            Ok::<_, RegistryError>((each.collect(), watch))
        }
    });
    Ok(watched.await?)
}

/// One term. Ends with an error only: of this side, or that the queue is another's.
struct Term {
    parts: Parts,
    fence: Fence,
    generation: u64,
    state: State,
    events: Following,
    /// Next event to apply.
    applied: i64,
    lanes: Vec<Following>,
    /// Until it has been read.
    backlog: Option<Backlog>,
    /// Of decisions, in the order of the log.
    acks: VecDeque<Ack>,
    upkeep: Upkeep,
}

async fn term(parts: &Parts, me: &str, fence: Fence) -> Result<(), TaskError> {
    let generation = parts.session().state().generation();
    // Another one of this name is this term's proof to ZooKeeper that its session lives.
    let group = parts.topics.group();
    let nothing = BTreeMap::new();
    parts.registry.join_group(&group, me, &nothing).await?;
    let members = watch_members(parts).await?;
    let mut current = members.subscribe();
    let mut term = takeover::take_over(parts, me, fence, generation).await?;
    tracing::debug!(
        queue = parts.topics.queue,
        fence = term.fence.0,
        open = term.state.open_count(),
        "scheduling"
    );
    loop {
        term.check()?;
        let now_members = current.borrow_and_update().clone();
        term.state.set_members(now_members);
        term.decide().await?;
        term.upkeep.look_after(&term.state, term.applied).await?;
        term.wait(&mut current).await?;
    }
}

/// Whether the session of that generation certainly lives.
fn lives(parts: &Parts, generation: u64) -> Result<(), TaskError> {
    let session = parts.session();
    // The lease first: once a later session has renewed it, the state cannot be this one's.
    let holds = session.lease().holds();
    let same = match session.state() {
        SessionState::Lost { .. } => false,
        state => state.generation() == generation,
    };
    match holds && same {
        true => Ok(()),
        false => Err(TaskError::SessionLost),
    }
}

impl Term {
    /// Whether the queue is certainly still this one's.
    fn check(&mut self) -> Result<(), TaskError> {
        let theirs = self.state.fence();
        if theirs > self.fence {
            return Err(TaskError::Fenced {
                ours: self.fence.0,
                theirs: theirs.0,
            });
        }
        let topics = &self.parts.topics;
        if !self.state.set_topic(topics.tasks_id(&self.parts.cluster)) {
            let topic = topics.tasks.clone();
            return Err(TaskError::Remade { topic });
        }
        lives(&self.parts, self.generation)
    }

    async fn decide(&mut self) -> Result<(), TaskError> {
        if self.acks.len() >= UNACKED_MAX {
            return Ok(());
        }
        if let Some(backlog) = &self.backlog {
            if !backlog.is_known(&self.state, clock::now()) {
                return Ok(());
            }
            self.backlog = None;
        }
        for decision in self.state.decide(clock::wall_ms()) {
            self.carry_out(decision).await?;
        }
        Ok(())
    }

    async fn carry_out(&mut self, decision: Decision) -> Result<(), TaskError> {
        if let Verdict::Dead { .. } = decision.verdict {
            self.upkeep.bury(decision);
            return Ok(());
        }
        let ack = self.parts.append(decision.event(self.fence)).await?;
        self.acks.push_back(ack);
        Ok(())
    }

    /// Waits until there may be something to decide, and takes it in.
    async fn wait(&mut self, members: &mut watch::Receiver<Members>) -> Result<(), TaskError> {
        let lease_end = self.parts.session().lease().until();
        let sleep = self.sleep();
        let Self {
            events,
            lanes,
            state,
            acks,
            upkeep,
            ..
        } = self;
        let batch = tokio::select! {
            batch = events.next() => Some((None, batch?)),
            (lane, batch) = next_of(lanes, state) => Some((Some(lane), batch?)),
            _ = members.changed() => None,
            settled = first(acks) => {
                settled?;
                None
            }
            done = upkeep.next() => {
                done?;
                None
            }
            () = tokio::time::sleep(sleep) => None,
            () = tokio::time::sleep_until(lease_end.into()) => None,
        };
        self.settle()?;
        let Some((lane, batch)) = batch else {
            return Ok(());
        };
        self.take_in(lane, batch);
        // What has come by now goes into the same round.
        for _ in 0..BATCHES_MAX {
            let next = match self.events.next().now_or_never() {
                Some(batch) => (None, batch?),
                None => match next_of(&mut self.lanes, &self.state).now_or_never() {
                    Some((lane, batch)) => (Some(lane), batch?),
                    None => break,
                },
            };
            self.take_in(next.0, next.1);
        }
        Ok(())
    }

    fn sleep(&self) -> Duration {
        let until = |ms: i64| {
            let left = ms.saturating_sub(clock::wall_ms());
            Duration::from_millis(u64::try_from(left).unwrap_or(0))
        };
        self.state
            .next_deadline_ms()
            .map_or(LOOK, |ms| until(ms).clamp(LOOK_MIN, LOOK))
    }

    fn take_in(&mut self, lane: Option<usize>, batch: Batch) {
        if let Some(lane) = lane {
            for record in &batch.records {
                if let Some(task) = Submitted::read(record) {
                    self.state.submitted(task);
                }
            }
            self.state.raise_position(lane, batch.next_offset);
            return;
        }
        let now_ms = clock::wall_ms();
        self.upkeep.count(batch.records.len());
        for record in &batch.records {
            if let Some(event) = Event::read(record) {
                self.state.apply(event, now_ms);
            }
        }
        self.applied = batch.next_offset;
    }

    /// Takes off the acks that are there; a decision that was refused ends the term.
    fn settle(&mut self) -> Result<(), TaskError> {
        while let Some(ack) = self.acks.front_mut() {
            let Some(settled) = ack.now_or_never() else {
                return Ok(());
            };
            self.acks.pop_front();
            settled?;
        }
        Ok(())
    }
}

/// Waits for the first of `acks` to settle, and takes it off.
async fn first(acks: &mut VecDeque<Ack>) -> Result<(), TaskError> {
    let Some(ack) = acks.front_mut() else {
        return std::future::pending().await;
    };
    let settled = ack.await;
    acks.pop_front();
    settled?;
    Ok(())
}

/// The next batch of any lane that there is room for.
async fn next_of(lanes: &mut [Following], state: &State) -> (usize, Result<Batch, TaskError>) {
    poll_fn(|cx| {
        for (lane, reader) in lanes.iter_mut().enumerate().rev() {
            if state.has_room(lane)
                && let Poll::Ready(batch) = reader.poll_next(cx)
            {
                return Poll::Ready((lane, batch));
            }
        }
        Poll::Pending
    })
    .await
}

const _: () = assert!(LANES == 11, "ten priorities and one lane for later");
