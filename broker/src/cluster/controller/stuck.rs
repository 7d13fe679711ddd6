//! Topics whose nodes ZooKeeper does not let us write: an ACL is another's, or nobody can read what stands there.
//! Such a topic waits for an operator; it must not be tried in every round, and must not hold up the others.

use std::collections::BTreeMap;
use std::time::Duration;

use nyala_coordinator::ids::TopicName;
use tokio::time::Instant;

/// Until the same is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What did not succeed last.
#[derive(Debug, Default)]
pub(super) struct Stuck(BTreeMap<TopicName, Failure>);

#[derive(Debug)]
struct Failure {
    /// It is left alone until then.
    until: Instant,
    why: String,
}

impl Stuck {
    /// Whether the topic is to be left alone in a round that began at `now`.
    pub(super) fn waits(&self, topic: &TopicName, now: Instant) -> bool {
        self.0.get(topic).is_some_and(|failure| failure.until > now)
    }

    /// It failed in a round that began at `now`; whether that is to be told: the same is told once.
    pub(super) fn failed(&mut self, topic: &TopicName, why: String, now: Instant) -> bool {
        let is_news = self.0.get(topic).is_none_or(|failure| failure.why != why);
        let until = now + PAUSE;
        self.0.insert(topic.clone(), Failure { until, why });
        is_news
    }

    /// It succeeded.
    pub(super) fn freed(&mut self, topic: &TopicName) {
        self.0.remove(topic);
    }

    /// When something that waited in a round that began at `now` is to be tried again. What did not wait was tried
    /// then, or there is nothing to try any more.
    pub(super) fn next_try(&self, now: Instant) -> Option<Instant> {
        let times = self.0.values().map(|failure| failure.until);
        times.filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_and_tried_after_a_pause() {
        let topic = TopicName::new("t").expect("legal");
        let (mut stuck, now) = (Stuck::default(), Instant::now());
        assert!(!stuck.waits(&topic, now));
        assert!(stuck.failed(&topic, "no".to_owned(), now));
        assert!(stuck.waits(&topic, now));
        assert_eq!(stuck.next_try(now), Some(now + PAUSE));
        let later = now + PAUSE;
        assert!(!stuck.waits(&topic, later));
        assert_eq!(stuck.next_try(later), None, "it was tried, or is no more");
        assert!(!stuck.failed(&topic, "no".to_owned(), later));
        assert_eq!(stuck.next_try(later), Some(later + PAUSE));
        assert!(stuck.failed(&topic, "neither".to_owned(), later));
        stuck.freed(&topic);
        assert!(!stuck.waits(&topic, later));
        assert!(stuck.failed(&topic, "neither".to_owned(), later));
    }
}
