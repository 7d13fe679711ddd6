//! Fetches what the consumer reads, one request at a time a broker, into a bounded buffer.
//!
//! Errors of a partition are cured here where they can be: a moved leader by a newer snapshot, an
//! offset out of range by `auto.offset.reset`. What cannot be cured is reported to the application.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use nyala_coordinator::clock;
use nyala_coordinator::ids::{BrokerId, TopicPartition};

use super::config::ConsumerConfig;
use super::delivery::{Delivery, Fetched, Need};
use super::positions;
use crate::cluster::{Cluster, Purpose, Topology};
use crate::config::OffsetReset;
use crate::error::{ClusterError, ConsumerError};
use crate::wire::ErrorCode;
use crate::wire::batch::{BatchError, Batches};
use crate::wire::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};

/// Above this, topics go by id and need a session of ids: names are enough here.
const FETCH_VERSION_MAX: i16 = 12;
/// Beyond the wait that the request asks for, a broker gets this long to answer.
const ANSWER_SLACK: Duration = Duration::from_secs(30);

/// What came of a partition.
#[derive(Debug)]
enum Outcome {
    Data(Fetched),
    Nothing,
    /// The log holds nothing of what was read from this offset on.
    Truncated(i64),
    OutOfRange,
    Moved,
    Failed(ConsumerError),
}

#[derive(Debug)]
enum Event {
    Fetched(BrokerId, Vec<(Need, Outcome)>, Option<ClusterError>),
    Reset(Need, Result<i64, ConsumerError>),
}

/// The fetcher's task.
pub(super) struct Fetcher {
    delivery: Arc<Delivery>,
    cluster: Cluster,
    config: Arc<ConsumerConfig>,
    events: FuturesUnordered<BoxFuture<'static, Event>>,
    busy_brokers: BTreeSet<BrokerId>,
    busy: BTreeSet<TopicPartition>,
    resume_at: HashMap<BrokerId, Instant>,
    turn: usize,
}

impl Fetcher {
    pub(super) fn new(
        delivery: Arc<Delivery>,
        cluster: Cluster,
        config: Arc<ConsumerConfig>,
    ) -> Self {
        Self {
            delivery,
            cluster,
            config,
            events: FuturesUnordered::new(),
            busy_brokers: BTreeSet::new(),
            busy: BTreeSet::new(),
            resume_at: HashMap::new(),
            turn: 0,
        }
    }

    /// Runs until it is aborted.
    pub(super) async fn run(mut self) {
        let delivery = Arc::clone(&self.delivery);
        let mut topology = self.cluster.subscribe();
        loop {
            let leaderless = self.dispatch(&topology.borrow_and_update().clone());
            let deadline = self.deadline(leaderless);
            tokio::select! {
                Some(event) = self.events.next() => self.handle(event),
                () = delivery.hungry.notified() => {}
                Ok(()) = topology.changed() => {}
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
        }
    }

    fn deadline(&self, leaderless: bool) -> Instant {
        let now = clock::now();
        let backoff = self.cluster.config().retry_backoff;
        let brokers = self.resume_at.values().copied().filter(|at| *at > now);
        let retry = leaderless.then(|| now + backoff);
        let all = brokers.chain(self.delivery.next_resume()).chain(retry);
        all.min().unwrap_or(now + Duration::from_secs(1))
    }

    /// Sends a fetch to every broker that is free and leads something wanted.
    fn dispatch(&mut self, topology: &Topology) -> bool {
        let now = clock::now();
        let mut leaderless = false;
        let mut by_leader: BTreeMap<BrokerId, Vec<Need>> = BTreeMap::new();
        for need in self.delivery.needs() {
            if self.busy.contains(&need.target) {
                continue;
            }
            match topology.leader(&need.target.topic, need.target.partition) {
                Some(leader) => by_leader.entry(leader).or_default().push(need),
                None => leaderless = true,
            }
        }
        if leaderless {
            self.cluster.refresh();
        }
        for (broker, mut needs) in by_leader {
            let resting = self.resume_at.get(&broker).is_some_and(|at| now < *at);
            if resting || self.busy_brokers.contains(&broker) {
                continue;
            }
            // The broker fills the first partitions first: nobody is first for ever.
            self.turn = self.turn.wrapping_add(1);
            let turn = self.turn.checked_rem(needs.len()).unwrap_or(0);
            needs.rotate_left(turn);
            self.busy_brokers.insert(broker);
            self.busy.extend(needs.iter().map(|n| n.target.clone()));
            let (cluster, config) = (self.cluster.clone(), Arc::clone(&self.config));
            self.events.push(Box::pin(async move {
                fetch(cluster, config, broker, needs).await
            }));
        }
        leaderless
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Fetched(broker, outcomes, failure) => {
                self.busy_brokers.remove(&broker);
                self.resume_at.remove(&broker);
                if let Some(error) = failure {
                    tracing::debug!(%broker, %error, "a fetch failed");
                    let backoff = self.cluster.config().retry_backoff;
                    self.resume_at.insert(broker, clock::now() + backoff);
                    self.cluster.refresh();
                }
                for (need, outcome) in outcomes {
                    self.busy.remove(&need.target);
                    self.take_in(need, outcome);
                }
            }
            Event::Reset(need, Ok(offset)) => {
                self.busy.remove(&need.target);
                let (target, before) = (&need.target, need.offset);
                tracing::warn!(%target, before, offset, "the log does not reach there: going on by auto.offset.reset");
                self.delivery.reset(&need, offset);
            }
            Event::Reset(need, Err(error)) => {
                self.busy.remove(&need.target);
                self.delivery.pause(&need, Duration::from_secs(1));
                self.delivery.report(error);
            }
        }
    }

    fn take_in(&mut self, need: Need, outcome: Outcome) {
        let backoff = self.cluster.config().retry_backoff;
        match outcome {
            Outcome::Data(fetched) => self.delivery.push(&need, fetched),
            Outcome::Truncated(end) => self.truncated(&need, end),
            Outcome::Nothing => {}
            Outcome::Moved => {
                self.cluster.refresh();
                self.delivery.pause(&need, backoff);
            }
            Outcome::Failed(error) => {
                self.delivery.pause(&need, Duration::from_secs(1));
                self.delivery.report(error);
            }
            Outcome::OutOfRange => {
                self.busy.insert(need.target.clone());
                let (cluster, reset) = (self.cluster.clone(), self.config.offset_reset);
                self.events.push(Box::pin(async move {
                    let offset = reset_offset(&cluster, &need, reset).await;
                    Event::Reset(need, offset)
                }));
            }
        }
    }
}

impl Fetcher {
    /// A leader without some of what was acknowledged: only an unclean election makes one. The
    /// application is told by records that come again, or, without `auto.offset.reset`, by an error.
    fn truncated(&self, need: &Need, end: i64) {
        let target = &need.target;
        tracing::warn!(%target, end, position = need.offset, "the log was truncated below the position");
        match self.config.offset_reset {
            OffsetReset::None => {
                self.delivery.pause(need, Duration::from_secs(1));
                let target = target.clone();
                self.delivery.report(ConsumerError::NoOffset { target });
            }
            OffsetReset::Earliest | OffsetReset::Latest => self.delivery.truncated(need, end),
        }
    }
}

async fn reset_offset(
    cluster: &Cluster,
    need: &Need,
    reset: OffsetReset,
) -> Result<i64, ConsumerError> {
    positions::reset(cluster, &need.target, reset).await
}

async fn fetch(
    cluster: Cluster,
    config: Arc<ConsumerConfig>,
    broker: BrokerId,
    needs: Vec<Need>,
) -> Event {
    match ask(&cluster, &config, broker, &needs).await {
        Ok(response) => {
            let code = ErrorCode::from(response.error_code);
            if code.is_error() {
                let all = needs.into_iter().map(|n| (n, Outcome::Nothing)).collect();
                return Event::Fetched(broker, all, Some(ClusterError::refused(code, None)));
            }
            let outcome = |need: Need| {
                let outcome = outcome(&response, &need);
                (need, outcome)
            };
            Event::Fetched(broker, needs.into_iter().map(outcome).collect(), None)
        }
        Err(error) => {
            let all = needs.into_iter().map(|n| (n, Outcome::Nothing)).collect();
            Event::Fetched(broker, all, Some(error))
        }
    }
}

async fn ask(
    cluster: &Cluster,
    config: &ConsumerConfig,
    broker: BrokerId,
    needs: &[Need],
) -> Result<FetchResponse, ClusterError> {
    let connection = cluster.connection_for(broker, Purpose::Data).await?;
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let topology = cluster.topology();
    let mut topics: Vec<FetchTopic> = Vec::new();
    for need in needs {
        let partition = FetchPartition {
            partition: need.target.partition.0,
            fetch_offset: need.offset,
            current_leader_epoch: topology.leader_epoch(&need.target).map_or(-1, |e| e.0),
            last_fetched_epoch: need.last_epoch,
            partition_max_bytes: count(config.partition_fetch_bytes),
            ..FetchPartition::default()
        };
        let name = need.target.topic.as_str();
        match topics.last_mut().filter(|t| t.topic == name) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(FetchTopic {
                topic: name.to_owned(),
                partitions: vec![partition],
                ..FetchTopic::default()
            }),
        }
    }
    let request = FetchRequest {
        max_wait_ms: i32::try_from(config.fetch_wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: count(config.fetch_bytes_min),
        max_bytes: count(config.fetch_bytes_max),
        topics,
        ..FetchRequest::default()
    };
    let version = connection.version::<FetchRequest>(FETCH_VERSION_MAX)?;
    let reply = connection.send_within(&request, version, config.fetch_wait + ANSWER_SLACK)?;
    Ok(reply.wait().await?)
}

fn outcome(response: &FetchResponse, need: &Need) -> Outcome {
    let topics = response.responses.iter();
    let topic = topics.filter(|t| t.topic == need.target.topic.as_str());
    let mut partitions = topic.flat_map(|t| &t.partitions);
    let found = partitions.find(|p| p.partition_index == need.target.partition.0);
    let Some(answer) = found else {
        return Outcome::Nothing;
    };
    match ErrorCode::from(answer.error_code) {
        ErrorCode::None => data(answer, need),
        ErrorCode::OffsetOutOfRange => Outcome::OutOfRange,
        code if code.retriable() => Outcome::Moved,
        code => Outcome::Failed(ConsumerError::Refused {
            target: need.target.clone(),
            code,
        }),
    }
}

/// The whole batches that an answer begins with. The broker cuts the last batch where the size limit
/// falls: that is no fault.
pub(crate) struct WholeBatches {
    /// Their length.
    pub(crate) bytes: usize,
    /// Offset after the last of them.
    pub(crate) next_offset: i64,
    /// Leader epoch of the last of them; -1 without any.
    pub(crate) epoch: i32,
    /// What is wrong behind them.
    pub(crate) fault: Option<BatchError>,
}

impl WholeBatches {
    /// Looks at `records`, which were asked for from the offset `from`.
    pub(crate) fn of(records: &[u8], from: i64) -> Self {
        let (mut bytes, mut next_offset, mut epoch) = (0, from, -1);
        let fault = loop {
            let rest = records.get(bytes..).unwrap_or_default();
            match Batches::new(rest).next() {
                None => break None,
                Some(Ok(batch)) => {
                    bytes += batch.size();
                    next_offset = next_offset.max(batch.next_offset());
                    epoch = batch.leader_epoch();
                }
                Some(Err(BatchError::Truncated { .. })) if bytes > 0 => break None,
                Some(Err(error)) => break Some(error),
            }
        };
        Self {
            bytes,
            next_offset,
            epoch,
            fault,
        }
    }
}

/// The whole batches of an answer, and the offset after the last of them.
fn data(answer: &PartitionData, need: &Need) -> Outcome {
    let diverging = &answer.diverging_epoch;
    if diverging.epoch >= 0 {
        // Behind where this is, it is another log all the same: what waits is not of it.
        let end = Some(diverging.end_offset).filter(|end| (0..need.offset).contains(end));
        return Outcome::Truncated(end.unwrap_or(need.offset));
    }
    let Some(records) = answer.records.as_ref().filter(|r| !r.is_empty()) else {
        return Outcome::Nothing;
    };
    let whole = WholeBatches::of(records, need.offset);
    if whole.next_offset > need.offset {
        return Outcome::Data(Fetched {
            batches: records.slice(..whole.bytes),
            next_offset: whole.next_offset,
            epoch: whole.epoch,
        });
    }
    // Nothing at or after the offset that was asked for: the broker is wrong, or the bytes are.
    Outcome::Failed(ConsumerError::Corrupt {
        target: need.target.clone(),
        offset: need.offset,
        error: whole.fault.unwrap_or(BatchError::RecordCount {
            announced: 0,
            found: 0,
        }),
    })
}

#[cfg(test)]
mod tests {
    use nyala_coordinator::ids::{PartitionIndex, TopicName, TopicPartition};

    use super::*;
    use crate::wire::messages::fetch::EpochEndOffset;

    #[test]
    fn another_log_is_never_waited_for() {
        let delivery = Delivery::new(1 << 20, None);
        let target = TopicPartition {
            topic: TopicName::new("t").expect("legal"),
            partition: PartitionIndex(0),
        };
        delivery.assign(target, 10, None);
        let need = delivery.needs().remove(0);
        let parted = |epoch, end_offset| {
            let answer = PartitionData {
                diverging_epoch: EpochEndOffset { epoch, end_offset },
                ..PartitionData::default()
            };
            match data(&answer, &need) {
                Outcome::Truncated(end) => Some(end),
                _ => None,
            }
        };
        assert_eq!(parted(-1, -1), None);
        assert_eq!(parted(3, 7), Some(7));
        assert_eq!(parted(3, 20), Some(10), "behind where this is");
        assert_eq!(parted(3, -1), Some(10), "no offset");
    }
}
