//! Incremental fetch sessions (KIP-227): what a reader asked for before, so that it need only say
//! what changed, and hears only of partitions with news. Pure: no clock, no log.
//!
//! Sessions are a favour: a full cache answers with session id 0 and the reader goes on asking for
//! everything. A session that was not used for two minutes makes room for a new one.

use std::collections::{BTreeMap, HashMap};

use nyala_client::wire::ErrorCode;
use nyala_coordinator::ids::{TopicId, TopicName};
use parking_lot::Mutex;

use super::Principal;

/// Epoch that asks for a new session.
const EPOCH_INITIAL: i32 = 0;
/// Epoch that asks for none.
const EPOCH_FINAL: i32 = -1;
/// `min.incremental.fetch.session.eviction.ms` of Kafka, which has no setting either.
const EVICT_AFTER_MS: i64 = 120_000;
/// Partitions over all sessions: about 100 MB of memory.
const PARTITIONS_MAX: usize = 300_000;

/// A topic as a fetch request names it: by name up to version 12, by id from 13 on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TopicKey {
    /// A legal name.
    Name(TopicName),
    /// An id.
    Id(TopicId),
    /// What no topic can be called; only to be echoed.
    Illegal(Box<str>),
}

impl TopicKey {
    /// Name and id to answer with; only one of them is sent, as the version wants it.
    pub(crate) fn parts(&self) -> (&str, TopicId) {
        match self {
            Self::Name(name) => (name.as_str(), TopicId::ZERO),
            Self::Id(id) => ("", *id),
            Self::Illegal(name) => (name, TopicId::ZERO),
        }
    }
}

/// One partition of a fetch request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) topic: TopicKey,
    pub(crate) partition: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) offset: i64,
    /// Epoch of the last record that the reader has, or -1.
    pub(crate) last_epoch: i32,
    /// First offset of a follower's log, or -1.
    pub(crate) log_start: i64,
    pub(crate) max_bytes: i32,
}

impl Asked {
    /// Epoch that the reader knows its leader by, if it does.
    pub(crate) fn known_epoch(&self) -> Option<i32> {
        (self.leader_epoch >= 0).then_some(self.leader_epoch)
    }
}

/// Who asks, and for which session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionRequest<'a> {
    pub(crate) id: i32,
    pub(crate) epoch: i32,
    pub(crate) principal: &'a Principal,
    pub(crate) now_ms: i64,
}

/// What a request is answered within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Session {
    /// No session: everything that was asked for is answered.
    None,
    /// A session that starts with this answer, in full.
    New(i32),
    /// A session that goes on: only news are answered.
    Incremental(i32),
}

/// What a partition's answer says, as far as the next answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) high_watermark: i64,
    pub(crate) log_start: i64,
    pub(crate) failed: bool,
    pub(crate) has_records: bool,
}

/// All sessions of this broker.
#[derive(Debug)]
pub struct FetchSessions {
    inner: Mutex<Inner>,
    slots: usize,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<i32, Cached>,
    partitions: usize,
}

/// One session. `order` and `places` hold the same partitions.
#[derive(Debug)]
struct Cached {
    principal: Principal,
    next_epoch: i32,
    used_ms: i64,
    order: BTreeMap<u64, (Asked, Option<Told>)>,
    places: HashMap<(TopicKey, i32), u64>,
    next_place: u64,
}

impl Default for FetchSessions {
    fn default() -> Self {
        Self::new(1000)
    }
}

impl FetchSessions {
    /// A cache of `max.incremental.fetch.session.cache.slots` sessions.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            inner: Mutex::default(),
            slots,
        }
    }

    /// Begins, continues or ends a session; gives what is to be read.
    pub(crate) fn open(
        &self,
        request: SessionRequest<'_>,
        asked: Vec<Asked>,
        forgotten: &[(TopicKey, i32)],
    ) -> Result<(Session, Vec<Asked>), ErrorCode> {
        match request.epoch {
            EPOCH_FINAL | EPOCH_INITIAL if request.id == 0 && request.epoch == EPOCH_FINAL => {
                Ok((Session::None, asked))
            }
            EPOCH_FINAL | EPOCH_INITIAL => {
                let mut inner = self.inner.lock();
                if inner.owned(request).is_some() {
                    inner.remove(request.id);
                }
                let new = request.epoch == EPOCH_INITIAL && !asked.is_empty();
                let made = new
                    .then(|| self.make(&mut inner, request, &asked))
                    .flatten();
                Ok((made.map_or(Session::None, Session::New), asked))
            }
            _ => self.inner.lock().proceed(request, asked, forgotten),
        }
    }

    /// Says for each answer whether it is news; answers with records go to the end of the session's
    /// order, so that every partition gets its turn under `max_bytes`.
    pub(crate) fn news<'a>(
        &self,
        session: Session,
        answers: impl Iterator<Item = (&'a TopicKey, i32, Told)>,
    ) -> Vec<bool> {
        let (id, incremental) = match session {
            Session::None => return answers.map(|_| true).collect(),
            Session::New(id) => (id, false),
            Session::Incremental(id) => (id, true),
        };
        let mut inner = self.inner.lock();
        let Some(cached) = inner.sessions.get_mut(&id) else {
            return answers.map(|_| true).collect();
        };
        answers
            .map(|(topic, partition, told)| cached.tell(topic, partition, told) || !incremental)
            .collect()
    }

    fn make(&self, inner: &mut Inner, request: SessionRequest<'_>, asked: &[Asked]) -> Option<i32> {
        if inner.partitions + asked.len() > PARTITIONS_MAX {
            return None;
        }
        if inner.sessions.len() >= self.slots {
            let oldest = inner.sessions.iter().min_by_key(|(_, s)| s.used_ms)?;
            if request.now_ms.saturating_sub(oldest.1.used_ms) < EVICT_AFTER_MS {
                return None;
            }
            let oldest = *oldest.0;
            inner.remove(oldest);
        }
        let id = loop {
            let id = rand::random_range(1..=i32::MAX);
            if !inner.sessions.contains_key(&id) {
                break id;
            }
        };
        let mut cached = Cached {
            principal: request.principal.clone(),
            next_epoch: 1,
            used_ms: request.now_ms,
            order: BTreeMap::new(),
            places: HashMap::new(),
            next_place: 0,
        };
        for one in asked {
            cached.ask(one.clone());
        }
        inner.partitions += cached.order.len();
        inner.sessions.insert(id, cached);
        Some(id)
    }
}

impl Inner {
    /// The session asked for, if it is this principal's.
    fn owned(&mut self, request: SessionRequest<'_>) -> Option<&mut Cached> {
        let cached = self.sessions.get_mut(&request.id)?;
        (cached.principal == *request.principal).then_some(cached)
    }

    fn remove(&mut self, id: i32) {
        if let Some(cached) = self.sessions.remove(&id) {
            self.partitions -= cached.order.len();
        }
    }

    fn proceed(
        &mut self,
        request: SessionRequest<'_>,
        asked: Vec<Asked>,
        forgotten: &[(TopicKey, i32)],
    ) -> Result<(Session, Vec<Asked>), ErrorCode> {
        let room = PARTITIONS_MAX.saturating_sub(self.partitions);
        let cached = self
            .owned(request)
            .ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if cached.next_epoch != request.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if asked.iter().any(|a| cached.names_differently(&a.topic)) {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        if asked.len() > room {
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        let before = cached.order.len();
        cached.next_epoch = match cached.next_epoch {
            i32::MAX => 1,
            epoch => epoch + 1,
        };
        cached.used_ms = request.now_ms;
        for one in asked {
            cached.ask(one);
        }
        for key in forgotten {
            if let Some(place) = cached.places.remove(key) {
                cached.order.remove(&place);
            }
        }
        let all: Vec<Asked> = cached.order.values().map(|(a, _)| a.clone()).collect();
        let after = cached.order.len();
        self.partitions = self.partitions + after - before;
        if all.is_empty() {
            self.remove(request.id);
            return Ok((Session::None, all));
        }
        Ok((Session::Incremental(request.id), all))
    }
}

impl Cached {
    fn ask(&mut self, asked: Asked) {
        let key = (asked.topic.clone(), asked.partition);
        if let Some(place) = self.places.get(&key)
            && let Some((known, _)) = self.order.get_mut(place)
        {
            *known = asked;
            return;
        }
        self.places.insert(key, self.next_place);
        self.order.insert(self.next_place, (asked, None));
        self.next_place += 1;
    }

    /// Whether the session names topics by id and this is a name, or the reverse.
    fn names_differently(&self, topic: &TopicKey) -> bool {
        let by_id = |key: &TopicKey| matches!(key, TopicKey::Id(_));
        let first = self.order.values().next();
        first.is_some_and(|(asked, _)| by_id(&asked.topic) != by_id(topic))
    }

    fn tell(&mut self, topic: &TopicKey, partition: i32, told: Told) -> bool {
        let key = (topic.clone(), partition);
        let Some(place) = self.places.get_mut(&key) else {
            return true;
        };
        let Some((asked, before)) = self.order.remove(place) else {
            return true;
        };
        let same = before.is_some_and(|before| {
            before.high_watermark == told.high_watermark && before.log_start == told.log_start
        });
        let news = !same || told.has_records || told.failed;
        if told.has_records {
            *place = self.next_place;
            self.next_place += 1;
        }
        // A failure is told again until it is over, and its end is news.
        self.order
            .insert(*place, (asked, (!told.failed).then_some(told)));
        news
    }
}

#[cfg(test)]
mod tests;
