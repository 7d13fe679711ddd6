//! Topics that are marked for deletion: gone for clients from the mark on, as in Kafka, whose controller takes them out of
//! all brokers' metadata (leader -2) before it has any replica deleted. One that is down may put that off for long.

use std::collections::BTreeMap;
use std::sync::Arc;

use nyala_coordinator::cluster::{ClusterSnapshot, TopicInfo};
use nyala_coordinator::ids::{TopicId, TopicName};
use parking_lot::Mutex;
use tokio::sync::watch;

/// Marked topics, with the ids that they had when the mark was seen: a later topic of the name is another one.
pub(super) type Marked = BTreeMap<TopicName, Option<TopicId>>;

/// Leaves the marked ones out of snapshots.
#[derive(Debug)]
pub(super) struct Visible {
    marked: watch::Receiver<Arc<Marked>>,
    last: Mutex<Option<Shown>>,
}

/// A snapshot without what was marked, kept for as long as neither changes.
#[derive(Debug)]
struct Shown {
    whole: Arc<ClusterSnapshot>,
    marked: Arc<Marked>,
    rest: Arc<ClusterSnapshot>,
}

impl Visible {
    pub(super) fn new(marked: watch::Receiver<Arc<Marked>>) -> Self {
        let last = Mutex::default();
        Self { marked, last }
    }

    /// The marks now and all later ones.
    pub(super) fn marked(&self) -> watch::Receiver<Arc<Marked>> {
        self.marked.clone()
    }

    /// Whether this very topic is marked.
    pub(super) fn is_marked(&self, name: &TopicName, id: Option<TopicId>) -> bool {
        self.marked.borrow().get(name) == Some(&id)
    }

    /// What clients see of a snapshot: itself, where nothing in it is marked.
    pub(super) fn of(&self, whole: Arc<ClusterSnapshot>) -> Arc<ClusterSnapshot> {
        let marked = Arc::clone(&self.marked.borrow());
        let is_marked =
            |name: &TopicName, info: &Arc<TopicInfo>| marked.get(name) == Some(&info.id);
        let mut topics = marked
            .keys()
            .filter_map(|name| whole.topics.get_key_value(name));
        if !topics.any(|(name, info)| is_marked(name, info)) {
            return whole;
        }
        let mut last = self.last.lock();
        if let Some(shown) = &*last
            && Arc::ptr_eq(&shown.whole, &whole)
            && Arc::ptr_eq(&shown.marked, &marked)
        {
            return Arc::clone(&shown.rest);
        }
        let mut rest = ClusterSnapshot::clone(&whole);
        rest.topics.retain(|name, info| !is_marked(name, info));
        let rest = Arc::new(rest);
        *last = Some(Shown {
            whole,
            marked: Arc::clone(&marked),
            rest: Arc::clone(&rest),
        });
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(id: u8) -> Arc<TopicInfo> {
        Arc::new(TopicInfo {
            id: Some(TopicId([id; 16])),
            ..TopicInfo::default()
        })
    }

    #[test]
    fn what_is_marked_is_not_shown_and_its_namesake_is() {
        let name = |text| TopicName::new(text).expect("legal");
        let whole = Arc::new(ClusterSnapshot {
            topics: BTreeMap::from([(name("a"), topic(1)), (name("b"), topic(2))]),
            ..ClusterSnapshot::default()
        });
        let (marks, marked) = watch::channel(Arc::default());
        let visible = Visible::new(marked);
        let of_a = |id| Arc::new(Marked::from([(name("a"), topic(id).id)]));
        assert!(Arc::ptr_eq(&visible.of(Arc::clone(&whole)), &whole));
        marks.send_replace(of_a(9));
        assert!(Arc::ptr_eq(&visible.of(Arc::clone(&whole)), &whole));
        marks.send_replace(of_a(1));
        let shown = visible.of(Arc::clone(&whole));
        assert_eq!(shown.topics.keys().collect::<Vec<_>>(), [&name("b")]);
        assert!(Arc::ptr_eq(&visible.of(Arc::clone(&whole)), &shown), "kept");
        marks.send_replace(Arc::default());
        assert!(Arc::ptr_eq(&visible.of(Arc::clone(&whole)), &whole));
    }
}
