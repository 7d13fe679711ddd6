//! One fetch loop: one leader, one connection, one request at a time.
//!
//! Each round asks for everything that is fetched and appends what comes. A failure of one partition
//! pauses that partition; a failure of the connection pauses the loop. A partition that is assigned
//! while the leader has nothing to say does not wait for that answer: the connection is given up.

use std::sync::Arc;
use std::time::Duration;

use nyala_client::error::ConnectionError;
use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::api_versions::ApiVersionsRequest;
use nyala_client::wire::messages::fetch::{FetchResponse, PartitionData};
use nyala_coordinator::clock;
use nyala_coordinator::ids::{BrokerId, PartitionIndex, TopicName, TopicPartition};
use tokio::time::Instant;
use tracing::{debug, info};

use super::followed::AllFollowed;
use super::inbox::{Change, Inbox};
use super::link::Link;
use super::request::{self, Asker, FETCH_BY_ID, FETCH_TELLS_DIVERGENCE, Versions};
use super::trouble::Trouble;
use super::verdict::{Verdict, decide};
use super::{FetcherParts, LeaderOffsets};
use crate::replication::peers::{Pause, PeerError};

/// How often every partition is looked at again.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// How often the throttle is looked at while it holds partitions back.
const HELD_LOOK_EVERY: Duration = Duration::from_millis(100);
/// An answer that is on its way already comes within this.
const GRACE: Duration = Duration::from_millis(5);
/// A connection is given up for new partitions at most this often.
const GIVE_UP_EVERY: Duration = Duration::from_millis(100);
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// One loop; its task owns it.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) leader: BrokerId,
    pub(super) parts: Arc<FetcherParts>,
    pub(super) followed: AllFollowed,
    inbox: Arc<Inbox>,
    number: u32,
    link: Option<Link>,
    pause: Pause,
    /// What the leader serves, once it had to be asked.
    served: Option<Versions>,
    /// The leader ended a connection without a word: it may not know the versions that were used.
    suspect: bool,
    refreshed: Option<Instant>,
    given_up: Option<Instant>,
}

impl Fetcher {
    pub(super) fn new(
        leader: BrokerId,
        number: u32,
        parts: Arc<FetcherParts>,
        inbox: Arc<Inbox>,
    ) -> Self {
        Self {
            leader,
            parts,
            followed: AllFollowed::new(leader),
            inbox,
            number,
            link: None,
            pause: Pause::default(),
            served: None,
            suspect: false,
            refreshed: None,
            given_up: None,
        }
    }

    /// Fetches until it is aborted.
    pub(super) async fn run(mut self) {
        loop {
            self.take_inbox();
            if self.followed.is_empty() {
                self.link = None;
                self.inbox.filled().await;
                continue;
            }
            let now = Instant::now();
            self.followed.resume(now);
            self.refresh(now);
            let throttle = &self.parts.throttle;
            let held = self.followed.hold(|| throttle.is_exceeded());
            self.truncate().await;
            if self.followed.has_to_truncate() {
                continue;
            }
            if self.followed.session.is_empty() {
                self.idle(held).await;
            } else {
                self.round(held).await;
            }
        }
    }

    fn take_inbox(&mut self) {
        for change in self.inbox.take() {
            match change {
                Change::Follow(partition) => {
                    let asks_first = self.versions().fetch < FETCH_TELLS_DIVERGENCE;
                    self.followed.follow(partition, asks_first);
                    self.refreshed = None;
                }
                Change::Leave(id) => self.followed.leave(&id),
            }
        }
    }

    fn refresh(&mut self, now: Instant) {
        if self.refreshed.is_none_or(|at| now - at >= REFRESH_EVERY) {
            let throttle = &self.parts.throttle;
            self.followed.refresh(|p| throttle.applies_to(p));
            self.refreshed = Some(now);
        }
    }

    pub(super) fn versions(&self) -> Versions {
        self.served.unwrap_or(self.parts.settings.versions)
    }

    pub(super) fn asker(&self) -> Asker {
        Asker {
            broker: self.parts.peers.this(),
            epoch: self.parts.broker_epoch.borrow().map_or(-1, |epoch| epoch.0),
        }
    }

    /// Nothing can be fetched now: waits until that may have changed.
    async fn idle(&self, held: bool) {
        let until = [
            self.followed.next_resume(),
            held.then(|| Instant::now() + HELD_LOOK_EVERY),
        ];
        let until = until.into_iter().flatten().min();
        let until = until.unwrap_or_else(|| Instant::now() + REFRESH_EVERY);
        tokio::select! {
            () = self.inbox.filled() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }

    /// One fetch and what follows from its answer.
    async fn round(&mut self, held: bool) {
        let Some(mut link) = self.linked().await else {
            return;
        };
        if self.followed.session.is_empty() {
            self.link = Some(link);
            return;
        }
        let versions = self.versions();
        let plan = self.followed.session.plan(versions.fetch >= FETCH_BY_ID);
        let version = match plan.by_id {
            true => versions.fetch,
            false => versions.fetch.min(FETCH_BY_ID - 1),
        };
        let settings = &self.parts.settings;
        let wait = self.wait(held);
        let request = request::fetch(&plan, self.asker(), settings, wait, version);
        let grace = match self.given_up {
            Some(at) => (at + GIVE_UP_EVERY).saturating_duration_since(Instant::now()),
            None => Duration::ZERO,
        };
        let urgent = async {
            self.inbox.urgent().await;
            tokio::time::sleep(grace.max(GRACE)).await;
        };
        let answer = tokio::select! {
            biased;
            answer = link.call(&request, version, settings.answer_max) => answer,
            () = urgent => {
                self.given_up = Some(Instant::now());
                self.followed.session.lost();
                return;
            }
        };
        match answer {
            Ok(response) => {
                self.link = Some(link);
                self.take(response, plan.by_id).await;
            }
            Err(error) => {
                self.suspect = link.is_mute();
                self.broke(&error);
            }
        }
    }

    /// How long the leader may wait for records: not beyond the end of a pause.
    fn wait(&self, held: bool) -> Duration {
        let mut wait = self.parts.settings.wait_max;
        if held {
            wait = wait.min(HELD_LOOK_EVERY);
        }
        if let Some(resume) = self.followed.next_resume() {
            wait = wait.min(resume.saturating_duration_since(Instant::now()));
        }
        wait
    }

    /// The open connection, or a new one. `None` after a failure, which was told.
    pub(super) async fn linked(&mut self) -> Option<Link> {
        if let Some(link) = self.link.take() {
            return Some(link);
        }
        tokio::select! {
            () = self.pause.over() => {}
            // Whoever assigns has reason to think that the leader lives.
            () = self.inbox.urgent() => {
                self.pause = Pause::default();
                return None;
            }
        }
        match self.connect().await {
            Ok(link) => {
                debug!(leader = %self.leader, address = link.address(), "following");
                Some(link)
            }
            Err(error) => {
                self.broke(&error);
                None
            }
        }
    }

    /// Keeps the connection for the next request.
    pub(super) fn keep(&mut self, link: Link) {
        self.link = Some(link);
    }

    async fn connect(&mut self) -> Result<Link, PeerError> {
        let settings = &self.parts.settings;
        let address = self.parts.peers.address(self.leader)?;
        let this = self.parts.peers.this();
        let client_id = format!("broker-{this}-fetcher-{}", self.number);
        let limit = settings.answer_max.min(CONNECT_MAX);
        let buffer = settings.receive_buffer_bytes;
        let mut link = Link::open(address, client_id, buffer, limit).await?;
        self.served = None;
        if std::mem::take(&mut self.suspect) {
            let request = ApiVersionsRequest::default();
            let served = link.call(&request, 0, settings.answer_max).await?;
            self.served = settings.versions.capped(&served);
            if self
                .served
                .is_some_and(|served| served != settings.versions)
            {
                info!(leader = %self.leader, versions = ?self.served, "the leader serves lower versions");
            }
            if self.versions().fetch < FETCH_TELLS_DIVERGENCE {
                self.followed.truncate_all();
            }
        }
        Ok(link)
    }

    /// The connection is of no use any more.
    pub(super) fn broke(&mut self, error: &dyn std::error::Error) {
        self.link = None;
        self.followed.session.lost();
        let failures = self
            .pause
            .failed(Instant::now(), self.parts.settings.pause_max);
        match failures {
            1 => info!(leader = %self.leader, "fetching from broker {}: {error}", self.leader),
            _ => {
                debug!(leader = %self.leader, failures, "fetching from broker {}: {error}", self.leader)
            }
        }
    }

    /// Takes in an answer: appends at once, then cures what went wrong.
    async fn take(&mut self, response: FetchResponse, by_id: bool) {
        let error = ErrorCode::from(response.error_code);
        if let Err(error) = self.followed.session.answered(error, response.session_id) {
            self.refused(error);
            return;
        }
        self.pause = Pause::default();
        let mut troubles = Vec::new();
        for topic in response.responses {
            let name = match by_id {
                true => self.followed.name_of(topic.topic_id).cloned(),
                false => TopicName::new(&topic.topic).ok(),
            };
            let Some(name) = name else {
                continue;
            };
            for data in topic.partitions {
                let id = TopicPartition {
                    topic: name.clone(),
                    partition: PartitionIndex(data.partition_index),
                };
                if let Err(trouble) = self.settle(&id, &data) {
                    troubles.push((id, trouble));
                }
            }
        }
        for (id, trouble) in troubles {
            self.cure(&id, trouble).await;
        }
    }

    /// The leader answered nothing but an error.
    fn refused(&mut self, error: ErrorCode) {
        debug!(leader = %self.leader, %error, "the fetch as a whole was refused");
        match error {
            // The next request begins a new session.
            ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch => {}
            ErrorCode::UnsupportedVersion => {
                self.suspect = true;
                self.broke(&ConnectionError::Refused(error));
            }
            _ => self.broke(&ConnectionError::Refused(error)),
        }
    }

    /// Takes in the answer for one partition.
    fn settle(&mut self, id: &TopicPartition, data: &PartitionData) -> Result<(), Trouble> {
        if self.followed.session.wish(id).is_none() {
            return Ok(());
        }
        let Some(followed) = self.followed.get(id) else {
            return Ok(());
        };
        match decide(data) {
            Verdict::Take => {}
            Verdict::Diverged(end) => return Err(Trouble::Diverged(end)),
            Verdict::OutOfRange => return Err(Trouble::OutOfRange),
            Verdict::Later(error) => return Err(Trouble::Later(error.to_string())),
        }
        let records = data.records.as_deref().unwrap_or_default();
        let leader = LeaderOffsets {
            high_watermark: data.high_watermark,
            log_start: data.log_start_offset,
        };
        let epoch = followed.epoch;
        let appended = followed
            .partition
            .append_fetched(epoch, records, leader, clock::wall_ms());
        let end = appended.map_err(Trouble::from)?;
        if self.followed.is_throttled(id) {
            self.parts.throttle.record(records.len());
        }
        self.followed.taken(id, end, data.high_watermark);
        if !records.is_empty() {
            self.followed.fetch(id);
        }
        Ok(())
    }
}
