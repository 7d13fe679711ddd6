//! Takes ready batches to the brokers that lead their partitions, and answers back to the acks.
//!
//! One task owns all lanes and decides alone what goes out next, so nothing here is locked but the
//! batcher. Up to `max.in.flight` requests a broker are out; each carries at most one batch of a
//! partition. The sends of one connection happen in this task, in order; only the waiting for
//! answers is concurrent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use nyala_coordinator::clock;
use nyala_coordinator::ids::{BrokerId, TopicPartition};

use super::Shared;
use super::ack::Placed;
use super::batcher::Batch;
use super::lane::{Lane, Numbered, Stamp};
use super::request::{self, Verdict};
use crate::cluster::{Purpose, Topology};
use crate::config::Acks;
use crate::connection::Connection;
use crate::error::{ClusterError, ConnectionError, SendError};
use crate::wire::ErrorCode;
use crate::wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::wire::messages::produce::{ProduceRequest, ProduceResponse};

/// Delivery timeouts are looked for this often.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(500);

/// The way to one broker.
#[derive(Debug, Default)]
struct Line {
    connection: Option<Connection>,
    connecting: bool,
    in_flight: usize,
}

#[derive(Debug)]
enum Event {
    Connected(BrokerId, Result<Connection, ClusterError>),
    Answered(
        BrokerId,
        Vec<Numbered>,
        Result<ProduceResponse, ConnectionError>,
    ),
    Stamped(Result<InitProducerIdResponse, ClusterError>),
}

/// The sender's task.
pub(super) struct Sender {
    shared: Arc<Shared>,
    lanes: HashMap<TopicPartition, Lane>,
    lines: HashMap<BrokerId, Line>,
    events: FuturesUnordered<BoxFuture<'static, Event>>,
    stamp: Option<Stamp>,
    stamping: bool,
    /// A lane waits for something that only time can bring.
    blocked: bool,
    expire_at: Instant,
    /// The last reason why something did not go out.
    failure: String,
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            lanes: HashMap::new(),
            lines: HashMap::new(),
            events: FuturesUnordered::new(),
            stamp: None,
            stamping: false,
            blocked: false,
            expire_at: clock::now() + EXPIRY_INTERVAL,
            failure: "it was never sent".to_owned(),
        }
    }

    /// Runs until it is aborted, with the last handle of the producer.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut topology = shared.cluster.subscribe();
        loop {
            let now = clock::now();
            if now >= self.expire_at {
                self.expire(now);
            }
            self.dispatch(&topology.borrow_and_update().clone(), now);
            let deadline = self.deadline();
            tokio::select! {
                () = shared.wake.notified() => {}
                Some(event) = self.events.next() => self.handle(event),
                Ok(()) = topology.changed() => {}
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
        }
    }

    fn deadline(&self) -> Instant {
        let linger = self.shared.gathering.lock().batcher.next_linger_end();
        // What is ready but blocked is not a reason to spin: its linger end has passed.
        let linger = linger.filter(|at| *at > clock::now());
        let resume = self.lanes.values().filter_map(Lane::resume_at).min();
        let retry = (self.blocked).then(|| clock::now() + self.shared.config.retry_backoff);
        let resume = resume.filter(|at| *at > clock::now());
        let all = [linger, resume, retry].into_iter().flatten();
        all.min().unwrap_or(self.expire_at).min(self.expire_at)
    }

    fn dispatch(&mut self, topology: &Topology, now: Instant) {
        self.blocked = false;
        let mut candidates = self.shared.gathering.lock().batcher.ready(now);
        let waiting = self.lanes.iter().filter(|(_, lane)| lane.has_waiting());
        candidates.extend(waiting.map(|(target, _)| target.clone()));
        candidates.sort_unstable();
        candidates.dedup();

        let mut by_leader: BTreeMap<BrokerId, Vec<TopicPartition>> = BTreeMap::new();
        for target in candidates {
            match topology.leader(&target.topic, target.partition) {
                Some(leader) => by_leader.entry(leader).or_default().push(target),
                None => {
                    self.blocked = true;
                    self.obstructed(format!("{target} has no leader"));
                    self.shared.cluster.refresh();
                }
            }
        }
        for (broker, mut targets) in by_leader {
            // Nobody goes first for ever.
            let turn = usize::try_from(rand::random::<u32>()).unwrap_or(0) % targets.len().max(1);
            targets.rotate_left(turn);
            self.dispatch_to(broker, &targets, now);
        }
        if self.shared.config.is_idempotent() && !self.stamping {
            let needed = self.lanes.values().any(Lane::needs_stamp);
            if needed {
                self.ask_stamp();
            }
        }
    }

    fn dispatch_to(&mut self, broker: BrokerId, targets: &[TopicPartition], now: Instant) {
        let in_flight_max = self.shared.config.in_flight_max;
        loop {
            let line = self.lines.entry(broker).or_default();
            let open = line.connection.clone().filter(Connection::is_open);
            let Some(connection) = open else {
                self.connect(broker);
                return;
            };
            if line.in_flight >= in_flight_max {
                return;
            }
            let batches = self.take(targets, now);
            if batches.is_empty() {
                return;
            }
            self.send(broker, &connection, batches);
        }
    }

    fn connect(&mut self, broker: BrokerId) {
        let line = self.lines.entry(broker).or_default();
        line.connection = None;
        if line.connecting {
            return;
        }
        line.connecting = true;
        let cluster = self.shared.cluster.clone();
        self.events.push(Box::pin(async move {
            let connected = cluster.connection_for(broker, Purpose::Data).await;
            Event::Connected(broker, connected)
        }));
    }

    /// One batch from each of `targets` whose lane is open, up to the size of a request.
    fn take(&mut self, targets: &[TopicPartition], now: Instant) -> Vec<Numbered> {
        let shared = Arc::clone(&self.shared);
        let config = &shared.config;
        let mut taken = Vec::new();
        let mut room = config.request_bytes;
        let mut gathering = shared.gathering.lock();
        for target in targets {
            if !self.lanes.contains_key(target) {
                let mut lane = Lane::new(config.is_idempotent(), config.in_flight_max);
                if let Some(stamp) = self.stamp {
                    lane.set_stamp(stamp);
                }
                self.lanes.insert(target.clone(), lane);
            }
            let Some(lane) = self.lanes.get_mut(target).filter(|_| room > 0) else {
                continue;
            };
            if !lane.open(now) {
                continue;
            }
            let next = lane.waiting_bytes();
            let next = next.or_else(|| gathering.batcher.next_bytes(target));
            let fits = next.is_some_and(|bytes| bytes <= room);
            if !(fits || (taken.is_empty() && next.is_some())) {
                continue;
            }
            let numbered = match lane.resend() {
                Some(again) => Some(again),
                None => gathering.batcher.take(target, now).map(|b| lane.admit(b)),
            };
            if let Some(numbered) = numbered {
                room = room.saturating_sub(numbered.batch.bytes);
                taken.push(numbered);
            }
        }
        taken
    }

    fn send(&mut self, broker: BrokerId, connection: &Connection, batches: Vec<Numbered>) {
        let shared = Arc::clone(&self.shared);
        let mut encoded = Vec::with_capacity(batches.len());
        let mut sent = Vec::with_capacity(batches.len());
        for numbered in batches {
            let target = numbered.batch.target.clone();
            match request::encode(&numbered, &shared.config) {
                Ok(bytes) => {
                    encoded.push((target, bytes));
                    sent.push(numbered);
                }
                Err(error) => self.fail(numbered, SendError::Batch { target, error }),
            }
        }
        if sent.is_empty() {
            return;
        }
        let request = request::request(encoded, &shared.config);
        let version = match connection.version::<ProduceRequest>(i16::MAX) {
            Ok(version) => version,
            Err(error) => return self.broken(broker, sent, &error),
        };
        if shared.config.acks == Acks::None {
            return match connection.send_unanswered(&request, version) {
                Ok(()) => self.settle_unanswered(sent),
                Err(error) => self.broken(broker, sent, &error),
            };
        }
        match connection.send(&request, version) {
            Ok(reply) => {
                self.lines.entry(broker).or_default().in_flight += 1;
                self.events.push(Box::pin(async move {
                    Event::Answered(broker, sent, reply.wait().await)
                }));
            }
            Err(error) => self.broken(broker, sent, &error),
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Connected(broker, connected) => {
                let line = self.lines.entry(broker).or_default();
                line.connecting = false;
                match connected {
                    Ok(connection) => line.connection = Some(connection),
                    Err(error) => {
                        self.obstructed(error.to_string());
                        self.shared.cluster.refresh();
                    }
                }
            }
            Event::Answered(broker, batches, answer) => {
                let line = self.lines.entry(broker).or_default();
                line.in_flight = line.in_flight.saturating_sub(1);
                match answer {
                    Ok(response) => self.answered(batches, &response),
                    Err(error) => self.broken(broker, batches, &error),
                }
            }
            Event::Stamped(answer) => self.stamped(answer),
        }
    }

    /// The connection failed: whether the batches arrived is unknown, so they go again.
    fn broken(&mut self, broker: BrokerId, batches: Vec<Numbered>, error: &ConnectionError) {
        if let Some(line) = self.lines.get_mut(&broker)
            && line.connection.as_ref().is_some_and(|c| !c.is_open())
        {
            line.connection = None;
        }
        tracing::debug!(%broker, %error, "a produce request failed and is sent again");
        self.shared.cluster.refresh();
        for mut numbered in batches {
            numbered.doubtful = true;
            self.again(numbered, error.to_string());
        }
    }

    /// Notes why something does not go out, for who asks and for who is told in the end.
    fn obstructed(&mut self, reason: String) {
        *self.shared.obstacle.lock() = Some(reason.clone());
        self.failure = reason;
    }

    fn again(&mut self, numbered: Numbered, reason: String) {
        self.obstructed(reason);
        let backoff = self.shared.config.retry_backoff;
        if let Some(lane) = self.lanes.get_mut(&numbered.batch.target) {
            lane.again(numbered, clock::now(), backoff);
        }
    }

    fn answered(&mut self, batches: Vec<Numbered>, response: &ProduceResponse) {
        let backoff = self.shared.config.retry_backoff;
        for mut numbered in batches {
            let target = numbered.batch.target.clone();
            let verdict = request::verdict(response, &target);
            let Some(lane) = self.lanes.get_mut(&target) else {
                continue;
            };
            match verdict {
                Verdict::Placed(placed) => {
                    lane.succeeded(&numbered);
                    self.settle(numbered.batch, Ok(placed));
                }
                Verdict::TooLarge(error) => {
                    if let Some(single) = lane.split(numbered) {
                        self.fail(single, error);
                    }
                }
                Verdict::OutOfOrder(error) => {
                    if let Some(lost) = lane.out_of_order(numbered, clock::now(), backoff) {
                        self.fail(lost, error);
                    }
                }
                Verdict::Fenced(error) => {
                    lane.fenced();
                    self.stamp = None;
                    // Sent once and refused: it is in no log.
                    if numbered.attempts <= 1 {
                        self.again(numbered, error.to_string());
                    } else {
                        self.fail(numbered, error);
                    }
                }
                Verdict::Later {
                    reason,
                    moved,
                    doubtful,
                } => {
                    if moved {
                        self.shared.cluster.refresh();
                    }
                    numbered.doubtful |= doubtful;
                    self.again(numbered, reason);
                }
                Verdict::Refused(error) => self.fail(numbered, error),
            }
        }
    }

    fn settle_unanswered(&mut self, batches: Vec<Numbered>) {
        for numbered in batches {
            if let Some(lane) = self.lanes.get_mut(&numbered.batch.target) {
                lane.succeeded(&numbered);
            }
            let placed = Placed {
                base_offset: None,
                log_append_time_ms: None,
            };
            self.settle(numbered.batch, Ok(placed));
        }
    }

    fn fail(&mut self, numbered: Numbered, error: SendError) {
        if let Some(lane) = self.lanes.get_mut(&numbered.batch.target) {
            lane.gave_up(&numbered);
        }
        self.settle(numbered.batch, Err(error));
    }

    fn settle(&self, batch: Batch, outcome: Result<Placed, SendError>) {
        if outcome.is_ok() {
            *self.shared.obstacle.lock() = None;
        }
        self.shared.memory.add_permits(batch.memory());
        batch.promise.settle(outcome);
    }

    fn ask_stamp(&mut self) {
        self.stamping = true;
        let cluster = self.shared.cluster.clone();
        let pause = self.shared.config.retry_backoff;
        self.events.push(Box::pin(async move {
            let request = InitProducerIdRequest {
                transactional_id: None,
                transaction_timeout_ms: i32::MAX,
                ..InitProducerIdRequest::default()
            };
            let answer = cluster.ask_around(&request, i16::MAX).await;
            let code = answer
                .as_ref()
                .map_or(ErrorCode::None, |a| a.error_code.into());
            if answer.is_err() || code.is_error() {
                tokio::time::sleep(pause).await;
            }
            Event::Stamped(answer)
        }));
    }

    fn stamped(&mut self, answer: Result<InitProducerIdResponse, ClusterError>) {
        self.stamping = false;
        match answer {
            Ok(a) if a.error_code == ErrorCode::None.code() && a.producer_id >= 0 => {
                let stamp = Stamp {
                    producer_id: a.producer_id,
                    epoch: a.producer_epoch,
                };
                self.stamp = Some(stamp);
                for lane in self.lanes.values_mut().filter(|l| l.needs_stamp()) {
                    lane.set_stamp(stamp);
                }
            }
            Ok(a) => {
                let code = ErrorCode::from(a.error_code);
                self.obstructed(format!("no producer id: {code}"));
            }
            Err(error) => self.obstructed(format!("no producer id: {error}")),
        }
    }

    fn expire(&mut self, now: Instant) {
        self.expire_at = now + EXPIRY_INTERVAL;
        let waited = self.shared.config.delivery_timeout;
        let Some(horizon) = now.checked_sub(waited) else {
            return;
        };
        let unsent = self.shared.gathering.lock().batcher.take_older(horizon);
        let mut old: Vec<(Batch, bool)> = unsent.into_iter().map(|batch| (batch, false)).collect();
        for lane in self.lanes.values_mut().filter(|l| l.has_waiting()) {
            let sent = lane.take_older(horizon).into_iter();
            old.extend(sent.map(|n| (n.batch, n.doubtful)));
        }
        for (batch, doubtful) in old {
            let error = SendError::Undelivered {
                target: batch.target.clone(),
                waited,
                reason: self.failure.clone(),
                doubtful,
            };
            self.settle(batch, Err(error));
        }
    }
}
